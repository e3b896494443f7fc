//! The sections `load_balancer:`, `network:` and `service_discovery:`.

use std::time::Duration;

use super::decode::Fields;
use super::node::Value;
use super::plan::{
    AdvancedPlan, DiscoveryPlan, HealthCheckPlan, ListenerPlan, LoadBalancerPlan, LoadBalancerType, NetworkPlan,
    Selector, TargetGroupPlan,
};
use crate::error::Error;

const PROTOCOLS: [(&str, &str); 6] =
    [("TCP", "TCP"), ("TLS", "TLS"), ("UDP", "UDP"), ("TCP_UDP", "TCP_UDP"), ("HTTP", "HTTP"), ("HTTPS", "HTTPS")];

pub fn load_balancer(mut fields: Fields<'_>) -> Option<LoadBalancerPlan> {
    let kind =
        fields.word("type", &[("network", LoadBalancerType::Network), ("application", LoadBalancerType::Application)]);
    if kind.is_none() && fields.node("type").is_none() {
        fields.missing("type", "it is `network` or `application`");
    }
    let name = load_balancer_name(&mut fields, "name");
    let arn = arn(&mut fields, "load balancer");
    excludes(&mut fields, "arn", "name");
    let create = fields.boolean("create").unwrap_or(arn.is_none());
    let scheme =
        fields.word("scheme", &[("internet-facing", "internet-facing"), ("internal", "internal")]).map(str::to_owned);
    let subnets = selector(&mut fields, "subnets", "subnet-");
    let security_groups = selector(&mut fields, "security_groups", "sg-");
    let listener = fields.fields("listener").map(|listener| self::listener(listener, kind));
    if listener.is_none() && fields.node("listener").is_none() {
        fields.missing("listener", "give it a port: listener: { port: 80 }");
    }
    let target_group = fields.fields("target_group").map(target_group).unwrap_or_default();
    let container = fields.text("container");
    let container_port = fields.port("container_port");
    let advanced = fields.fields("advanced_configuration").and_then(|advanced| self::advanced(advanced, kind));
    fields.finish();
    Some(LoadBalancerPlan {
        kind: kind?,
        name,
        arn,
        create,
        scheme,
        subnets,
        security_groups,
        listener: listener??,
        target_group,
        container,
        container_port,
        advanced,
    })
}

/// What deployments need that shift traffic between two target groups.
fn advanced(mut fields: Fields<'_>, kind: Option<LoadBalancerType>) -> Option<AdvancedPlan> {
    let role = fields.text("role");
    if fields.node("role").is_none() {
        fields.missing("role", "the ARN of the role in which ECS shifts the listener's traffic");
    }
    let (alternate_name, alternate_arn) = match fields.fields("alternate_target_group") {
        Some(mut group) => {
            let named = (load_balancer_name(&mut group, "name"), arn(&mut group, "target group"));
            excludes(&mut group, "arn", "name");
            group.finish();
            named
        }
        None => (None, None),
    };
    let test_listener = fields.fields("test_listener").and_then(|test| listener(test, kind));
    fields.finish();
    Some(AdvancedPlan { role: role?, alternate_name, alternate_arn, test_listener })
}

fn listener(mut fields: Fields<'_>, kind: Option<LoadBalancerType>) -> Option<ListenerPlan> {
    let arn = arn(&mut fields, "listener");
    let port = fields.port("port");
    if port.is_none() && fields.node("port").is_none() {
        fields.missing("port", "the port that clients connect to, such as 80");
    }
    let protocol = fields.word("protocol", &PROTOCOLS);
    if let (Some(protocol), Some(kind), Some(node)) = (protocol, kind, fields.node("protocol")) {
        let application = matches!(protocol, "HTTP" | "HTTPS");
        if application != (kind == LoadBalancerType::Application) {
            let (name, fitting) = match kind {
                LoadBalancerType::Application => ("an application", "HTTP or HTTPS"),
                LoadBalancerType::Network => ("a network", "TCP, TLS, UDP or TCP_UDP"),
            };
            let error = Error::input(format!("{name} load balancer has no {protocol} listener"))
                .hint(format!("its listeners speak {fitting}"));
            fields.reader.note(&node.span, None, error);
        }
    }
    let certificate_arn = fields.text("certificate_arn");
    fields.finish();
    let by_kind = if kind == Some(LoadBalancerType::Application) { "HTTP" } else { "TCP" };
    Some(ListenerPlan { arn, port: port?, protocol: protocol.unwrap_or(by_kind).to_owned(), certificate_arn })
}

