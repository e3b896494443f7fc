//! What the screen says when a deploy fails: a person who sees only the last 15 lines knows what to do next.

use serde_json::{Value, json};

use super::{Bench, Run};

/// So much is left of a terminal, or of a CI job's log, when somebody looks at it.
const LAST: usize = 15;

/// The error as it was shown, which is all of the last lines.
fn error(run: &Run, code: i32) -> String {
    assert_eq!(run.code, code, "{}\n{}", run.stdout, run.stderr);
    let lines: Vec<&str> = run.stderr.lines().collect();
    let begins = lines.iter().rposition(|line| line.starts_with("  x ") || line.starts_with("  × "));
    let begins = begins.unwrap_or_else(|| panic!("no error in {}", run.stderr));
    let shown = &lines[begins..];
    assert!(shown.len() <= LAST, "{} lines: {}", shown.len(), shown.join("\n"));
    shown.join("\n")
}

impl Bench {
    /// A release that somebody else deploys: revision of the running one's definition with these changes.
    async fn somebody_deploys(&self, change: impl FnOnce(&mut Value)) {
        let clients = self.clients().await;
        let asked = json!({ "taskDefinition": "web:2" });
        let definition = clients.describe_task_definition(asked).await.unwrap()["taskDefinition"].take();
        let mut input = json!({ "family": "web", "containerDefinitions": definition["containerDefinitions"] });
        change(&mut input);
        let registered = clients.register_task_definition(input).await.unwrap();
        let arn = &registered["taskDefinition"]["taskDefinitionArn"];
        clients.update_service(json!({ "service": "web", "taskDefinition": arn })).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_lines_of_ten_failures_say_what_to_do() {
    let bench = Bench::start().await;
    // what ECS's own circuit breaker would make of it is not what this is about
    let breaker =
        json!({ "deploymentConfiguration": { "deploymentCircuitBreaker": { "enable": false, "rollback": false } } });
    bench.write("service.json", &breaker.to_string());
    bench.configure("timeout: 60s, fail_fast: 2", "");
    let mut said: Vec<(&str, String)> = Vec::new();
    let fails = async |how: &str| bench.steady(&["deploy", "--var", &format!("fail={how}")]).await;

    said.push(("a first release that crashes", error(&fails("start").await, 6)));
    bench.deploy().await;
    for (what, how) in [
        ("a crash on start", "start"),
        ("a program that ends by itself", "0"),
        ("a program that is killed", "137"),
        ("a port that is taken", "port"),
        ("a health check of a path that is not there", "missing"),
    ] {
        bench.page(what);
        said.push((what, error(&fails(how).await, 5)));
    }

    let project = std::fs::read_to_string(bench.project().join("steady.yaml")).unwrap();
    let page = project.replace("{ from: page, to: /page }", "{ from: page, to: /page, mode: \"0755\" }");
    bench.write("steady.yaml", &page.replace("entrypoint: [/web]", "entrypoint: [/page]"));
    bench.page("no program of this machine's");
    said.push(("an image for another machine", error(&fails("").await, 5)));
    bench.write("steady.yaml", &project);

    bench.fault(json!({ "on": "scheduler:PlaceTask", "kind": "fail-placement" })).await;
    bench.page("nowhere");
    said.push(("no capacity", error(&bench.steady(&["deploy", "--timeout", "2s"]).await, 5)));
    bench.clear().await;

    let gone = format!("127.0.0.1:{}/web:gone", bench.port);
    bench.somebody_deploys(|revision| revision["containerDefinitions"][0]["image"] = gone.into()).await;
    said.push(("an image that is gone", error(&bench.steady(&["wait"]).await, 6)));
    bench.good(&["rollback"]).await;
    bench
        .somebody_deploys(|revision| {
            revision["executionRoleArn"] = "arn:aws:iam::111122223333:role/execution".into();
            revision["containerDefinitions"][0]["secrets"] = json!([{ "name": "KEY", "valueFrom": "/none" }]);
        })
        .await;
    said.push(("a secret that is missing", error(&bench.steady(&["wait"]).await, 6)));
    bench.good(&["rollback"]).await;
    bench.end().await;

    let shown: Vec<String> = said.iter().map(|(what, text)| format!("## {what}\n\n{text}\n")).collect();
    let mut settings = insta::Settings::clone_current();
    for (from, to) in [
        (r"\b[0-9a-f]{32}\b", "[task]"),
        (r"\bi-[0-9a-f]+:\d+", "[instance]:[port]"),
        (r"\bi-[0-9a-f]+", "[instance]"),
        (r"\b[0-9a-f]{16}\b", "[id]"),
        (r"\b[0-9a-f]{8}\b", "[task]"),
        (r"\b\d+ tasks", "[n] tasks"),
        (r"web:\d+", "web:[n]"),
        (r"127\.0\.0\.1:\d+", "[lab]"),
        (r"sha256:[0-9a-f]+", "[digest]"),
        (r"\bport \d{5}\b", "port [port]"),
    ] {
        settings.add_filter(from, to);
    }
    settings.bind(|| insta::assert_snapshot!("failures", shown.join("\n")));
}
