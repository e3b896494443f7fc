//! Attributes of container instances: PutAttributes, DeleteAttributes, ListAttributes.

use serde_json::{Map, Value, json};

use super::{
    arn,
    instances::{self, attributes_of},
    model::InstanceStatus,
    request::{Request, invalid, put},
};
use crate::lab::{
    api::{ApiError, ApiResult},
    state::State,
};

/// How many may be put on one resource.
const MOST: usize = 10;

/// The ids of the instances that the attributes of a request name, one for each.
fn targets(state: &State, request: &Request) -> Result<Vec<String>, ApiError> {
    let cluster = &request.cluster(state)?.name;
    let attributes = request.list("attributes");
    if attributes.is_empty() || attributes.len() > MOST {
        return Err(invalid(format!("The number of attributes must be between 1 and {MOST}.")));
    }
    let found = attributes.iter().map(|attribute| {
        let id = arn::short(attribute["targetId"].as_str().unwrap_or_default());
        let known = state.ecs.instances.get(id);
        let known = known.filter(|of| of.cluster == *cluster && of.status != InstanceStatus::Inactive);
        known.map(|of| of.id.clone()).ok_or_else(|| ApiError::new("TargetNotFoundException", "Could not find target."))
    });
    found.collect()
}

pub fn set(state: &mut State, request: &Request) -> ApiResult {
    let targets = targets(state, request)?;
    let pairs = attributes_of(request)?;
    let cluster = request.cluster(state)?.name.clone();
    let mut after = state.ecs.instances.clone();
    for (id, (name, value)) in targets.iter().zip(&pairs) {
        let Some(instance) = after.get_mut(id) else { continue };
        instance.attributes.insert(name.clone(), value.clone());
        instance.changes += 1;
        if instance.attributes.len() > MOST {
            return Err(ApiError::new(
                "AttributeLimitExceededException",
                format!("A resource cannot have more than {MOST} custom attributes."),
            ));
        }
    }
    state.ecs.instances = after;
    instances::touch(state, &cluster);
    Ok(json!({"attributes": told(request, &cluster, &targets, &pairs)}))
}

pub fn delete(state: &mut State, request: &Request) -> ApiResult {
    let targets = targets(state, request)?;
    let pairs = attributes_of(request)?;
    let cluster = request.cluster(state)?.name.clone();
    for (id, (name, _)) in targets.iter().zip(&pairs) {
        if let Some(instance) = state.ecs.instances.get_mut(id) {
            instance.attributes.remove(name);
            instance.changes += 1;
        }
    }
    instances::touch(state, &cluster);
    Ok(json!({"attributes": told(request, &cluster, &targets, &pairs)}))
}

pub fn list(state: &State, request: &Request) -> ApiResult {
    request.required("targetType")?;
    let cluster = &request.cluster(state)?.name;
    let (name, value) = (request.text("attributeName"), request.text("attributeValue"));
    if value.is_some() && name.is_none() {
        return Err(invalid("An attribute's value can be given with its name only."));
    }
    let mut found = Vec::new();
    for instance in instances::of(state, cluster) {
        for (known, has) in instances::attributes(state, &request.settings.region, instance) {
            let is = name.is_none_or(|name| name == known) && value.is_none_or(|value| has.as_deref() == Some(value));
            if is {
                found.push(attribute(request, cluster, &instance.id, &known, has.as_deref()));
            }
        }
    }
    request.page("attributes", found)
}

fn told(request: &Request, cluster: &str, targets: &[String], pairs: &[(String, Option<String>)]) -> Vec<Value> {
    let all = targets.iter().zip(pairs);
    all.map(|(id, (name, value))| attribute(request, cluster, id, name, value.as_deref())).collect()
}

fn attribute(request: &Request, cluster: &str, id: &str, name: &str, value: Option<&str>) -> Value {
    let mut reply = Map::new();
    reply.insert("name".into(), json!(name));
    put(&mut reply, "value", value.map(Value::from));
    reply.insert("targetType".into(), json!("container-instance"));
    reply.insert("targetId".into(), json!(arn::instance(request.settings, cluster, id)));
    Value::Object(reply)
}
