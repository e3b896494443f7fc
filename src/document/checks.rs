//! What the shapes cannot say of a document and ECS would refuse, or worse, accept.

use serde_json::Value;

use super::draft::{Draft, human};
use super::requests::ImageForContainer;
use super::{image_name, placeholder};
use crate::error::{Error, Result, nearest};

const CONTAINERS: &str = "/containerDefinitions";

/// The index of the container whose image is to be replaced; `None` when the list itself is wrong,
/// which the shapes report.
pub(super) fn container_for_image(draft: &Draft<'_>, image: ImageForContainer<'_>) -> Result<Option<usize>> {
    let Some(Value::Array(containers)) = draft.value.pointer(CONTAINERS) else { return Ok(None) };
    let name = |container: &Value| container.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let names: Vec<String> = containers.iter().map(name).collect();
    let listed = || names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    if let Some(wanted) = image.container {
        if let Some(index) = names.iter().position(|name| name == wanted) {
            return Ok(Some(index));
        }
        let error = draft.error_at(CONTAINERS, format!("there is no container {wanted:?}"), None);
        return Err(match nearest(wanted, names.iter().map(String::as_str)) {
            Some(near) => error.hint(format!("did you mean {near:?}?")),
            None => error.hint(format!("there are: {}", listed())),
        });
    }
    if containers.len() < 2 {
        return Ok((!containers.is_empty()).then_some(0));
    }
    let waits = |container: &Value| match container.get("image").and_then(Value::as_str) {
        Some(text) => placeholder::find(text).is_some() || repository(text) == repository(image.uri),
        None => true,
    };
    let mut waiting = containers.iter().enumerate().filter(|(_, container)| waits(container)).map(|(index, _)| index);
    match (waiting.next(), waiting.next()) {
        (Some(index), None) => Ok(Some(index)),
        _ => Err(draft
            .error_at(CONTAINERS, format!("which of {} containers gets the image?", containers.len()), None)
            .hint(format!("name one with container: under image: ({}), or use {{{{image}}}} in it", listed()))),
    }
}

/// An image's name without tag and digest.
fn repository(image: &str) -> &str {
    let image = image.split_once('@').map_or(image, |(name, _)| name);
    let path = image.rfind('/').map_or(0, |slash| slash + 1);
    image[path..].find(':').map_or(image, |colon| &image[..path + colon])
}

/// A family, and at least one container, each with its own name and an image.
pub(super) fn containers(draft: &mut Draft<'_>) {
    let mut errors = Vec::new();
    if let Some(Value::String(family)) = draft.value.get("family") {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if (family.is_empty() || family.len() > 255 || !family.chars().all(fits)) && placeholder::find(family).is_none()
        {
            let meant: String = family.chars().map(|c| if fits(c) { c } else { '-' }).take(255).collect();
            let error = draft.error_at("/family", format!("{family:?} cannot be a family"), None);
            errors.push(error.hint(format!("letters, digits, _ and - only, such as {:?}", meant.trim_matches('-'))));
        }
    }
    if let Some(Value::Array(containers)) = draft.value.pointer(CONTAINERS) {
        if containers.is_empty() {
            let error = draft.error_at(CONTAINERS, "a task definition needs at least one container", None);
            errors.push(error.hint("add an object with \"name\" and \"image\""));
        }
        for (index, container) in containers.iter().enumerate() {
            container_of(draft, &containers[..index], &format!("{CONTAINERS}/{index}"), container, &mut errors);
        }
    }
    draft.errors.append(&mut errors);
}

fn container_of(draft: &Draft<'_>, before: &[Value], pointer: &str, container: &Value, errors: &mut Vec<Error>) {
    let Value::Object(members) = container else { return };
    for required in ["name", "image"] {
        // A misspelt one has been reported as unknown, with this as its suggestion.
        let misspelt = members.keys().any(|key| key != required && nearest(key, ["name", "image"]) == Some(required));
        if !members.contains_key(required) && !misspelt {
            let error = draft.error_at(pointer, format!("{} has no {required:?}", human(pointer)), None);
            errors.push(error.hint(format!("add {required:?}")));
        }
    }
    if let Some(Value::String(name)) = members.get("name")
        && before.iter().any(|other| other.get("name").and_then(Value::as_str) == Some(name))
    {
        let error = draft.error_at(&format!("{pointer}/name"), format!("two containers are named {name:?}"), None);
        errors.push(error.hint("give each container a name of its own"));
    }
}

/// Placeholders left in place, and names that no registry and no account can have.
pub(super) fn strings(draft: &mut Draft<'_>) {
    let mut found = Vec::new();
    collect(&draft.value, &mut String::new(), &mut found);
    for (pointer, text) in found {
        let place = human(&pointer);
        let free = is_free_text(&pointer);
        let left = if free { placeholder::find_in_free_text(&text) } else { placeholder::find(&text) };
        if let Some(left) = left {
            let message = format!("the placeholder {:?} is still in {place}", &text[left.part.clone()]);
            if free {
                draft.warn_at(&pointer, message);
            } else {
                let error = draft.error_within(&pointer, left.part, message).hint(left.hint);
                draft.errors.push(error);
            }
            continue;
        }
        if free {
            continue;
        }
        let is_image =
            pointer.starts_with(CONTAINERS) && pointer.ends_with("/image") && pointer.matches('/').count() == 3;
        let problem = if is_image { image_name::problem(&text) } else { image_name::arn_problem(&text) };
        if let Some(problem) = problem {
            let error = draft.error_within(&pointer, problem.part, format!("{place}: {}", problem.message));
            draft.errors.push(error.hint(problem.hint));
        }
    }
}

fn collect(value: &Value, pointer: &mut String, found: &mut Vec<(String, String)>) {
    let mut below = |token: &str, value: &Value, pointer: &mut String| {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(token);
        collect(value, pointer, found);
        pointer.truncate(length);
    };
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, value)| below(&super::parse::escape(key), value, pointer));
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| below(&index.to_string(), value, pointer));
        }
        Value::String(text) => found.push((pointer.clone(), text.clone())),
        _ => {}
    }
}

/// Text that is the program's own business: what looks like a placeholder there may be none.
fn is_free_text(pointer: &str) -> bool {
    let own =
        ["/environment/", "/command/", "/entryPoint/", "/dockerLabels/", "/healthCheck/", "/driverOpts/", "/labels/"];
    if own.iter().any(|part| pointer.contains(part)) {
        return true;
    }
    let log_place = ["/awslogs-group", "/awslogs-region", "/awslogs-stream-prefix"];
    pointer.contains("/options/") && !log_place.iter().any(|part| pointer.ends_with(part))
}
