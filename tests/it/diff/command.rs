//! `steady diff` as a person sees it.

use serde_json::{Value, json};

use crate::rehearsal::Rehearsal;

const PROJECT: &str =
    "services:\n  web:\n    task_definition: task.json\n    service: service.json\n    desired_count: 0\n";

fn task(change: impl FnOnce(&mut Value)) -> String {
    let mut task = json!({
        "family": "web",
        "containerDefinitions": [{
            "name": "web", "image": "public.ecr.aws/docker/library/nginx:1.27", "memory": 128,
            "portMappings": [{ "containerPort": 80 }],
            "environment": [{ "name": "LOG", "value": "info" }, { "name": "TOKEN", "value": "tok-s3cret" }],
            "command": ["sh", "-c", "set -e\nnginx -t\nexec nginx -g 'daemon off;'\n"],
        }],
    });
    change(&mut task);
    task.to_string()
}

fn web(lab: &Rehearsal) {
    lab.write("web/steady.yaml", PROJECT);
    lab.write("web/service.json", r#"{ "deploymentConfiguration": { "maximumPercent": 200 } }"#);
    lab.write("web/task.json", &task(|_| {}));
}

/// Standard output of a run that had to end with this code.
#[track_caller]
fn shown(lab: &Rehearsal, line: &str, code: i32) -> String {
    let run = lab.steady(&format!("{line} -C web --lab"));
    assert_eq!(run.code, code, "{}\n{}", run.stdout, run.stderr);
    run.stdout
}

#[test]
fn what_is_new_is_added_and_what_changes_is_shown() {
    let lab = Rehearsal::start();
    web(&lab);
    insta::assert_snapshot!(shown(&lab, "diff", 0), @r#"
    web on default would be created
      pushes          no
      service action  create

    task definition changes
      + family: "web"
      + containerDefinitions[web]
      +   {
      +     "name": "web",
      +     "image": "public.ecr.aws/docker/library/nginx:1.27",
      +     "memory": 128,
      +     "portMappings": [
      +       {
      +         "containerPort": 80
      +       }
      +     ],
      +     "environment": [
      +       {
      +         "name": "LOG",
      +         "value": "(redacted)"
      +       },
      +       {
      +         "name": "TOKEN",
      +         "value": "(redacted)"
      +       }
      +     ],
      +     "command": [
      +       "sh",
      +       "-c",
      +       "set -e\n
      +        nginx -t\n
      +        exec nginx -g 'daemon off;'\n"
      +     ]
      +   }

    service changes
      + deploymentConfiguration: {"maximumPercent":200,"deploymentCircuitBreaker":{"enable":true,"rollback":true}}
      + serviceName: "web"
      + cluster: "default"
      + taskDefinition: "web:new"
      + desiredCount: 0
    "#);
    lab.lab("deploy -C web").json(0);
    insta::assert_snapshot!(shown(&lab, "diff --exit-code", 0), @r"
    web on default is unchanged
      pushes                    no
      previous task definition  web:1
      task definition           web:1
      service action            none
    ");

    lab.write(
        "web/task.json",
        &task(|task| {
            let web = &mut task["containerDefinitions"][0];
            web["image"] = "public.ecr.aws/docker/library/nginx:1.28".into();
            web["environment"][0]["value"] = "debug".into();
            web["environment"][1] = json!({ "name": "API_KEY", "value": "key-s3cret" });
            web["cpu"] = 64.into();
            web["portMappings"][0] = json!({ "containerPort": 80, "protocol": "tcp", "hostPort": 0 });
            task["runtimePlatform"] = json!({ "cpuArchitecture": "ARM64" });
        }),
    );
    lab.write("web/service.json", r#"{ "deploymentConfiguration": { "maximumPercent": 150 } }"#);
    let changed = lab.steady("diff -C web --lab --exit-code");
    assert_eq!(changed.code, 11, "{}", changed.stderr);
    insta::assert_snapshot!(changed.stdout, @r#"
    web on default would change
      pushes                    no
      previous task definition  web:1
      service action            update

    task definition changes
      ~ containerDefinitions[web].image
        - "public.ecr.aws/docker/library/nginx:1.27"
        + "public.ecr.aws/docker/library/nginx:1.28"
      ~ containerDefinitions[web].environment[LOG]: changed (redacted)
      - containerDefinitions[web].environment[TOKEN]: (redacted)
      + containerDefinitions[web].environment[API_KEY]: (redacted)
      ~ containerDefinitions[web].cpu: 0 -> 64
      + runtimePlatform: {"cpuArchitecture":"ARM64"}

    service changes
      ~ deploymentConfiguration.maximumPercent: 200 -> 150
      ~ taskDefinition: "arn:aws:ecs:us-east-1:111122223333:task-definition/web:1" -> "web:new"
    "#);
    assert!(changed.stderr.contains("--show-values shows them"), "{}", changed.stderr);
    assert_eq!(shown(&lab, "deploy --dry-run", 0), changed.stdout, "they are one");
    let all = shown(&lab, "diff --show-values", 0);
    let more: Vec<&str> = all.lines().filter(|line| !changed.stdout.contains(line)).collect();
    insta::assert_snapshot!(more.join("\n"), @r#"
    ~ containerDefinitions[web].environment[LOG]: "info" -> "debug"
    - containerDefinitions[web].environment[TOKEN]: "tok-s3cret"
    + containerDefinitions[web].environment[API_KEY]: "key-s3cret"
    "#);
}

#[test]
fn colours_are_for_terminals() {
    let lab = Rehearsal::start();
    web(&lab);
    let colored = |forced: &str| {
        let mut command = crate::rehearsal::command(&lab.path(""));
        command.env("CLICOLOR_FORCE", forced).args("diff -C web --lab".split(' '));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    assert!(!colored("0").contains('\u{1b}'));
    assert!(colored("1").contains("\u{1b}[32m+ containerDefinitions[web]"), "{}", colored("1"));
}

#[test]
fn a_family_without_a_service_is_compared_with_its_newest_revision() {
    let lab = Rehearsal::start();
    web(&lab);
    let registered = lab.lab("register -C web").json(0);
    let same = lab.lab("diff -C web").json(0);
    assert_eq!((&same["taskDefinition"], &same["taskDefinitionChanges"]), (&registered["taskDefinition"], &json!([])));
    assert_eq!(same["serviceAction"], "create");
    lab.write("web/task.json", &task(|task| task["containerDefinitions"][0]["memory"] = 256.into()));
    let other = lab.lab("diff -C web").json(0);
    assert_eq!(other["taskDefinition"], Value::Null);
    assert_eq!(other["previousTaskDefinition"], registered["taskDefinition"]);
    let change =
        json!([{ "path": "containerDefinitions[web].memory", "kind": "changed", "before": 128, "after": 256 }]);
    assert_eq!(other["taskDefinitionChanges"], change);
}

#[test]
fn what_others_scaled_is_left_alone() {
    let lab = Rehearsal::start();
    web(&lab);
    lab.write("web/steady.yaml", &PROJECT.replace("    desired_count: 0\n", ""));
    lab.write("web/service.json", r#"{ "desiredCount": 0 }"#);
    lab.lab("deploy -C web").json(0);
    lab.write("web/service.json", "{}");
    lab.call("ecs.UpdateService", json!({ "service": "web", "desiredCount": 1 }));
    assert_eq!(lab.lab("diff -C web").json(0)["serviceChanges"], json!([]));
    lab.write("web/service.json", r#"{ "desiredCount": 0, "placementStrategy": [{ "type": "random" }] }"#);
    let wanted = json!([
        { "path": "desiredCount", "kind": "changed", "before": 1, "after": 0 },
        { "path": "placementStrategy", "kind": "changed", "before": [], "after": [{ "type": "random" }] },
    ]);
    assert_eq!(lab.lab("diff -C web").json(0)["serviceChanges"], wanted);
}

#[test]
fn a_deploy_has_no_differences_to_show() {
    let lab = Rehearsal::start();
    web(&lab);
    for flag in ["--exit-code", "--show-values"] {
        let refused = lab.lab(&format!("deploy -C web {flag}")).json(2);
        let hint = refused["error"]["hints"][0].as_str().unwrap();
        assert!(hint.contains(&format!("`steady diff {flag} ")) && hint.contains("--dry-run"), "{refused:#}");
    }
}

#[test]
fn what_would_be_refused_is_shown_all_the_same() {
    let lab = Rehearsal::start();
    web(&lab);
    // Placed nowhere, so that the deployment stays in progress.
    let nowhere = |task: &mut Value, memory: i64| {
        task["placementConstraints"] = json!([{ "type": "memberOf", "expression": "attribute:nowhere == true" }]);
        task["containerDefinitions"][0]["memory"] = memory.into();
    };
    lab.write("web/task.json", &task(|task| nowhere(task, 128)));
    lab.lab("register -C web").json(0);
    lab.call("ecs.CreateService", json!({ "serviceName": "web", "taskDefinition": "web", "desiredCount": 1 }));
    lab.write("web/task.json", &task(|task| nowhere(task, 256)));
    let run = lab.steady("diff -C web --lab --output json --exit-code");
    let refused = run.json(11);
    assert_eq!(refused["serviceAction"], "refuse", "{refused:#}");
    assert!(run.stderr.contains("a deploy would be refused now: another deployment is in progress"), "{}", run.stderr);
    let paths = |list: &Value| list.as_array().unwrap().iter().map(|one| one["path"].clone()).collect::<Vec<_>>();
    assert_eq!(paths(&refused["taskDefinitionChanges"]), ["containerDefinitions[web].memory"]);
    let service = ["taskDefinition", "desiredCount", "deploymentConfiguration.deploymentCircuitBreaker.enable"];
    assert!(service.iter().all(|path| paths(&refused["serviceChanges"]).contains(&json!(path))), "{refused:#}");
}

#[test]
fn tags_of_a_service_that_is_there_stay_and_that_is_said() {
    let lab = Rehearsal::start();
    web(&lab);
    let tags =
        |team: &str| json!({ "tags": [{ "key": "team", "value": team }, { "key": "kept", "value": "1" }] }).to_string();
    lab.write("web/service.json", &tags("web"));
    lab.lab("deploy -C web").json(0);
    let same = lab.steady("diff -C web --lab --exit-code");
    assert_eq!((same.code, same.stderr.contains("tags")), (0, false), "{}", same.stderr);
    lab.write("web/service.json", &tags("shop"));
    let other = lab.steady("diff -C web --lab --exit-code");
    assert_eq!(other.code, 0, "{}", other.stdout);
    assert!(other.stderr.contains("does not change the tags of a service that is there: team\n"), "{}", other.stderr);
}
