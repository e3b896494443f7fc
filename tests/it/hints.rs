//! What a failure says to type next acts where the run acted: the same project, account and service, or the lab.

use std::fs;
use std::path::Path;

use serde_json::json;
use steadystate::commands::{with_flags, with_resume};
use steadystate::deploy::event::Step;
use steadystate::error::{Error, Kind};
use steadystate::report::Seen;

use crate::aws::server::{Reply, Server};
use crate::lab_runtime::image::tool_path;
use crate::rehearsal::{Rehearsal, Run, command};

#[test]
fn commands_get_the_flags_of_the_run_and_nothing_else_does() {
    for (hint, expected) in [
        ("`steady deploy` makes it", "`steady deploy -C x --lab` makes it"),
        ("`steady wait` or `docker ps`", "`steady wait -C x --lab` or `docker ps`"),
        ("see `steady login --password-stdout`", "see `steady login --password-stdout -C x --lab`"),
        ("`steady lab stop` ends it, `steady init` begins", "`steady lab stop` ends it, `steady init -C x` begins"),
        ("say steady", "say steady"),
    ] {
        assert_eq!(with_flags(hint, " -C x --lab", " -C x"), expected);
        assert_eq!(with_flags(hint, "", ""), hint);
    }
}

/// Outside backticks a command would not get the run's flags.
#[test]
fn every_command_in_the_sources_texts_stands_between_backticks() {
    let verbs = [
        "deploy",
        "status",
        "wait",
        "continue",
        "rollback",
        "revisions",
        "delete",
        "render",
        "register",
        "push",
        "login",
    ];
    let sources = walkdir::WalkDir::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut found = Vec::new();
    for entry in sources.into_iter().map(Result::unwrap).filter(|entry| entry.path().extension() == Some("rs".as_ref()))
    {
        for (number, line) in fs::read_to_string(entry.path()).unwrap().lines().enumerate() {
            let text = line.split("//").next().unwrap_or_default();
            for (at, name) in text.match_indices("steady ") {
                let verb = text[at + name.len()..].split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
                let own = text[..at].ends_with("format!(\"");
                if verbs.contains(&verb) && !text[..at].ends_with('`') && !own {
                    found.push(format!("{}:{}: {}", entry.path().display(), number + 1, line.trim()));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A server that has no service, so that every command line ends with "`steady deploy` makes it".
#[tokio::test(flavor = "multi_thread")]
async fn the_flags_are_those_that_were_given() {
    let server = Server::start(|request, _| match request.operation.as_str() {
        "DescribeServices" => Reply::Json(json!({ "services": [] })),
        "ListTasks" => Reply::Json(json!({ "taskArns": [] })),
        _ => Reply::Error(400, "UnknownOperationException", "no such operation"),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    fs::create_dir_all(home.join("my shop")).unwrap();
    fs::create_dir_all(home.join(".aws")).unwrap();
    fs::write(home.join(".aws/config"), "[profile mine]\nregion = eu-west-1\n").unwrap();
    fs::write(home.join(".aws/credentials"), "[mine]\naws_access_key_id = a\naws_secret_access_key = b\n").unwrap();
    fs::write(home.join("td.json"), "{}").unwrap();
    let services = "services: { web: { task_definition: ../td.json }, api: { task_definition: ../td.json } }\n";
    fs::write(home.join("my shop/other.yaml"), format!("{services}environments: {{ production: {{}} }}\n")).unwrap();
    for (given, expected) in [
        (&["--service", "web"][..], " --service web"),
        (&["--service", "web", "--cluster", "c 1"], " --service web --cluster 'c 1'"),
        (
            &["-s", "web", "--region", "eu-west-1", "--profile", "mine"],
            " --service web --region eu-west-1 --profile mine",
        ),
        (
            &["-C", "my shop", "-f", "other.yaml", "-e", "production", "-s", "api"],
            " -C 'my shop' -f other.yaml --environment production --service api",
        ),
    ] {
        for verb in ["status", "wait", "rollback"] {
            let mut command = command(home);
            command.arg(verb).args(given).args(["-o", "json"]).env("AWS_ENDPOINT_URL", &server.url);
            if !given.contains(&"--profile") {
                command.env("AWS_REGION", "us-west-2").env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
            }
            let run = Run::new(&command.output().unwrap());
            run.json(3);
            assert_eq!(run.next_commands(), [format!("steady deploy{expected}")], "{verb}: {run:?}");
        }
    }
}

#[test]
fn what_a_failed_rehearsal_says_to_type_is_done_in_the_lab() {
    let lab = Rehearsal::start();
    fs::create_dir(lab.path("shop")).unwrap();
    fs::copy(tool_path(), lab.path("shop/tool")).unwrap();
    lab.write(
        "shop/steady.yaml",
        r#"
services:
  web:
    image:
      repository: web
      create: true
      tags: [latest]
      build: { layers: [{ from: tool, to: /tool, mode: "0755" }], entrypoint: [/tool] }
    task_definition: task-definition.json.hbs
    desired_count: 1
    launch_type: EC2
    rollout: { timeout: 60s, on_failure: stop, fail_fast: 1 }
variables: { run: [sleep] }
"#,
    );
    let container = r#"{ "name": "web", "image": "{{image}}", "memory": 16, "command": {{json var.run}} }"#;
    let task_definition = format!(r#"{{ "networkMode": "bridge", "containerDefinitions": [{container}] }}"#);
    lab.write("shop/task-definition.json.hbs", &task_definition);
    lab.lab("deploy -C shop").json(0);
    let failed = lab.lab(r#"deploy -C shop --var run:=["exit","3"]"#);
    failed.json(6);
    assert_eq!(failed.next_commands(), ["steady wait -C shop --lab", "steady rollback -C shop --lab"]);
    let pasted = failed.next_commands().pop().unwrap();
    let back = lab.steady(&format!("{} -o json", pasted.trim_start_matches("steady "))).json(0);
    assert!(back["taskDefinition"].as_str().unwrap().ends_with("web:1"), "{back}");
}

#[test]
fn an_interruption_says_what_goes_on_and_how_to_take_it_up() {
    let deletes = Some("steady delete --yes --created");
    let said = |kind, last_step, service_changed| {
        let seen = Seen { last_step, service_changed, ..Seen::default() };
        let command = deletes.filter(|_| last_step == Some(Step::Delete));
        with_resume(Error::new(kind, "stopped"), seen, command).hints().join("\n")
    };
    for (kind, step, changed, expected) in [
        (Kind::Interrupted(2), None, false, ""),
        (Kind::Interrupted(2), Some(Step::Build), false, "the service is untouched"),
        (Kind::Interrupted(2), Some(Step::Push), false, "the service is untouched"),
        (Kind::Interrupted(2), Some(Step::Service), false, "`steady status` tells"),
        (Kind::Interrupted(2), Some(Step::Service), true, "`steady wait` follows it"),
        (Kind::Interrupted(2), Some(Step::Steady), true, "`steady rollback` goes back"),
        (Kind::Interrupted(2), Some(Step::Delete), false, "`steady delete --yes --created` goes on"),
        (Kind::DeadlinePassed, Some(Step::Delete), false, "`steady delete --yes --created` goes on"),
        (Kind::DeadlinePassed, Some(Step::Steady), true, "`steady wait` follows it"),
        (Kind::Other, Some(Step::Steady), true, ""),
    ] {
        let said = said(kind, step, changed);
        assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{kind:?} {step:?}: {said}");
        assert!(step != Some(Step::Delete) || !said.contains("steady wait"), "{said}");
    }
    let said = |seen| with_resume(Error::new(Kind::Interrupted(2), "stopped"), seen, None).hints().join("\n");
    let first = Seen { last_step: Some(Step::Steady), service_changed: true, service_created: true, ..Seen::default() };
    assert!(said(first).contains("`steady delete --yes`") && !said(first).contains("rollback"), "{}", said(first));
    let before = Seen { last_step: Some(Step::Before), ..Seen::default() };
    assert!(said(before).contains("was ended with this"), "{}", said(before));
    assert!(said(Seen { runs_task: true, ..before }).contains("the task that runs before it goes on at AWS"));
    // What AWS's own client is to do at the lab would reach AWS.
    let aws = "create it: `aws ssm put-parameter …`";
    assert_eq!(with_flags(aws, " --lab", ""), format!("{aws} (in the lab: after `eval \"$(steady lab env)\"`)"));
    assert_eq!(with_flags(aws, " --service labour", ""), aws);
    // `steady wait` and `steady continue` do not run what comes after the release.
    for kind in [Kind::Interrupted(2), Kind::DeadlinePassed, Kind::Paused] {
        let seen = Seen { last_step: Some(Step::Steady), service_changed: true, leaves_after: true, ..Seen::default() };
        let hints = with_resume(Error::new(kind, "stopped"), seen, None).hints().to_vec();
        assert!(hints.last().unwrap().ends_with("and then runs what is `after` it"), "{kind:?}: {hints:?}");
    }
    let knows = Error::new(Kind::DeadlinePassed, "late").hint("resume: `steady wait`");
    assert_eq!(with_resume(knows, Seen::default(), None).hints().len(), 1);
    assert_eq!((Kind::Interrupted(2).exit_code(), Kind::Interrupted(15).exit_code()), (130, 143));
}

/// A service whose tasks do not go away.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_takes_too_long_says_what_goes_on_with_it() {
    let live = json!({
        "serviceName": "web", "clusterArn": "default", "status": "ACTIVE", "desiredCount": 0, "runningCount": 1,
        "pendingCount": 0, "deployments": [], "events": [],
    });
    let server = Server::start(move |request, _| match request.operation.as_str() {
        "DescribeServices" => Reply::Json(json!({ "services": [live] })),
        _ => Reply::Error(400, "UnknownOperationException", "no such operation"),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("td.json"), "{}").unwrap();
    let yaml = "services: { web: { task_definition: td.json, rollout: { timeout: 1s } } }\n";
    fs::write(folder.path().join("steady.yaml"), yaml).unwrap();
    let mut command = command(folder.path());
    command.args(["delete", "--yes", "--created", "-o", "json", "--region", "us-west-2"]);
    command.env("AWS_ENDPOINT_URL", &server.url).env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
    let run = Run::new(&command.output().unwrap());
    run.json(9);
    assert_eq!(run.next_commands(), ["steady delete --yes --created --region us-west-2"], "{run:?}");
}
