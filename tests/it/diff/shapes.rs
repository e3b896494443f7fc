//! Each fixture at the lab: deployed by us, registered by another client, and changed.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use secrecy::SecretString;
use serde_json::{Value, json};
use steadystate::aws::{self, Clients, Settings};
use steadystate::config::{self, Plan};
use steadystate::deploy::event::Events;
use steadystate::deploy::{self, Trial};
use steadystate::document::{Values, diff};
use steadystate::lab::lifecycle::{self, Options};

use super::account::{at_the_lab, furnish};
use super::{folder, input, shapes};
use crate::lab_front::{TestLab, options};
use crate::site::Site;

const TRIAL: Trial = Trial { values: Values::Redacted, build: true };

async fn clients(lab: &TestLab) -> Clients {
    let secret = SecretString::from(lifecycle::SECRET_ACCESS_KEY.to_owned());
    let settings = Settings {
        region: Some(lifecycle::REGION.into()),
        endpoint_url: Some(format!("http://{}", lab.host)),
        static_credentials: Some((lifecycle::ACCESS_KEY_ID.into(), secret)),
        ..Settings::default()
    };
    aws::connect(&settings).await.unwrap()
}

/// A project whose only service has this task definition, and the members that its fixture has.
fn plan(project: &std::path::Path, name: &str, task_definition: &Value) -> Plan {
    let folder_of = project.join(name);
    std::fs::create_dir_all(&folder_of).unwrap();
    std::fs::write(folder_of.join("task.json"), task_definition.to_string()).unwrap();
    let mut service: Value = match std::fs::read_to_string(folder("services").join(format!("{name}.json"))) {
        Ok(text) => serde_json::from_str(&text).unwrap(),
        Err(_) => json!({}),
    };
    if service["schedulingStrategy"] != "DAEMON" {
        service["desiredCount"] = 0.into();
    }
    std::fs::write(folder_of.join("service.json"), service.to_string()).unwrap();
    let yaml = format!("services:\n  {name}:\n    task_definition: task.json\n    service: service.json\n");
    std::fs::write(folder_of.join("steady.yaml"), yaml).unwrap();
    let options = config::Options { directory: folder_of, env: BTreeMap::new(), ..config::Options::default() };
    config::load(&options).unwrap_or_else(|error| panic!("{name}: {error:?}")).plan
}

#[tokio::test]
async fn nothing_differs_after_a_deploy_and_one_changed_member_does() {
    let folder = tempfile::tempdir().unwrap();
    let lab_options = Options { unlimited_requests: true, ..options(folder.path()) };
    let lab = TestLab::start_with(folder, lab_options).await;
    let namespace = json!({ "Name": "shop.local" });
    assert_eq!(lab.json("Route53AutoNaming_v20170314.CreateHttpNamespace", &namespace).await.status, 200);
    let providers = json!({
        "cluster": "default", "capacityProviders": ["FARGATE", "FARGATE_SPOT"], "defaultCapacityProviderStrategy": [],
    });
    let put = lab.json("AmazonEC2ContainerServiceV20141113.PutClusterCapacityProviders", &providers).await;
    assert_eq!(put.status, 200, "{}", put.text());
    let project = tempfile::tempdir().unwrap();
    let clients = clients(&lab).await;
    let names = shapes();
    let documents: Vec<Value> = names.iter().map(|name| at_the_lab(&input(name))).collect();
    furnish(&lab, &clients, &documents).await;
    join_all(
        names.iter().zip(documents).map(|(name, document)| Box::pin(one(project.path(), name, document, &clients))),
    )
    .await;
    lab.end().await;
}

