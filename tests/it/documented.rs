//! `docs/` says all that there is, and nothing that is not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::rehearsal::{Rehearsal, Run, command};

/// The names in the first column of the tables of a document, by the last heading above them.
fn tables(document: &str) -> BTreeMap<String, BTreeSet<String>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(document);
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        if let Some(text) = line.strip_prefix("##") {
            heading = text.trim_start_matches('#').trim().trim_matches('`').to_owned();
        } else if let Some(name) = line.strip_prefix("| `").and_then(|rest| rest.split('`').next()) {
            assert!(
                tables.entry(heading.clone()).or_default().insert(name.to_owned()),
                "{heading}: {name} is there twice"
            );
        }
    }
    tables
}

/// Every map of a project file with a key that no map knows, in each form that it can have.
const UNKNOWN: &str = r#"
zzzzzzzz: 1
services:
  a:
    zzzzzzzz: 1
    task_definition: t.json
    image:
      zzzzzzzz: 1
      repository: a
      create: { zzzzzzzz: 1 }
      build: { zzzzzzzz: 1, layers: [{ zzzzzzzz: 1, from: a, to: /a }] }
    load_balancer:
      zzzzzzzz: 1
      type: network
      listener: { zzzzzzzz: 1, port: 80 }
      target_group: { zzzzzzzz: 1, health_check: { zzzzzzzz: 1 } }
      advanced_configuration:
        zzzzzzzz: 1
        role: arn:aws:iam::123456789012:role/a
        alternate_target_group: { zzzzzzzz: 1 }
        test_listener: { zzzzzzzz: 1, port: 81 }
    network: { zzzzzzzz: 1, subnets: { zzzzzzzz: 1, tags: { a: b } } }
    service_discovery: { zzzzzzzz: 1, namespace: a }
    rollout:
      zzzzzzzz: 1
      circuit_breaker: { zzzzzzzz: 1, threshold: { zzzzzzzz: 1, type: COUNT, value: 1 } }
      alarms: { zzzzzzzz: 1, names: [a] }
      hooks: [{ zzzzzzzz: 1, type: PAUSE, stages: [POST_SCALE_UP] }]
    before: [{ zzzzzzzz: 1, task: { zzzzzzzz: 1 } }]
    after: [{ zzzzzzzz: 1, task: { zzzzzzzz: 1 } }]
  b: { task_definition: t.json, image: { repository: a, build: { zzzzzzzz: 1, dockerfile: a } } }
  c: { task_definition: t.json, image: { repository: a, build: { zzzzzzzz: 1, image: a } } }
environments:
  d: { zzzzzzzz: 1 }
"#;

#[test]
fn every_key_of_the_project_file_is_documented_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("steady.yaml"), UNKNOWN).unwrap();
    std::fs::write(folder.path().join("t.json"), "{}").unwrap();
    let output = command(folder.path()).args(["deploy", "--output", "json"]).output().unwrap();
    let refused = Run::new(&output).json(2);
    let mut parser: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let others = refused["error"]["others"].as_array().unwrap();
    for error in std::iter::once(&refused["error"]).chain(others) {
        let message = error["message"].as_str().unwrap();
        let place = message.strip_prefix("unknown key `zzzzzzzz`").unwrap_or_else(|| panic!("{error}"));
        let place = place.trim_start_matches(" in `").trim_end_matches('`');
        let section = match place.split('.').collect::<Vec<_>>()[..] {
            [""] => "The file".to_owned(),
            [top, _, ref below @ ..] => [&[top, "NAME"], below].concat().join("."),
            _ => panic!("{place}"),
        };
        let known = error["hints"][0].as_str().unwrap().strip_prefix("known keys are ").unwrap();
        parser.entry(section).or_default().extend(known.split(", ").map(str::to_owned));
    }
    assert_eq!(tables("project-file.md"), parser);
    assert_eq!(UNKNOWN.matches("zzzzzzzz").count(), others.len() + 1);
}

/// Whether an object has exactly the members that its command's table lists.
#[track_caller]
fn as_documented(command: &str, object: &Value) {
    let members: BTreeSet<String> = object.as_object().unwrap().keys().cloned().collect();
    assert_eq!(tables("output.md")[command], members, "{command}");
}

