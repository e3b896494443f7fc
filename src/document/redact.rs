//! What a difference does not show: values that are, or may well be, secrets. Names are always shown.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

pub(super) const REDACTED: &str = "(redacted)";

/// Words that the name of a secret has in it.
const WORDS: &str = "passw(?:or)?d|passphrase|passwd|secret|token|credential|authorization|\
                     (?:api|access|private|shared|license|account)[-_ ]?key";

static NAME: LazyLock<Regex> = LazyLock::new(|| pattern(WORDS));

/// `password=…`, `"token": …`, a login in a URL, what an Authorization header holds, an access key's id.
static TEXT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        "(?:{WORDS})[\\w-]*(?:[\"']?(?:\\s*=|\\s*:\\s)|[\"']\\s*:)\\s*[\"']?[^\\s\"'&]|://[^/\\s:@]*:[^/\\s@]+@|\
         \\b(?:bearer|basic)\\s+[\\w.~+/=-]{{8,}}|\\b(?:AKIA|ASIA)[A-Z0-9]{{16}}\\b|-----BEGIN [A-Z ]*PRIVATE KEY"
    ))
});

static FLAG: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("^--?[\\w-]*(?:{WORDS})[\\w-]*$")));

fn pattern(text: &str) -> Regex {
    Regex::new(&format!("(?i){text}")).expect("a pattern of our own")
}

/// Maps whose keys anyone may choose.
const FREE: [&str; 6] = ["options", "driverOpts", "dockerLabels", "labels", "hookDetails", "tags"];

/// Takes secrets out of a value. `member` is its name, or that of the list it is in, `parent` the name of what that is in.
pub(super) fn redact(parent: &str, member: &str, value: &mut Value) {
    match value {
        Value::String(text) => {
            let by_name =
                parent == "environment" && member == "value" || FREE.contains(&parent) && NAME.is_match(member);
            if by_name || (!text.starts_with("arn:") && TEXT.is_match(text)) {
                *value = Value::from(REDACTED);
            }
        }
        // Anything below a name that says it.
        Value::Object(_) | Value::Array(_) | Value::Number(_) if parent == "hookDetails" && NAME.is_match(member) => {
            *value = Value::from(REDACTED);
        }
        Value::Object(members) => {
            let of =
                if member == "tags" { members.get("key").and_then(Value::as_str).map(str::to_owned) } else { None };
            for (key, value) in members.iter_mut() {
                // A tag's name is a value, too.
                let name = of.as_deref().filter(|_| key == "value").unwrap_or(key);
                redact(member, name, value);
            }
        }
        Value::Array(values) => {
            let mut secret = false;
            for value in values {
                let follows = value.as_str().is_some_and(|word| FLAG.is_match(word));
                if secret && value.is_string() {
                    *value = Value::from(REDACTED);
                } else {
                    redact(parent, member, value);
                }
                secret = follows;
            }
        }
        _ => {}
    }
}