fn target_group(mut fields: Fields<'_>) -> TargetGroupPlan {
    let plan = TargetGroupPlan {
        name: load_balancer_name(&mut fields, "name"),
        arn: arn(&mut fields, "target group"),
        port: fields.port("port"),
        protocol: fields.word("protocol", &PROTOCOLS).map(str::to_owned),
        target_type: fields.word("target_type", &[("ip", "ip"), ("instance", "instance")]).map(str::to_owned),
        deregistration_delay: fields.duration("deregistration_delay"),
        health_check: fields.fields("health_check").map(health_check).unwrap_or_default(),
    };
    excludes(&mut fields, "arn", "name");
    fields.finish();
    plan
}

fn health_check(mut fields: Fields<'_>) -> HealthCheckPlan {
    let plan = HealthCheckPlan {
        path: url_path(&mut fields, "path"),
        port: fields.scalar("port"),
        protocol: fields.word("protocol", &[("HTTP", "HTTP"), ("HTTPS", "HTTPS"), ("TCP", "TCP")]).map(str::to_owned),
        interval: fields.duration("interval"),
        timeout: fields.duration("timeout"),
        healthy_threshold: fields.integer("healthy_threshold", 2..=10),
        unhealthy_threshold: fields.integer("unhealthy_threshold", 2..=10),
        matcher: fields.scalar("matcher"),
    };
    fields.finish();
    plan
}

pub fn network(mut fields: Fields<'_>) -> NetworkPlan {
    let plan = NetworkPlan {
        subnets: selector(&mut fields, "subnets", "subnet-"),
        security_groups: selector(&mut fields, "security_groups", "sg-"),
        assign_public_ip: fields.boolean("assign_public_ip"),
    };
    fields.finish();
    plan
}

/// `default`, a list of ids, or `{ tags: { Name: value } }`.
fn selector(fields: &mut Fields<'_>, key: &'static str, prefix: &str) -> Selector {
    let Some(node) = fields.node(key) else { return Selector::Default };
    match &node.value {
        Value::Text(word) if word == "default" => Selector::Default,
        Value::List(items) => {
            let name = fields.path(key);
            let ids: Vec<String> = items.iter().filter_map(|item| fields.reader.text(&name, item)).collect();
            for (id, item) in ids.iter().zip(items).filter(|(id, _)| !id.starts_with(prefix)) {
                let error = Error::input(format!("`{id}` in `{name}` is no id: those begin with `{prefix}`"))
                    .hint(format!("choose by name with {key}: {{ tags: {{ Name: {id} }} }}"));
                fields.reader.note(&item.span, None, error);
            }
            if ids.is_empty() {
                let error =
                    Error::input(format!("`{name}` is an empty list")).hint("leave it out for the default VPC's");
                fields.reader.note(&node.span, None, error);
            }
            Selector::Ids(ids)
        }
        Value::Map(_) => {
            let Some(mut choice) = fields.fields(key) else { return Selector::Default };
            let tags = choice.text_map("tags");
            if tags.is_empty() {
                choice.missing("tags", "name at least one tag: tags: { Name: value }");
            }
            choice.finish();
            Selector::Tags(tags)
        }
        _ => {
            fields.reader.wrong_type(&fields.path(key), node, "`default`, a list of ids or a map with `tags`");
            Selector::Default
        }
    }
}

