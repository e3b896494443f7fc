//! The lab: whom it answers, where it listens, and that a rehearsal reaches nobody else (51 to 54).

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use steadystate::lab::lifecycle::{self, Options};
use tokio::net::TcpListener;

use crate::lab_front::{TestLab, options};
use crate::ports::free_port;
use crate::rehearsal::{Rehearsal, Run, command};
use crate::scenario;

#[tokio::test]
async fn case_52_only_loopback_names_and_own_pages_are_answered() {
    let lab = TestLab::start().await;
    let port = lab.host.rsplit(':').next().unwrap().to_owned();
    let [own, named, other] = ["127.0.0.1", "localhost", "evil.example"].map(|host| format!("{host}:{port}"));
    let page = format!("http://{own}");
    let no_port = "http://127.0.0.1";
    let table: [(&[(&str, &str)], bool); 13] = [
        (&[], true),
        (&[("host", &own)], true),
        (&[("host", &named)], true),
        (&[("host", &other)], false),
        (&[("host", "127.0.0.1:1")], false),
        (&[("host", &own), ("host", &other)], false),
        (&[("host", &other), ("host", &own)], false),
        (&[("host", &own), ("origin", &page)], true),
        (&[("origin", &page), ("origin", "http://evil.example")], false),
        (&[("host", &own), ("host", &named)], true),
        (&[("origin", "https://evil.example")], false),
        (&[("origin", "null")], false),
        (&[("origin", no_port)], false),
    ];
    for (headers, answered) in table {
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"];
        let paths = ["/", "/v2/", "/v2/a/blobs/uploads/", "/_lab/status", "/_lab/faults", "/x"];
        for (method, path) in methods.iter().flat_map(|method| paths.map(|path| (*method, path))) {
            let answer = lab.send(method, path, headers, "").await;
            let refused = answer.status == 403 && answer.text().starts_with("the lab");
            assert_eq!(!refused, answered, "{method} {path} {headers:?}: {} {}", answer.status, answer.text());
        }
    }
    lab.end().await;
}

