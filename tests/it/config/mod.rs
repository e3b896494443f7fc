//! The project file: what it becomes, and what is said about one that cannot be meant.

mod deployment;
mod refusals;
mod surroundings;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use steadystate::config::{self, ImageSource, LoadBalancerType, OnFailure, Options, Project, Selector};
use steadystate::error::{Error, Kind};

const FULL: &str = r#"
region: us-west-2
cluster: lab
variables: { LOG: info, LIMITS: { cpu: 256 } }
services:
  hello:
    image:
      repository: hello
      tags: ["v1", 1.10, latest]
      create: { tag_mutability: IMMUTABLE, tag_mutability_exclusions: [latest], scan_on_push: true, policy: policy.json }
      container: web
      build:
        run: cargo build --release
        platform: linux/amd64
        layers:
          - { from: target/release/hello, to: /hello, mode: 0755, owner: 1000 }
          - [{ from: public, to: /public }, { from: conf, to: /conf, owner: "0:10" }]
        entrypoint: [/hello]
        env: { PORT: 8080, DEBUG: false }
    task_definition: task-definition.json.hbs
    service: service.json.hbs
    allow_unknown_fields: true
    load_balancer:
      type: network
      listener: { port: 8080 }
      target_group: { deregistration_delay: 5s, health_check: { path: /healthz, interval: 5 } }
      container: web
      container_port: 8080
    network: { subnets: [subnet-1, subnet-2], security_groups: { tags: { Name: web } }, assign_public_ip: true }
    service_discovery: { namespace: internal, ttl: 10 }
    rollout: { timeout: 1h 30m, on_failure: stop, fail_fast: 2 }
    check_url: /healthz
    desired_count: 2
    launch_type: FARGATE
environments:
  production:
    cluster: prod
    variables: { LOG: warn }
    services:
      hello:
        desired_count: 4
        load_balancer: { listener: { port: 80 }, target_group: { health_check: { path: /ready } } }
        service_discovery: null
  staging:
"#;

fn project(yaml: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("steady.yaml"), yaml).unwrap();
    for name in ["task-definition.json.hbs", "service.json.hbs", "policy.json"] {
        std::fs::write(folder.path().join(name), "{}").unwrap();
    }
    folder
}

fn options(folder: &Path) -> Options {
    Options { directory: folder.to_owned(), ..Options::default() }
}

fn load(yaml: &str, change: impl FnOnce(&mut Options)) -> Result<Project, Error> {
    let folder = project(yaml);
    let mut options = options(folder.path());
    change(&mut options);
    config::load(&options)
}

/// An error and the others with it, each as `line:column message` and its hints, without the folder's name.
fn said(error: &Error) -> String {
    let mut text = String::new();
    for error in std::iter::once(error).chain(error.others()) {
        match error.place() {
            Some(place) => {
                let (line, column) = place.line_column();
                let file = Path::new(&*place.source.name).file_name().unwrap().to_str().unwrap();
                let marked = &place.source.text[place.span.clone()];
                writeln!(text, "{file}:{line}:{column} [{marked}] {error}").unwrap();
            }
            None => writeln!(text, "{error}").unwrap(),
        }
        for hint in error.hints() {
            writeln!(text, "  help: {hint}").unwrap();
        }
    }
    text
}

fn refusal(yaml: &str) -> String {
    let error = load(yaml, |_| ()).expect_err("refused");
    assert_eq!(error.kind(), Kind::Input);
    said(&error)
}

/// A service that lacks nothing, with more lines under it.
fn with(lines: &str) -> String {
    format!("services:\n  hello:\n    task_definition: task-definition.json.hbs\n{lines}")
}