#[test]
fn what_each_command_prints_is_documented() {
    let lab = Rehearsal::start();
    as_documented("lab start", &lab.steady("lab start -o json").json(0));
    let mut status = lab.steady("lab status -o json").json(0);
    // said only of the weaker levels, when something is wrong, and where the port is free
    for (name, value) in [("warning", json!("")), ("failed", json!([])), ("runtime", json!("")), ("dns", json!(""))] {
        status[name] = value;
    }
    as_documented("lab status", &status);
    as_documented("lab console", &lab.steady("lab console -o json").json(0));
    as_documented("init", &lab.steady("init -C shop --template ec2 -o json").json(0));
    super::scenario::program(&lab, "shop/target/my_service");
    let port = crate::ports::free_port();
    let text = std::fs::read_to_string(lab.path("shop/steady.yaml")).unwrap();
    let run = text.lines().find(|line| line.trim_start().starts_with("run: ")).unwrap().to_owned();
    lab.replace(
        "shop/steady.yaml",
        &[
            (&run, ""),
            ("entrypoint: [/shop]", "entrypoint: [/shop, http, \"0.0.0.0:8080\", /public/index.html]"),
            ("listener: { port: 8080 }", &format!("listener: {{ port: {port} }}")),
        ],
    );
    let client = lab.path("client");
    lab.write("client", "#!/bin/sh\ncat > /dev/null\n");
    std::fs::set_permissions(&client, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    as_documented("login", &lab.lab(&format!("login --client {}", client.display())).json(0));
    as_documented("login --install", &lab.lab("login --install --bin-dir bin").json(0));
    as_documented("login --uninstall", &lab.lab("login --uninstall").json(0));
    as_documented("repo create", &lab.lab("repo create shelf").json(0));
    as_documented("repo list", &lab.lab("repo list").json(0)[0]);
    as_documented("repo test", &lab.lab("repo test shelf").json(0));
    as_documented("repo delete", &lab.lab("repo delete shelf --yes").json(0));
    as_documented("diff", &lab.lab("deploy --dry-run -C shop").json(0));
    for line in ["verify", "build", "diff", "push", "render", "register", "deploy", "status", "wait"] {
        as_documented(line, &lab.lab(&format!("{line} -C shop")).json(0));
    }
    as_documented("repo delete-images", &lab.lab("repo delete-images shop --untagged --yes").json(0));
    as_documented("repo images", &lab.lab("repo images shop").json(0)[0]);
    let own = format!("mirror {}/shop:latest --repository shelf --create-repository", lab.host);
    as_documented("mirror", &lab.lab(&own).json(0)[0]);
    as_documented("run", &lab.steady("run -C shop --lab -o json --detach").json(0));
    as_documented("rollback", &lab.lab("rollback -C shop --to 1").json(0));
    as_documented("rollback --list", &lab.lab("rollback -C shop --list").json(0)[0]);
    as_documented("revisions", &lab.lab("revisions -C shop").json(0)[0]);
    as_documented("error", &lab.lab("rollback -C shop --to 7").json(2));
    as_documented("delete", &lab.lab("delete -C shop --yes").json(0));
    let mut fault = lab.steady("lab fault add delay --for 1s --on ecs:ListAccountSettings -o json").json(0);
    let error = "lab fault add error --on ecs:ListAccountSettings --code ClientException --message no --status 400 \
                 --count 1 --after 1 --probability 0.5 --seed 3 -o json";
    fault.as_object_mut().unwrap().extend(lab.steady(error).json(0).as_object().unwrap().clone());
    as_documented("lab fault add", &fault);
    assert_eq!(lab.steady("lab fault list -o json").json(0)[1]["code"], "ClientException");
    as_documented("lab fault clear", &lab.steady("lab fault clear 1 2 -o json").json(0));
    as_documented("lab reset", &lab.steady("lab reset -o json").json(0));
    as_documented("lab stop", &lab.steady("lab stop -o json").json(0));
}