async fn one(project: &std::path::Path, name: &str, document: Value, clients: &Clients) {
    let (events, _receiver) = Events::channel();
    let plan = self::plan(project, name, &document);
    let first =
        deploy::dry_run(&plan, TRIAL, clients, &events).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!((first.status, first.service_action), ("changes", "create"), "{name}");
    assert_eq!((&first.previous_task_definition, &first.task_definition), (&None, &None), "{name}");
    let added = |changes: &[steadystate::document::Change]| {
        !changes.is_empty() && changes.iter().all(|change| change.before.is_none() && change.after.is_some())
    };
    assert!(added(&first.task_definition_changes) && added(&first.service_changes), "{name}: {first:?}");

    let deployed = deploy::run(&plan, clients, &events).await;
    deployed.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    unchanged(name, 1, &plan, clients).await;

    // Somebody else registers the same, without our tags, and the service runs that.
    let reply = clients.register_task_definition(document.clone()).await.unwrap();
    let other = reply["taskDefinition"]["taskDefinitionArn"].clone();
    assert_eq!(diff(&reply["taskDefinition"], &without_tags(&document), Values::Shown), [], "{name}");
    clients.update_service(json!({ "service": name, "taskDefinition": other })).await.unwrap();
    unchanged(name, 2, &plan, clients).await;
    let again = deploy::run(&plan, clients, &events).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert!(again.revision_reused, "{name}");
    assert_eq!(again.task_definition, other, "{name}: what says the same is not registered again");

    let mut changed = document.clone();
    changed["containerDefinitions"][0]["image"] = "public.ecr.aws/docker/library/other:1".into();
    let plan = self::plan(project, name, &changed);
    let dry = deploy::dry_run(&plan, TRIAL, clients, &events).await.unwrap();
    assert_eq!((dry.status, dry.service_action), ("changes", "update"), "{name}");
    let container = document["containerDefinitions"][0]["name"].as_str().unwrap();
    let paths: Vec<&str> = dry.task_definition_changes.iter().map(|change| &*change.path).collect();
    assert_eq!(paths, [format!("containerDefinitions[{container}].image")], "{name}: {dry:?}");
    let paths: Vec<&str> = dry.service_changes.iter().map(|change| &*change.path).collect();
    assert_eq!(paths, ["taskDefinition"], "{name}: {dry:?}");
}

fn without_tags(document: &Value) -> Value {
    let mut document = document.clone();
    document.as_object_mut().unwrap().shift_remove("tags");
    document
}

async fn unchanged(name: &str, revision: u32, plan: &Plan, clients: &Clients) {
    let (events, _receiver) = Events::channel();
    let dry = deploy::dry_run(plan, TRIAL, clients, &events).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(
        (dry.status, &dry.task_definition_changes, &dry.service_changes),
        ("unchanged", &vec![], &vec![]),
        "{name}: {dry:?}"
    );
    assert!(dry.task_definition.is_some_and(|arn| arn.ends_with(&format!("/{name}:{revision}"))), "{name}");
}

#[tokio::test]
async fn what_runs_from_a_registry_that_is_not_ecr_is_not_pushed_again() {
    let lab = TestLab::start().await;
    lab.create("hello").await;
    let repository = format!("{}/hello", lab.host);
    let layers = "{ layers: [{ from: td.json.hbs, to: /a }], entrypoint: [/a] }";
    let image = format!("{{ repository: \"{repository}\", build: {layers} }}");
    let site = Site::new(&format!("http://{}", lab.host), &image);
    let auth = lab.login().await;
    let auth = auth.strip_prefix("Basic ").unwrap();
    std::fs::create_dir(site.path("home/.docker")).unwrap();
    site.write("home/.docker/config.json", json!({ "auths": { &lab.host: { "auth": auth } } }).to_string());
    let run = async |line: &str| site.well(&line.split(' ').collect::<Vec<_>>(), &[]).await;
    let first = run("diff -o json").await;
    assert_eq!(first.result()["pushes"], true, "{first:?}");
    assert!(first.stderr.contains("is not asked in a dry run"), "{first:?}");
    run("deploy --desired-count 0").await;
    let same = run("diff -o json --exit-code").await;
    assert_eq!((&same.result()["status"], &same.result()["pushes"]), (&json!("unchanged"), &json!(false)), "{same:?}");
    assert!(!same.stderr.contains("is not asked"), "{same:?}");
    lab.end().await;
}

#[tokio::test]
async fn a_repository_to_be_created_is_one_of_the_differences() {
    let lab = TestLab::start().await;
    let image = "{ repository: hello, build: { layers: [{ from: td.json.hbs, to: /a }], entrypoint: [/a] } }";
    let site = Site::new(&format!("http://{}", lab.host), image);
    assert_eq!(site.run(&["diff"]).await.code, Some(3), "there is none, and nobody says to create it");
    for build in [&[][..], &["--no-build"]] {
        let line = [&["diff", "--create-repository", "-o", "json"], build].concat();
        let ended = site.well(&line, &[]).await;
        let result = ended.result();
        assert_eq!(result["creates"], json!(["repository hello"]), "{result:#}");
        let stand_in = result["digest"].as_str().unwrap().ends_with(&"0".repeat(64));
        assert_eq!((stand_in, ended.stderr.contains("is a stand-in")), (!build.is_empty(), !build.is_empty()));
    }
    lab.end().await;
}