#[tokio::test]
async fn case_52_control_needs_the_token_of_this_run() {
    let lab = TestLab::start().await;
    for (method, path) in [
        ("GET", "/_lab/status"),
        ("POST", "/_lab/stop"),
        ("POST", "/_lab/reset"),
        ("GET", "/_lab/faults"),
        ("POST", "/_lab/faults"),
        ("DELETE", "/_lab/faults"),
        ("DELETE", "/_lab/faults/1"),
    ] {
        for headers in [&[][..], &[("x-steady-lab-token", "")], &[("x-steady-lab-token", "0123")]] {
            assert_eq!(lab.send(method, path, headers, "").await.status, 403, "{method} {path} {headers:?}");
        }
    }
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(lab.folder.path().join("lab.json")).unwrap()).unwrap();
    let token = [("x-steady-lab-token", record["token"].as_str().unwrap())];
    let status = lab.send("GET", "/_lab/status", &token, "").await.json();
    assert_eq!(status["url"], record["url"]);
    assert_eq!(status["failed"], json!([]));
    assert_eq!(lab.send("GET", "/_lab/stop", &token, "").await.status, 404, "a GET changes nothing");
    for (method, path, body, status) in [
        ("POST", "/_lab/faults", "{", 400),
        ("POST", "/_lab/faults", r#"{"on":"ecs:*","kind":"panic"}"#, 400),
        ("POST", "/_lab/faults", r#"{"on":"ecs:Nonsense","kind":"stall"}"#, 400),
        ("POST", "/_lab/faults", r#"{"on":"ecs:*","kind":"stall","more":1}"#, 400),
        ("POST", "/_lab/faults", r#"{"on":"ecs:*","kind":"throttle"}"#, 200),
        ("GET", "/_lab/faults", "", 200),
        ("DELETE", "/_lab/faults/2", "", 404),
        ("DELETE", "/_lab/faults/1", "", 200),
        ("DELETE", "/_lab/faults/x", "", 404),
        ("PUT", "/_lab/faults", "", 404),
        ("GET", "/_lab/faultsy", "", 404),
    ] {
        let answer = lab.send(method, path, &token, body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}: {}", answer.text());
    }
    assert_eq!(lab.send("POST", "/_lab/nonsense", &token, "").await.status, 404);
    assert_eq!(lab.send("POST", "/_lab/stop", &token, "").await.status, 200);
    lab.ended().await;
}

#[tokio::test]
async fn case_51_a_bind_beyond_loopback_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let error = lifecycle::serve_on(listener, options(folder.path()), std::future::pending()).await.unwrap_err();
    assert!(error.to_string().contains("loopback only"), "{error}");
    assert!(!folder.path().join("lab.json").exists());
}

#[tokio::test]
async fn case_53_a_port_that_is_taken_is_an_error_and_no_drift() {
    let folder = tempfile::tempdir().unwrap();
    let port = free_port();
    let taken = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let options = Options { port: Some(port), executable: Some("/nonexistent".into()), ..options(folder.path()) };
    for error in [
        lifecycle::start(&options).await.unwrap_err(),
        lifecycle::serve(options.clone(), std::future::pending()).await.unwrap_err(),
    ] {
        assert_eq!(error.to_string(), format!("port {port} of 127.0.0.1 is taken by another process"));
        assert!(error.hints()[0].contains("--port"), "{:?}", error.hints());
    }
    drop(taken);
    let error = lifecycle::start(&options).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent"), "{error}");
}

/// Credentials, a profile and endpoints of AWS's in every form that they have, all of which lead to a server that counts who
/// connects: a rehearsal reads and asks none of them, and nor does what it starts.
#[test]
fn case_54_a_rehearsal_uses_dummies_and_reaches_nobody() {
    let lab = Rehearsal::start();
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let elsewhere = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    std::thread::spawn(move || {
        listener.incoming().for_each(|_| {
            counts.fetch_add(1, Ordering::SeqCst);
        })
    });
    scenario::program(&lab, "shop/tool");
    lab.write(
        "shop/steady.yaml",
        r#"
services:
  web:
    image:
      repository: web
      create: true
      build: { layers: [{ from: tool, to: /tool, mode: "0755" }], entrypoint: [/tool] }
    task_definition: td.json.hbs
    desired_count: 1
    launch_type: EC2
    before: [{ run: "env > before.env" }]
"#,
    );
    let container = r#"{ "name": "web", "image": "{{image}}", "memory": 16, "command": ["sleep"] }"#;
    lab.write("shop/td.json.hbs", &format!(r#"{{ "networkMode": "bridge", "containerDefinitions": [{container}] }}"#));
    let profile = format!(
        "[default]\nregion = eu-central-1\nendpoint_url = {elsewhere}\n[profile real]\nregion = eu-central-1\n\
         endpoint_url = {elsewhere}\n"
    );
    lab.write(".aws/config", &profile);
    let keys = "aws_access_key_id = AKIAREALREALREAL\naws_secret_access_key = real-s3cret\n";
    lab.write(".aws/credentials", &format!("[default]\n{keys}[real]\n{keys}"));
    let services = ["ECS", "ECR", "STS", "EC2", "CLOUDWATCH_LOGS", "ELASTIC_LOAD_BALANCING_V2", "SERVICEDISCOVERY"];
    let steady = |line: &str| {
        let mut command = command(&lab.path(""));
        command.args(line.split_whitespace()).env_remove("AWS_EC2_METADATA_DISABLED");
        command.env("AWS_ACCESS_KEY_ID", "AKIAREALREALREAL").env("AWS_SECRET_ACCESS_KEY", "real-s3cret");
        command.env("AWS_SESSION_TOKEN", "real-t0ken").env("AWS_PROFILE", "real").env("AWS_REGION", "eu-central-1");
        command.env("AWS_ENDPOINT_URL", &elsewhere).env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &elsewhere);
        command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &elsewhere);
        for service in services {
            command.env(format!("AWS_ENDPOINT_URL_{service}"), &elsewhere);
        }
        Run::new(&command.output().unwrap())
    };
    let deployed = steady("deploy -C shop --lab -o json").json(0);
    assert!(
        deployed["taskDefinition"].as_str().unwrap().starts_with("arn:aws:ecs:us-east-1:111122223333:"),
        "{deployed}"
    );
    for line in ["status", "wait", "revisions", "login --password-stdout", "repo list", "run --register --detach"] {
        let run = steady(&format!("{line} -C shop --lab"));
        assert_eq!(run.code, 0, "{line}: {run:?}");
    }
    let env = std::fs::read_to_string(lab.path("shop/before.env")).unwrap();
    let of_aws: Vec<&str> = env.lines().filter(|line| line.starts_with("AWS_")).collect();
    assert!(of_aws.contains(&&*format!("AWS_ENDPOINT_URL=http://{}", lab.host)), "{of_aws:?}");
    let real = ["AKIA", "real", &elsewhere, "eu-central-1"];
    let led_away = |line: &&&str| !line.contains("METADATA_SERVICE") && !line.contains("FULL_URI");
    for line in of_aws.iter().filter(led_away) {
        assert!(!real.iter().any(|real| line.contains(real)), "{line}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "the lab alone was asked");
    assert!(
        !everything_under(&lab.path("lab"))
            .iter()
            .any(|text| text.contains("real-s3cret") || text.contains("AKIAREAL"))
    );
}

/// As far as this user may read it: what containers keep to themselves is their own.
fn everything_under(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default()).into_owned()).collect()
}
