//! `before` and `after` of a service.

use serde_json::{Value, json};

use super::{project, shop, tasks};
use crate::rehearsal::Rehearsal;

/// The next release.
fn change(lab: &Rehearsal, flavour: &str) {
    let path = lab.path("shop/task-definition.json.hbs");
    let mut document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    document["containerDefinitions"][0]["environment"][0]["value"] = flavour.into();
    lab.write("shop/task-definition.json.hbs", &document.to_string());
}

#[test]
fn they_run_in_their_order_with_the_new_release() {
    let more = r#"
    before:
      - { name: migrate, task: { command: [say, migrated], environment: { ONLY: here }, memory: 24 } }
      - { name: announce, run: 'echo "$STEADY_REVISION $STEADY_SERVICE $STEADY_URL." >> said; env > before.env' }
    after:
      - { name: smoke, task: { command: [exit, "0"] } }
      - { run: "echo after $STEADY_IMAGE >> said" }
"#;
    let lab = shop(more);
    let dry = lab.lab("deploy -C shop --dry-run").json(0);
    assert_eq!((&dry["before"], &dry["after"][0]), (&json!(["migrate", "announce"]), &json!("smoke")));
    assert_eq!(dry["after"].as_array().unwrap().len(), 2);
    assert!(tasks(&lab).is_empty() && !lab.path("shop/said").exists());

    let run = lab.lab("deploy -C shop");
    let outcome = run.json(0);
    let names =
        |member: &str| outcome[member].as_array().unwrap().iter().map(|one| one["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names("before"), ["migrate", "announce"]);
    assert_eq!(names("after"), ["smoke", "echo after $STEADY_IMAGE >> said"]);
    let ran = tasks(&lab);
    assert_eq!(ran.len(), 2);
    for (task, (member, word)) in ran.iter().zip([("before", "before"), ("after", "after")]) {
        let id = outcome[member][0]["task"].as_str().unwrap();
        assert!(task["taskArn"].as_str().unwrap().ends_with(id), "{task}");
        assert_eq!(task["taskDefinitionArn"], outcome["taskDefinition"]);
        assert!(task["startedBy"].as_str().unwrap().starts_with(&format!("steady/{word}/")), "{task}");
        assert_eq!(task["containers"][0]["imageDigest"], outcome["digest"]);
    }
    let container = &ran[0]["overrides"]["containerOverrides"][0];
    assert_eq!((&container["environment"][0]["name"], &container["memory"]), (&json!("ONLY"), &json!(24)));
    let created = lab.service("web")["createdAt"].as_f64().unwrap();
    assert!(ran[0]["stoppedAt"].as_f64().unwrap() <= created && ran[1]["createdAt"].as_f64().unwrap() >= created);
    // The log is shown while it runs, and steps are told apart.
    for line in [
        "before        started",
        " web | migrated",
        "before        done in",
        ": migrate, task ",
        "after         done in",
    ] {
        assert!(run.stderr.contains(line), "{line} is not in {}", run.stderr);
    }
    let said = std::fs::read_to_string(lab.path("shop/said")).unwrap();
    assert_eq!(said, format!("web:1 web .\nafter {}\n", outcome["image"].as_str().unwrap()));
    // What a command calls at AWS is the lab, whatever this shell would lead to.
    let env = std::fs::read_to_string(lab.path("shop/before.env")).unwrap();
    for line in [
        format!("AWS_ENDPOINT_URL=http://{}", lab.host),
        "AWS_ACCESS_KEY_ID=steady-lab".to_owned(),
        "AWS_REGION=us-east-1".to_owned(),
        format!("STEADY_DIGEST={}", outcome["digest"].as_str().unwrap()),
        format!("STEADY_TASK_DEFINITION={}", outcome["taskDefinition"].as_str().unwrap()),
        "STEADY_CLUSTER=default".to_owned(),
        "STEADY_ACCOUNT_ID=111122223333".to_owned(),
    ] {
        assert!(env.lines().any(|one| one == line), "{line} is not in {env}");
    }

    // Nothing new is released: what runs before a release does not; what proves it does.
    let again = lab.lab("deploy -C shop").json(0);
    assert_eq!((&again["action"], &again["before"]), (&json!("unchanged"), &json!([])));
    assert_eq!((again["after"].as_array().unwrap().len(), tasks(&lab).len()), (2, 3));
    assert_eq!(lab.lab("deploy -C shop --dry-run").json(0)["before"], json!([]));
}

#[test]
fn what_fails_before_leaves_the_service_untouched() {
    let lab = shop("");
    let first = lab.lab("deploy -C shop").json(0);
    change(&lab, "bitter");
    for (entry, said) in [
        ("{ name: migrate, task: { command: [exit, \"3\"] } }", "`before` failed: migrate: the task "),
        ("{ name: migrate, task: { command: [fail, \"9\", \"3\", \"0\"] } }", "last log lines of `web`:\\n    run 1"),
        ("{ name: migrate, task: { command: [sleep], timeout: 1s } }", "unknown key `timeout`"),
        ("{ name: migrate, timeout: 1s, task: { command: [sleep] } }", "did not end within 1s; it was stopped"),
        ("{ name: check, run: \"echo broken; exit 4\" }", "`before` failed: check: it ended with exit status: 4"),
        ("{ name: check, timeout: 1s, run: \"sleep 60\" }", "it did not end within 1s, and was killed"),
        ("{ task: { container: wbe } }", "the task definition has no container `wbe`"),
        ("{ task: { memory: 999999 } }", "RESOURCE:MEMORY"),
        ("{ task: {}, run: x }", "is both a `task` and a `run`"),
        ("{ name: nothing }", "`services.web.before.task` is missing"),
    ] {
        project(&lab, &format!("    before: [{entry}, {{ run: \"touch never\" }}]"));
        let run = lab.lab("deploy -C shop");
        let bad_input =
            ["unknown key", "both a `task`", "is missing", "no container"].iter().any(|of| said.contains(of));
        let failed = run.json(if bad_input { 2 } else { 4 });
        assert!(failed.to_string().contains(&said.replace('"', "\\\"")), "{entry}: {failed}");
        if !bad_input {
            assert_eq!(failed["status"], "beforeFailed");
            assert!(failed["error"]["message"].as_str().unwrap().ends_with("; the service is untouched"), "{failed}");
        }
        let service = lab.service("web");
        assert_eq!(service["deployments"].as_array().unwrap().len(), 1);
        assert_eq!((&service["taskDefinition"], lab.path("shop/never").exists()), (&first["taskDefinition"], false));
    }
    // The same release again, once it is mended: an old failure is not taken for a new one.
    project(&lab, "    before: [{ name: migrate, task: { command: [exists, /mended] } }]");
    lab.lab("deploy -C shop").json(4);
    let before = tasks(&lab).len();
    lab.lab("deploy -C shop").json(4);
    assert_eq!(tasks(&lab).len(), before + 1);
    project(&lab, "    before: [{ name: migrate, task: { command: [exists, /tool] } }]");
    let mended = lab.lab("deploy -C shop").json(0);
    assert!(mended["taskDefinition"].as_str().unwrap().ends_with("web:2"), "{mended}");
}

#[test]
fn what_fails_after_rolls_back_stops_or_warns() {
    let lab = shop("");
    project(&lab, "    after: [{ name: smoke, task: { command: [exit, \"1\"] } }]");
    // Nothing to go back to.
    let first = lab.lab("deploy -C shop").json(6);
    assert!(first["error"]["message"].as_str().unwrap().contains("there is no good release before web:1"), "{first}");
    project(&lab, "");
    lab.lab("deploy -C shop").json(0);

    change(&lab, "bitter");
    project(&lab, "    after: [{ name: smoke, task: { command: [exit, \"1\"] } }]");
    let run = lab.lab("deploy -C shop");
    let failed = run.json(5);
    let message = failed["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("`after` failed: smoke: the task "), "{message}");
    assert!(message.ends_with("exited with code 1; the previous release web:1 is back and steady"), "{message}");
    assert!(lab.service("web")["taskDefinition"].as_str().unwrap().ends_with("web:1"));

    change(&lab, "sour");
    project(&lab, "    after: [{ name: notify, run: \"exit 1\", on_failure: stop }]");
    let failed = lab.lab("deploy -C shop").json(6);
    assert!(failed["error"]["message"].as_str().unwrap().contains("web:3 is steady, and stays as it is"), "{failed}");
    assert!(lab.service("web")["taskDefinition"].as_str().unwrap().ends_with("web:3"));

    // The service's own word goes for what runs after it, too.
    let rollout = "    after: [{ run: \"false\" }]\n    rollout: { timeout: 60s, on_failure: stop }";
    lab.write("shop/steady.yaml", &{
        project(&lab, rollout);
        std::fs::read_to_string(lab.path("shop/steady.yaml")).unwrap().replacen(
            "    rollout: { timeout: 60s }\n",
            "",
            1,
        )
    });
    let failed = lab.lab("deploy -C shop").json(6);
    assert!(failed["error"]["message"].as_str().unwrap().contains("(`on_failure: stop`)"), "{failed}");

    project(&lab, "    after: [{ name: notify, run: \"exit 1\", on_failure: warn }, { run: \"touch next\" }]");
    let warned = lab.lab("deploy -C shop");
    let outcome = warned.json(0);
    assert_eq!(outcome["after"][0]["failure"], "`after` failed: notify: it ended with exit status: 1");
    assert!(warned.stderr.contains("stays (`on_failure: warn`)") && lab.path("shop/next").exists(), "{warned:?}");
    // What is not new is not rolled back.
    project(&lab, "    after: [{ run: \"exit 1\" }]");
    let failed = lab.lab("deploy -C shop").json(6);
    assert!(failed["error"]["message"].as_str().unwrap().contains("there is nothing to roll back"), "{failed}");
}
