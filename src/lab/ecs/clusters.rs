//! Clusters.

use serde_json::{Map, Value, json};

use super::{
    account, arn, capacity, instances,
    model::{Cluster, Service, ServiceStatus, Task, TaskStatus},
    request::{Request, failure, invalid, put, without_nulls},
    service_view, tags,
};
use crate::lab::{
    Settings,
    api::{ApiError, ApiResult},
    discovery,
    state::State,
};

/// Makes the `default` cluster and its instance, the first time that the lab runs.
pub fn prepare(state: &mut State, now: i64) {
    if !state.ecs.prepared {
        state.ecs.prepared = true;
        add(state, Cluster { name: "default".into(), active: true, ..Cluster::default() }, now);
    }
}

fn add(state: &mut State, cluster: Cluster, now: i64) {
    let name = cluster.name.clone();
    state.ecs.clusters.insert(name.clone(), cluster);
    if instances::of(state, &name).next().is_none() {
        instances::add(state, &name, None, now);
    }
    capacity::associate(state, &name, now);
}

pub fn create(state: &mut State, request: &Request) -> ApiResult {
    let name = request.text("clusterName").unwrap_or("default");
    let valid = name.len() <= 255 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !valid {
        return Err(invalid(
            "Cluster name is not valid. It may hold up to 255 letters, numbers, underscores and hyphens.",
        ));
    }
    let mut settings = without_nulls(request.input).as_object().cloned().unwrap_or_default();
    settings.retain(|member, _| member != "clusterName" && member != "tags");
    let connect = service_connect(state, request)?;
    put(&mut settings, "serviceConnectDefaults", connect);
    match state.ecs.clusters.get(name).filter(|cluster| cluster.active) {
        Some(cluster) => {
            // the same cluster again is the same cluster
            let differs =
                |member: &str| settings.get(member).is_some_and(|new| cluster.settings.get(member) != Some(new));
            if ["capacityProviders", "defaultCapacityProviderStrategy", "settings"].into_iter().any(differs) {
                return Err(invalid(
                    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
                ));
            }
        }
        None => {
            check_settings(request)?;
            tags::check(request.list("tags"))?;
            let strategy = request.list("defaultCapacityProviderStrategy");
            capacity::check_associations(state, &request.texts("capacityProviders"), strategy)?;
            let cluster = Cluster { name: name.into(), active: true, tags: request.list("tags").to_vec(), settings };
            add(state, cluster, request.now);
            if request.list("settings").is_empty() {
                let insights = account::container_insights(state, request);
                set(state, name, "settings", json!([{"name": "containerInsights", "value": insights}]));
            }
        }
    }
    Ok(
        json!({"cluster": view(state, request.settings, &state.ecs.clusters[name], &["SETTINGS", "TAGS", "CONFIGURATIONS"])}),
    )
}

fn check_settings(request: &Request) -> Result<(), ApiError> {
    for setting in request.list("settings") {
        let value = setting["value"].as_str().unwrap_or_default();
        if !["enabled", "enhanced", "disabled"].contains(&value) {
            return Err(invalid(format!(
                "Setting value is invalid: {value}. containerInsights is enabled, enhanced or disabled."
            )));
        }
    }
    Ok(())
}

/// `serviceConnectDefaults`, with its namespace by ARN.
fn service_connect(state: &State, request: &Request) -> Result<Option<Value>, ApiError> {
    let Some(namespace) = request.input["serviceConnectDefaults"]["namespace"].as_str() else { return Ok(None) };
    if namespace.is_empty() {
        return Ok(Some(json!({})));
    }
    let arn = discovery::namespace_arn(state, namespace);
    let arn =
        arn.ok_or_else(|| ApiError::new("NamespaceNotFoundException", "The specified namespace was not found."))?;
    Ok(Some(json!({"namespace": arn})))
}

fn set(state: &mut State, name: &str, member: &str, value: Value) {
    if let Some(cluster) = state.ecs.clusters.get_mut(name) {
        cluster.settings.insert(member.to_owned(), value);
    }
}