pub fn service_discovery(mut fields: Fields<'_>, service: &str) -> Option<DiscoveryPlan> {
    let arn = arn(&mut fields, "Cloud Map service");
    let namespace = fields.text("namespace");
    if namespace.is_none() && arn.is_none() && fields.node("namespace").is_none() && fields.node("arn").is_none() {
        fields.missing("namespace", "name the Cloud Map namespace, or give the `arn` of an existing Cloud Map service");
    }
    excludes(&mut fields, "arn", "namespace");
    let name = fields.text("name").unwrap_or_else(|| service.to_owned());
    let record_type = fields.word("type", &[("SRV", "SRV"), ("A", "A")]).map(str::to_owned);
    let ttl = fields.duration("ttl").unwrap_or(Duration::from_secs(10));
    let container = fields.text("container");
    let container_port = fields.port("container_port");
    fields.finish();
    if arn.is_none() && namespace.is_none() {
        return None;
    }
    let namespace = namespace.unwrap_or_default();
    Some(DiscoveryPlan { arn, namespace, name, record_type, ttl, container, container_port })
}

fn arn(fields: &mut Fields<'_>, what: &str) -> Option<String> {
    let arn = fields.text("arn")?;
    if !arn.starts_with("arn:") {
        let node = fields.node("arn")?;
        let error = Error::input(format!("`{}` is no ARN of a {what}: `{arn}`", fields.path("arn")))
            .hint("ARNs begin with `arn:aws:`; for a name use `name`");
        fields.reader.note(&node.span, None, error);
    }
    Some(arn)
}

fn excludes(fields: &mut Fields<'_>, key: &'static str, other: &'static str) {
    if let (Some(_), Some(entry)) = (fields.entry(key), fields.entry(other)) {
        let error = Error::input(format!("`{}` and `{}` exclude each other", fields.path(key), fields.path(other)))
            .hint(format!("with `{key}` an existing one is used as it is; leave `{other}` out"));
        fields.reader.note(&entry.span, None, error);
    }
}

/// Names of load balancers and target groups: at most 32 letters, digits and inner hyphens.
fn load_balancer_name(fields: &mut Fields<'_>, key: &'static str) -> Option<String> {
    let name = fields.text(key)?;
    let valid = (1..=32).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.starts_with("internal-");
    if !valid {
        let node = fields.node(key)?;
        let error = Error::input(format!("`{name}` cannot be a name at ELB")).hint(
            "at most 32 letters, digits and hyphens, no hyphen first or last, and not beginning with `internal-`",
        );
        fields.reader.note(&node.span, None, error);
    }
    Some(name)
}

/// What `check_url` may be: a path at the load balancer, or a whole URL without a password.
pub fn is_check_url(text: &str) -> bool {
    text.starts_with('/')
        || url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
        })
}

/// A path at the load balancer, or a whole URL.
pub fn check_url(fields: &mut Fields<'_>) -> Option<String> {
    let key = "check_url";
    let whole = fields.node(key).is_some_and(|node| matches!(&node.value, Value::Text(text) if text.contains("://")));
    if !whole {
        return url_path(fields, key);
    }
    let url = fields.text(key)?;
    if !is_check_url(&url) {
        let node = fields.node(key)?;
        let error = Error::input(format!("`{}` is neither a path nor a URL to GET", fields.path(key)))
            .hint("such as https://www.example.com/healthz, without a password");
        fields.reader.note(&node.span, None, error);
    }
    Some(url)
}

/// A path that begins with a slash.
pub fn url_path(fields: &mut Fields<'_>, key: &'static str) -> Option<String> {
    let path = fields.text(key)?;
    if !path.starts_with('/') {
        let node = fields.node(key)?;
        let error = Error::input(format!("`{}` has to begin with a slash", fields.path(key)))
            .hint(format!("did you mean `/{path}`?"));
        fields.reader.note(&node.span, None, error);
    }
    Some(path)
}
