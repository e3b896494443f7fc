//! A lifecycle policy's text, read and refused in the words of AWS's schema where these are known.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::lab::ecr::manifest::matches;

/// One rule. Rules are kept in the order of their priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub priority: i64,
    selects: Selects,
    pub limit: Limit,
    pub action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Selects {
    Any,
    Untagged,
    /// Images that have, for each of these, a tag that begins with it.
    Prefixes(Vec<String>),
    /// The same for patterns with `*`.
    Patterns(Vec<String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Count(u64),
    /// In days, as all that follow.
    Pushed(u64),
    Pulled(u64),
    /// Of images in the archive.
    Archived(u64),
}

/// What a rule does with an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    #[default]
    Expire,
    Archive,
}

impl Rule {
    /// Whether it is about images in the archive; the others are about those that are not.
    pub fn is_of_archive(&self) -> bool {
        matches!(self.limit, Limit::Archived(_))
    }

    pub fn selects(&self, tags: &[&str]) -> bool {
        let has_tag = |wanted: &dyn Fn(&str) -> bool| tags.iter().any(|tag| wanted(tag));
        match &self.selects {
            Selects::Any => true,
            Selects::Untagged => tags.is_empty(),
            Selects::Prefixes(prefixes) => prefixes.iter().all(|prefix| has_tag(&|tag| tag.starts_with(prefix))),
            Selects::Patterns(patterns) => patterns.iter().all(|pattern| has_tag(&|tag| matches(pattern, tag))),
        }
    }
}

/// The rules of a policy, by priority; the error is what follows `Lifecycle policy validation failure: `.
pub fn parse(text: &str) -> Result<Vec<Rule>, String> {
    let policy: Value = serde_json::from_str(text).map_err(|_| "Could not map policyString into LifecyclePolicy.")?;
    let policy = object(&policy, &["rules"], &["rules"])?;
    let rules = policy["rules"].as_array().ok_or_else(|| wrong_type(&policy["rules"], "array"))?;
    if rules.is_empty() {
        return Err("array is too short: must have at least 1 elements but instance has 0 elements".to_owned());
    }
    if rules.len() > MOST_RULES {
        let count = rules.len();
        return Err(format!(
            "array is too long: must have at most {MOST_RULES} elements but instance has {count} elements"
        ));
    }
    let mut rules = rules.iter().map(rule).collect::<Result<Vec<Rule>, String>>()?;
    rules.sort_by_key(|rule| rule.priority);
    if rules.windows(2).any(|pair| pair[0].priority == pair[1].priority) {
        return Err("each rule must have a rulePriority of its own".to_owned());
    }
    for of_archive in [false, true] {
        let of_class = || rules.iter().filter(|rule| rule.is_of_archive() == of_archive);
        if of_class().rev().skip(1).any(|rule| rule.selects == Selects::Any) {
            return Err("a rule with tagStatus any must have the highest rulePriority".to_owned());
        }
        if of_class().filter(|rule| rule.selects == Selects::Untagged).count() > 1 {
            return Err("only one rule can select untagged images".to_owned());
        }
    }
    Ok(rules)
}

fn rule(value: &Value) -> Result<Rule, String> {
    let needed = ["action", "rulePriority", "selection"];
    let rule = object(value, &needed, &["action", "description", "rulePriority", "selection"])?;
    let priority = positive(&rule["rulePriority"])?;
    if let Some(description) = rule.get("description").filter(|description| !description.is_string()) {
        return Err(wrong_type(description, "string"));
    }
    let action = object(&rule["action"], &["type"], &["targetStorageClass", "type"])?;
    let target = action.get("targetStorageClass").map(Value::as_str);
    let action = match (action["type"].as_str(), target) {
        (Some("expire"), None) => Action::Expire,
        (Some("transition"), Some(Some("archive"))) => Action::Archive,
        (Some("expire" | "transition"), _) => return Err(NO_SCHEMA.to_owned()),
        _ => return Err(not_in_enum(&action["type"], &["expire", "transition"])),
    };
    let (selects, limit) = selection(&rule["selection"])?;
    match (limit, action) {
        (Limit::Pulled(_), Action::Expire) => Err("images are archived, not expired, by sinceImagePulled".to_owned()),
        (Limit::Archived(_), Action::Archive) => Err("what is in the archive cannot be archived".to_owned()),
        (Limit::Archived(days), _) if days < LEAST_IN_ARCHIVE => Err(format!(
            "numeric instance is lower than the required minimum (minimum: {LEAST_IN_ARCHIVE}, found: {days})"
        )),
        _ => Ok(Rule { priority: priority as i64, selects, limit, action }),
    }
}