pub fn update(state: &mut State, request: &Request) -> ApiResult {
    request.required("cluster")?;
    let name = request.cluster(state)?.name.clone();
    check_settings(request)?;
    if let Some(connect) = service_connect(state, request)? {
        set(state, &name, "serviceConnectDefaults", connect);
    }
    for member in ["settings", "configuration"] {
        if let Some(value) = request.input.get(member) {
            set(state, &name, member, without_nulls(value));
        }
    }
    Ok(
        json!({"cluster": view(state, request.settings, &state.ecs.clusters[&name], &["SETTINGS", "TAGS", "CONFIGURATIONS"])}),
    )
}

pub fn update_settings(state: &mut State, request: &Request) -> ApiResult {
    let name = request.cluster(state)?.name.clone();
    if request.list("settings").is_empty() {
        return Err(invalid("Settings cannot be empty."));
    }
    check_settings(request)?;
    set(state, &name, "settings", without_nulls(&request.input["settings"]));
    Ok(json!({"cluster": view(state, request.settings, &state.ecs.clusters[&name], &["SETTINGS"])}))
}

pub fn put_capacity_providers(state: &mut State, request: &Request) -> ApiResult {
    let cluster = request.cluster(state)?;
    let name = cluster.name.clone();
    for member in ["capacityProviders", "defaultCapacityProviderStrategy"] {
        if !request.input[member].is_array() {
            return Err(invalid(format!("{member} cannot be null.")));
        }
    }
    let wanted = request.texts("capacityProviders");
    capacity::check_associations(state, &wanted, request.list("defaultCapacityProviderStrategy"))?;
    let wanted: Vec<&str> = wanted.into_iter().map(arn::short).collect();
    for provider in capacity::providers(cluster).into_iter().filter(|provider| !wanted.contains(provider)) {
        let by_service = |service: &Service| {
            let strategy = service.settings.get("capacityProviderStrategy").and_then(Value::as_array);
            let mut names = strategy.into_iter().flatten().filter_map(|item| item["capacityProvider"].as_str());
            service.cluster == name
                && service.status != ServiceStatus::Inactive
                && names.any(|of| arn::short(of) == provider)
        };
        let by_task = |task: &Task| {
            task.cluster == name && !task.is_stopped() && task.capacity_provider.as_deref() == Some(provider)
        };
        if state.ecs.services.iter().any(by_service) || state.ecs.tasks.values().any(by_task) {
            return Err(ApiError::new(
                "ResourceInUseException",
                "The specified capacity provider is in use and cannot be removed.",
            ));
        }
    }
    let gone = |of: &Option<String>| of.as_deref().is_some_and(|provider| !wanted.contains(&provider));
    state.ecs.instances.retain(|_, instance| instance.cluster != name || !gone(&instance.capacity_provider));
    set(state, &name, "capacityProviders", json!(wanted));
    set(state, &name, "defaultCapacityProviderStrategy", json!(request.list("defaultCapacityProviderStrategy")));
    capacity::associate(state, &name, request.now);
    instances::touch(state, &name);
    Ok(json!({"cluster": view(state, request.settings, &state.ecs.clusters[&name], &["SETTINGS", "TAGS"])}))
}

pub fn describe(state: &State, request: &Request) -> ApiResult {
    let mut names = request.texts("clusters");
    if names.len() > 100 {
        return Err(invalid("Clusters cannot have more than 100 elements."));
    }
    if names.is_empty() {
        names.push("default");
    }
    let include = request.texts("include");
    let (mut clusters, mut failures) = (Vec::new(), Vec::new());
    for name in names {
        match state.ecs.clusters.get(arn::short(name)) {
            Some(cluster) => clusters.push(view(state, request.settings, cluster, &include)),
            None => failures.push(failure(arn::cluster(request.settings, arn::short(name)), "MISSING")),
        }
    }
    Ok(json!({"clusters": clusters, "failures": failures}))
}

pub fn list(state: &State, request: &Request) -> ApiResult {
    let active = state.ecs.clusters.values().filter(|cluster| cluster.active);
    request.page("clusterArns", active.map(|cluster| json!(arn::cluster(request.settings, &cluster.name))).collect())
}