#[test]
fn all_of_a_project_file_arrives_in_the_plan() {
    let folder = project(FULL);
    let Project { plan, region, .. } = config::load(&options(folder.path())).unwrap();
    assert_eq!(region.as_deref(), Some("us-west-2"));
    assert_eq!((plan.service.as_str(), plan.cluster.as_str(), &plan.environment), ("hello", "lab", &None));
    assert_eq!(plan.project, folder.path());
    assert!(plan.allow_unknown_fields && plan.service_document.is_some());
    assert_eq!(plan.variables["LIMITS"]["cpu"], 256);
    assert_eq!((plan.desired_count, plan.launch_type.as_deref()), (Some(2), Some("FARGATE")));

    let image = plan.image.unwrap();
    assert_eq!(image.tags, ["v1", "1.10", "latest"]);
    assert_eq!(image.run(), Some("cargo build --release"));
    let create = image.create.unwrap();
    assert_eq!((create.tag_mutability.as_deref(), create.scan_on_push), (Some("IMMUTABLE"), Some(true)));
    assert_eq!(create.tag_mutability_exclusions, ["latest"]);
    assert!(create.policy.unwrap().name.ends_with("policy.json"));
    let ImageSource::Layers(build) = image.source else { panic!("layers") };
    assert_eq!(build.layers.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(build.layers[0][0].from, folder.path().join("target/release/hello"));
    assert_eq!((build.layers[0][0].mode, build.layers[0][0].owner.clone()), (Some(0o755), "1000".parse().ok()));
    assert_eq!(build.layers[1][1].owner, "0:10".parse().ok());
    assert_eq!(build.env, BTreeMap::from([("PORT".into(), "8080".into()), ("DEBUG".into(), "false".into())]));

    let balancer = plan.load_balancer.unwrap();
    assert_eq!((balancer.kind, balancer.create), (LoadBalancerType::Network, true));
    assert_eq!((balancer.listener.port, balancer.listener.protocol.as_str()), (8080, "TCP"));
    assert_eq!(balancer.target_group.deregistration_delay, Some(Duration::from_secs(5)));
    assert_eq!(balancer.target_group.health_check.path.as_deref(), Some("/healthz"));

    let network = plan.network.unwrap();
    assert_eq!(network.subnets, Selector::Ids(vec!["subnet-1".into(), "subnet-2".into()]));
    assert_eq!(network.security_groups, Selector::Tags(BTreeMap::from([("Name".into(), "web".into())])));
    let discovery = plan.service_discovery.unwrap();
    assert_eq!((discovery.namespace.as_str(), discovery.name.as_str()), ("internal", "hello"));
    assert_eq!(plan.rollout.timeout, Duration::from_secs(5400));
    assert_eq!((plan.rollout.on_failure, plan.rollout.fail_fast), (OnFailure::Stop, 2));
}

#[test]
fn an_environment_is_merged_deep_and_flags_go_over_both() {
    let folder = project(FULL);
    let mut options = options(folder.path());
    options.environment = Some("production".into());
    let plan = config::load(&options).unwrap().plan;
    assert_eq!((plan.cluster.as_str(), plan.desired_count), ("prod", Some(4)));
    assert_eq!(plan.variables["LOG"], "warn");
    assert_eq!(plan.variables["LIMITS"]["cpu"], 256);
    let balancer = plan.load_balancer.unwrap();
    assert_eq!(balancer.listener.port, 80);
    assert_eq!(balancer.container_port, Some(8080));
    assert_eq!(balancer.target_group.health_check.interval, Some(Duration::from_secs(5)));
    assert_eq!(balancer.target_group.health_check.path.as_deref(), Some("/ready"));
    assert_eq!(plan.service_discovery, None, "an explicit null takes a section away");

    options.cluster = Some("other".into());
    options.region = Some("eu-west-1".into());
    options.desired_count = Some(0);
    options.timeout = Some(Duration::from_secs(7));
    options.tags = vec!["v2".into()];
    options.check_url = Some("/x".into());
    options.variables = vec![config::parse_variable("LOG=debug").unwrap(), config::parse_variable("N:=[1]").unwrap()];
    let Project { plan, region, .. } = config::load(&options).unwrap();
    assert_eq!((plan.cluster.as_str(), region.as_deref(), plan.desired_count), ("other", Some("eu-west-1"), Some(0)));
    assert_eq!((plan.rollout.timeout.as_secs(), plan.release.as_deref()), (7, Some("v2")));
    assert_eq!((plan.image.unwrap().tags, plan.check_url.as_deref()), (vec!["v2".to_owned()], Some("/x")));
    assert_eq!((&plan.variables["LOG"], &plan.variables["N"]), (&"debug".into(), &serde_json::json!([1])));

    options.environment = Some("staging".into());
    assert_eq!(config::load(&options).unwrap().plan.environment.as_deref(), Some("staging"));
}

#[test]
fn the_service_is_the_only_one_or_the_one_that_was_named() {
    let two = "services:\n  web: { task_definition: policy.json }\n  worker: { task_definition: policy.json }\n";
    insta::assert_snapshot!(refusal(two), @r#"
    steady.yaml:1:1 [services] this project has 2 services: which one?
      help: say --service with one of web, worker
    "#);
    assert_eq!(load(two, |options| options.service = Some("worker".into())).unwrap().plan.service, "worker");
    let error = load(two, |options| options.service = Some("wroker".into())).unwrap_err();
    insta::assert_snapshot!(said(&error), @r#"
    steady.yaml:1:1 [services] there is no service `wroker`
      help: did you mean `worker`?
    "#);
    let error = load(FULL, |options| options.environment = Some("prodution".into())).unwrap_err();
    insta::assert_snapshot!(said(&error), @r#"
    steady.yaml:35:1 [environments] there is no environment `prodution`
      help: did you mean `production`?
    "#);
}

#[test]
fn what_can_be_checked() {
    for (text, expected) in [
        ("/", true),
        ("/healthz?deep=1", true),
        ("https://www.example.com", true),
        ("http://www.example.com:8080/healthz", true),
        ("healthz", false),
        ("www.example.com/healthz", false),
        ("ftp://www.example.com", false),
        ("https://", false),
        ("https://me:secret@www.example.com/", false),
    ] {
        assert_eq!(steadystate::config::is_check_url(text), expected, "{text}");
    }
    // A whole URL needs no load balancer of this file's.
    assert!(load(&with("    check_url: https://www.example.com/healthz\n"), |_| ()).is_ok());
    assert!(load(&with("    check_url: https://me:secret@www.example.com/\n"), |_| ()).is_err());
    assert!(load(&with("    check_url: /healthz\n"), |_| ()).is_err());
}