/// In days.
const LEAST_IN_ARCHIVE: u64 = 90;
const MOST_RULES: usize = 50;
const NO_SCHEMA: &str = "instance failed to match exactly one schema (matched 0 out of 2)";

fn selection(value: &Value) -> Result<(Selects, Limit), String> {
    let needed = ["countNumber", "countType", "tagStatus"];
    let allowed =
        ["countNumber", "countType", "countUnit", "storageClass", "tagPatternList", "tagPrefixList", "tagStatus"];
    let selection = object(value, &needed, &allowed)?;
    let lists = (selection.get("tagPrefixList"), selection.get("tagPatternList"));
    let selects = match (selection["tagStatus"].as_str(), lists) {
        (Some("any"), (None, None)) => Selects::Any,
        (Some("untagged"), (None, None)) => Selects::Untagged,
        (Some("tagged"), (Some(prefixes), None)) => Selects::Prefixes(strings(prefixes)?),
        (Some("tagged"), (None, Some(patterns))) => Selects::Patterns(strings(patterns)?),
        (Some("any" | "untagged" | "tagged"), _) => return Err(NO_SCHEMA.to_owned()),
        _ => return Err(not_in_enum(&selection["tagStatus"], &["any", "tagged", "untagged"])),
    };
    if let Selects::Patterns(patterns) = &selects
        && let Some(pattern) = patterns.iter().find(|pattern| pattern.matches('*').count() > MOST_WILDCARDS)
    {
        return Err(format!("the tag pattern {pattern} has more than {MOST_WILDCARDS} wildcards"));
    }
    let number = positive(&selection["countNumber"])?;
    let unit = selection.get("countUnit").map(Value::as_str);
    let limit = match (selection["countType"].as_str(), unit) {
        (Some("imageCountMoreThan"), None) => Limit::Count(number),
        (Some("sinceImagePushed"), Some(Some("days"))) => Limit::Pushed(number),
        (Some("sinceImagePulled"), Some(Some("days"))) => Limit::Pulled(number),
        (Some("sinceImageTransitioned"), Some(Some("days"))) => Limit::Archived(number),
        (Some("sinceImagePushed" | "sinceImagePulled" | "sinceImageTransitioned"), Some(_)) => {
            return Err(not_in_enum(&selection["countUnit"], &["days"]));
        }
        _ => return Err(NO_SCHEMA.to_owned()),
    };
    match (selection.get("storageClass").map(Value::as_str), limit) {
        (Some(Some("archive")), Limit::Archived(_)) => Ok((selects, limit)),
        (_, Limit::Archived(_)) | (Some(Some("archive")), _) => Err(NO_SCHEMA.to_owned()),
        (None | Some(Some("standard")), _) => Ok((selects, limit)),
        _ => Err(not_in_enum(&selection["storageClass"], &["archive", "standard"])),
    }
}

const MOST_WILDCARDS: usize = 4;

fn object<'a>(value: &'a Value, needed: &[&str], allowed: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let object = value.as_object().ok_or_else(|| wrong_type(value, "object"))?;
    let missing: Vec<&&str> = needed.iter().filter(|name| !object.contains_key(**name)).collect();
    if !missing.is_empty() {
        return Err(format!("object has missing required properties ({})", json!(missing)));
    }
    let other: Vec<&String> = object.keys().filter(|name| !allowed.contains(&name.as_str())).collect();
    if !other.is_empty() {
        return Err(format!("object instance has properties which are not allowed by the schema: ({})", json!(other)));
    }
    Ok(object)
}

fn strings(value: &Value) -> Result<Vec<String>, String> {
    let items = value.as_array().ok_or_else(|| wrong_type(value, "array"))?;
    if items.is_empty() {
        return Err("array is too short: must have at least 1 elements but instance has 0 elements".to_owned());
    }
    items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong_type(item, "string"))).collect()
}

fn positive(value: &Value) -> Result<u64, String> {
    let number = value.as_i64().ok_or_else(|| wrong_type(value, "integer"))?;
    u64::try_from(number)
        .ok()
        .filter(|number| *number >= 1)
        .ok_or_else(|| format!("numeric instance is lower than the required minimum (minimum: 1, found: {number})"))
}

fn not_in_enum(value: &Value, possible: &[&str]) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("instance value ({value}) not found in enum :(possible values: {})", json!(possible))
}

fn wrong_type(value: &Value, allowed: &str) -> String {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    format!("instance type ({found}) does not match any allowed primitive type (allowed: {})", json!([allowed]))
}