pub fn delete(state: &mut State, request: &Request) -> ApiResult {
    request.required("cluster")?;
    let name = request.cluster(state)?.name.clone();
    let error = |code: &str, message: &str| Err(ApiError::new(code, message));
    if state.ecs.services.iter().any(|service| service.cluster == name && service.status != ServiceStatus::Inactive) {
        return error("ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.");
    }
    if state.ecs.tasks.values().any(|task| task.cluster == name && !task.is_stopped()) {
        return error("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.");
    }
    if instances::of(state, &name).any(|instance| instance.registered) {
        return error(
            "ClusterContainsContainerInstancesException",
            "The Cluster cannot be deleted while Container Instances are active or draining.",
        );
    }
    // The lab made the others, so they go with their cluster.
    state.ecs.instances.retain(|_, instance| instance.cluster != name);
    if let Some(cluster) = state.ecs.clusters.get_mut(&name) {
        cluster.active = false;
    }
    Ok(json!({"cluster": view(state, request.settings, &state.ecs.clusters[&name], &[])}))
}

pub fn view(state: &State, settings: &Settings, cluster: &Cluster, include: &[&str]) -> Value {
    let tasks = || state.ecs.tasks.values().filter(|task| task.cluster == cluster.name);
    let services = state.ecs.services.iter();
    let mut reply = Map::new();
    reply.insert("clusterArn".into(), json!(arn::cluster(settings, &cluster.name)));
    reply.insert("clusterName".into(), json!(cluster.name));
    reply.insert("status".into(), json!(if cluster.active { "ACTIVE" } else { "INACTIVE" }));
    let instances = instances::of(state, &cluster.name).count();
    reply.insert("registeredContainerInstancesCount".into(), json!(instances));
    reply.insert("runningTasksCount".into(), json!(tasks().filter(|task| is_running(task)).count()));
    reply.insert("pendingTasksCount".into(), json!(tasks().filter(|task| is_pending(task)).count()));
    let active =
        services.filter(|service| service.cluster == cluster.name && service.status != ServiceStatus::Inactive);
    reply.insert("activeServicesCount".into(), json!(active.count()));
    let statistics = if include.contains(&"STATISTICS") { statistics(state, &cluster.name) } else { json!([]) };
    reply.insert("statistics".into(), statistics);
    reply.insert("tags".into(), json!(if include.contains(&"TAGS") { &cluster.tags[..] } else { &[] }));
    let off = json!([{"name": "containerInsights", "value": "disabled"}]);
    let shown = if include.contains(&"SETTINGS") {
        cluster.settings.get("settings").unwrap_or(&off).clone()
    } else {
        json!([])
    };
    reply.insert("settings".into(), shown);
    for member in ["capacityProviders", "defaultCapacityProviderStrategy"] {
        reply.insert(member.into(), cluster.settings.get(member).cloned().unwrap_or_else(|| json!([])));
    }
    let configured = include.contains(&"CONFIGURATIONS");
    put(&mut reply, "configuration", cluster.settings.get("configuration").filter(|_| configured).cloned());
    let connect = cluster.settings.get("serviceConnectDefaults").filter(|of| of["namespace"].is_string());
    put(&mut reply, "serviceConnectDefaults", connect.cloned());
    Value::Object(reply)
}

fn statistics(state: &State, cluster: &str) -> Value {
    let tasks = |fargate: bool, is: fn(&Task) -> bool| {
        let here = state.ecs.tasks.values().filter(|task| task.cluster == cluster && is(task));
        here.filter(|task| (task.launch_type == "FARGATE") == fargate).count()
    };
    let services = |fargate: bool, status: ServiceStatus| {
        let here = state.ecs.services.iter().filter(|service| service.cluster == cluster && service.status == status);
        here.filter(|service| service_view::on_fargate(&service.settings) == fargate).count()
    };
    let all = [
        ("runningEC2TasksCount", tasks(false, is_running)),
        ("runningFargateTasksCount", tasks(true, is_running)),
        ("pendingEC2TasksCount", tasks(false, is_pending)),
        ("pendingFargateTasksCount", tasks(true, is_pending)),
        ("activeEC2ServiceCount", services(false, ServiceStatus::Active)),
        ("activeFargateServiceCount", services(true, ServiceStatus::Active)),
        ("drainingEC2ServiceCount", services(false, ServiceStatus::Draining)),
        ("drainingFargateServiceCount", services(true, ServiceStatus::Draining)),
    ];
    all.map(|(name, count)| json!({"name": name, "value": count.to_string()})).into_iter().collect()
}

fn is_running(task: &Task) -> bool {
    task.status == TaskStatus::Running
}

fn is_pending(task: &Task) -> bool {
    task.status < TaskStatus::Running
}
