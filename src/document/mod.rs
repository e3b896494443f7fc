//! CONTRACT: what deploy calls of the documents' module; replaced at the merge.

use serde_json::Value;

use crate::error::{Error, Result, SourceText};

// CONTRACT
#[derive(Debug, Clone)]
pub struct Checked {
    pub value: Value,
    pub warnings: Vec<String>,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct ImageForContainer<'a> {
    pub container: Option<&'a str>,
    pub uri: &'a str,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct TaskDefinitionOptions<'a> {
    pub allow_unknown_fields: bool,
    pub default_family: &'a str,
    pub image: Option<ImageForContainer<'a>>,
}

// CONTRACT
pub fn task_definition(rendered: &SourceText, options: TaskDefinitionOptions<'_>) -> Result<Checked> {
    let mut value: Value = serde_json::from_str(&rendered.text).map_err(|error| Error::input(error.to_string()))?;
    if value.get("family").is_none() {
        value["family"] = options.default_family.into();
    }
    if let Some(image) = options.image {
        let containers = value["containerDefinitions"].as_array_mut().into_iter().flatten();
        for container in containers.filter(|c| image.container.is_none_or(|name| c["name"] == name)) {
            container["image"] = image.uri.into();
        }
    }
    Ok(Checked { value, warnings: Vec::new() })
}

// CONTRACT
pub fn service(rendered: &SourceText, _allow_unknown_fields: bool) -> Result<Checked> {
    let value = serde_json::from_str(&rendered.text).map_err(|error| Error::input(error.to_string()))?;
    Ok(Checked { value, warnings: Vec::new() })
}

// CONTRACT
pub fn fingerprint(value: &Value) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, value.to_string().as_bytes()))
}

// CONTRACT
pub fn diff(before: &Value, after: &Value) -> String {
    similar::TextDiff::from_lines(&to_json(before), &to_json(after)).unified_diff().to_string()
}

// CONTRACT
pub fn to_json(value: &Value) -> String {
    format!("{value:#}\n")
}

pub mod template {
    use super::{Error, Result, SourceText, Value};

    // CONTRACT
    pub fn render(source: &SourceText, context: &Value) -> Result<SourceText> {
        let mut handlebars = handlebars::Handlebars::new();
        handlebars.set_strict_mode(true);
        handlebars.register_escape_fn(|text| text.replace('\\', "\\\\").replace('"', "\\\""));
        let text = handlebars.render_template(&source.text, context).map_err(|error| Error::input(error.to_string()))?;
        Ok(SourceText::new(&source.name, text))
    }

    // CONTRACT
    pub fn references_image(source: &SourceText) -> bool {
        ["{{image", "{{repository_uri", "{{digest", "{{tag"].iter().any(|name| source.text.contains(name))
    }
}
