//! Filter patterns made of terms: `ERROR`, `"two words"`, `-without`, `?any ?of ?these`.

use crate::lab::api::ApiError;

#[derive(Debug, Default)]
pub(super) struct Filter {
    all: Vec<String>,
    any: Vec<String>,
    none: Vec<String>,
}

impl Filter {
    pub(super) fn parse(pattern: &str) -> Result<Filter, ApiError> {
        let pattern = pattern.trim();
        if pattern.starts_with(['{', '[', '%']) {
            return Err(ApiError::new(
                "InvalidParameterException",
                "Invalid filter pattern: the lab knows patterns of terms, not of JSON, fields or regular expressions.",
            ));
        }
        let mut filter = Filter::default();
        let mut rest = pattern;
        while !rest.is_empty() {
            let (into, after) = match rest.chars().next() {
                Some('-') => (&mut filter.none, &rest[1..]),
                Some('?') => (&mut filter.any, &rest[1..]),
                _ => (&mut filter.all, rest),
            };
            let (term, after) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').ok_or_else(|| {
                    ApiError::new("InvalidParameterException", "Invalid filter pattern: a quotation is not closed.")
                })?,
                None => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
            };
            if !term.is_empty() {
                into.push(term.to_owned());
            }
            rest = after.trim_start();
        }
        Ok(filter)
    }

    pub(super) fn matches(&self, message: &str) -> bool {
        let has = |term: &String| message.contains(term.as_str());
        self.all.iter().all(has) && (self.any.is_empty() || self.any.iter().any(has)) && !self.none.iter().any(has)
    }
}
