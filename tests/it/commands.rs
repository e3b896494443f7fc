//! The command line, as the real binary in a cleared environment.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use steadystate::commands::{TEMPLATES, hand_over, login_arguments};
use steadystate::config::{self, Options, Plan};
use steadystate::deploy::event::Events;
use steadystate::deploy::login::Login;
use steadystate::document::{self, ImageForContainer, TaskDefinitionOptions};
use steadystate::error::Kind;

fn steady(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_steady"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(crate::replies::counted())
        .env("HOME", folder)
        .env("STEADY_LAB_DIR", folder.join("lab"))
        .env("LANG", "C.UTF-8")
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const IMAGE: &str = "123456789012.dkr.ecr.us-west-2.amazonaws.com/web-7@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What would be registered for a plan.
fn registered(plan: &Plan) -> Value {
    let image = IMAGE;
    let context = json!({
        "service": plan.service, "image": image, "account_id": "123456789012", "region": "us-west-2", "var": plan.variables, "release": "r1",
    });
    let template = &plan.task_definition;
    let rendered = match template.name.ends_with(".hbs") {
        true => document::template::render(template, &context).unwrap_or_else(|error| panic!("{error:?}")),
        false => template.clone(),
    };
    let container = plan.image.as_ref().unwrap().container.as_deref();
    let image =
        (!document::template::references_image(template)).then_some(ImageForContainer { container, uri: image });
    let options = TaskDefinitionOptions { allow_unknown_fields: false, default_family: &plan.service, image };
    let checked = document::task_definition(&rendered, options).unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(checked.warnings, Vec::<String>::new());
    checked.value
}

#[test]
fn every_template_of_init_is_a_project_that_can_be_read_back() {
    for template in &TEMPLATES {
        let folder = tempfile::tempdir().unwrap();
        let made =
            steady(folder.path(), &["init", "--template", template.name, "--name", "web-7", "-C", "sub", "-o", "json"]);
        assert_eq!(code(&made), 0, "{}", stderr(&made));
        let made: Value = serde_json::from_str(&stdout(&made)).unwrap();
        assert_eq!(made["name"], "web-7");
        assert_eq!(made["files"].as_array().unwrap().len(), template.files.len());
        for environment in [None, Some("production".to_owned())] {
            if environment.is_some() && template.name == "dockerrun" {
                continue;
            }
            let directory = folder.path().join("sub");
            let options = Options { directory: directory.clone(), environment, ..Options::default() };
            let plan = config::load(&options).unwrap_or_else(|error| panic!("{}: {error:?}", template.name)).plan;
            assert_eq!(plan.service, "web-7");
            let port = plan.load_balancer.as_ref().and_then(|balancer| balancer.container_port);
            assert_eq!(plan.load_balancer.as_ref().unwrap().container.as_deref(), Some("web-7"));
            let registered = registered(&plan);
            let container = &registered["containerDefinitions"][0];
            assert_eq!((&container["name"], &container["image"]), (&"web-7".into(), &IMAGE.into()));
            assert_eq!(container["portMappings"][0]["containerPort"], port.unwrap());
            for (file, _) in template.files {
                let text = std::fs::read_to_string(directory.join(file)).unwrap();
                assert!(!text.contains("my-service"), "{}/{file} keeps its placeholder", template.name);
            }
        }
    }
}

#[test]
fn init_writes_over_nothing_and_takes_its_name_from_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("9 My_Shop!");
    std::fs::create_dir(&project).unwrap();
    std::fs::write(project.join("task-definition.json.hbs"), "mine").unwrap();
    let refused = steady(&project, &["init"]);
    assert_eq!(code(&refused), 2);
    insta::assert_snapshot!(stderr(&refused), @r#"
    × task-definition.json.hbs is there already
    help: `steady init` writes over nothing: move it away, or choose another folder with -C
    "#);
    assert!(!project.join("steady.yaml").exists(), "nothing of it is written");
    assert_eq!(std::fs::read_to_string(project.join("task-definition.json.hbs")).unwrap(), "mine");

    let made = steady(&project, &["init", "--template", "dockerrun"]);
    assert_eq!(code(&made), 0);
    insta::assert_snapshot!(stdout(&made) + "--\n" + &stderr(&made), @r#"
      template  dockerrun
      name      my-shop
      files     steady.yaml, Dockerrun.aws.json, Dockerfile, public/index.html
    --
    `steady deploy --lab` rehearses it on this machine; docker builds its Dockerfile
    "#);
    assert_eq!(code(&steady(&project, &["init", "--template", "dockerrun"])), 2);
    let bad = steady(&project, &["init", "--name", "Web_Shop", "-C", "new"]);
    assert_eq!((code(&bad), stderr(&bad).contains("web-shop")), (2, true), "{}", stderr(&bad));
    assert!(!project.join("new").exists());
}

#[test]
fn progress_is_json_lines_or_nothing_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let json = steady(folder.path(), &["init", "-C", "a", "--name", "web", "--progress", "json"]);
    let event: Value = serde_json::from_str(&stderr(&json)).unwrap();
    assert_eq!((&event["event"], event["message"].is_string()), (&"notice".into(), true));
    let none = steady(folder.path(), &["init", "-C", "b", "--name", "web", "--progress", "none"]);
    assert_eq!((code(&none), stderr(&none).as_str()), (0, ""));
}

#[test]
fn bad_input_ends_with_2_before_anything_is_called_and_stdout_is_for_results() {
    let folder = tempfile::tempdir().unwrap();
    let none = steady(folder.path(), &["deploy"]);
    assert_eq!((code(&none), stdout(&none).as_str()), (2, ""));
    assert!(stderr(&none).contains("`steady init` writes a first one"), "{}", stderr(&none));

    std::fs::write(folder.path().join("steady.yaml"), "services:\n  a: { task_definitoin: x.json }\n").unwrap();
    let bad = steady(folder.path(), &["deploy"]);
    assert_eq!((code(&bad), stdout(&bad).as_str()), (2, ""));
    insta::assert_snapshot!(stderr(&bad), @r#"
     × unknown key `task_definitoin` in `services.a`
      ╭─[steady.yaml:2:8]
    1 │ services:
    2 │   a: { task_definitoin: x.json }
      ·        ───────┬───────
      ·               ╰── not known here
      ╰────
     help: did you mean `task_definition`?
    "#);

    let bad = steady(folder.path(), &["status", "--output", "json", "--progress", "json"]);
    let result: Value = serde_json::from_str(&stdout(&bad)).unwrap();
    assert_eq!((&result["status"], &result["error"]["line"]), (&"input".into(), &2.into()));
    assert_eq!(result["error"]["file"], "steady.yaml");
    assert_eq!(result["error"]["hints"][0], "did you mean `task_definition`?");
    let event: Value = serde_json::from_str(&stderr(&bad)).unwrap();
    assert_eq!(event["event"], "failed");
}

#[test]
fn arguments_that_cannot_be_meant_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(code(&steady(folder.path(), &["init", "--template", "ec2", "--name", "web"])), 0);
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    for (arguments, said) in [
        (&["deploi"][..], "deploy"),
        (&["deploy", "--timeout", "soon"], "--timeout"),
        (&["deploy", "--desired-count", "-1"], "--desired-count"),
        (&["deploy", "--check-url", "healthz"], "did you mean --check-url /healthz?"),
        (&["deploy", "--check-url", "https://me:secret@example.com/"], "--check-url is no URL to GET"),
        (&["deploy", "--check-url", "ftp://example.com/"], "--check-url is no URL to GET"),
        (&["deploy", "--var", "X"], "--var X: there is no `=`"),
        (&["deploy", "--service", "wbe"], "did you mean `web`?"),
        (&["deploy", "--environment", "prod"], "there is production"),
        (&["deploy", "--lab", "--profile", "mine"], "exclude each other"),
        (&["delete"], "say --yes to do it"),
        (&["delete", "-C", "empty"], "there is no steady.yaml"),
        (&["render", "--digest", "sha256:0"], "64 lower-case"),
        (&["revisions", "--limit", "0"], "--limit"),
        (&["delete", "--created"], "and what steady created"),
        (&["delete", "--created", "--images"], "with all images of its repository"),
        (&["delete", "--images", "--yes"], "--created"),
        (&["wait", "--timeout", "8days"], "longer than 7 days"),
        (&["status", "--output", "yaml"], "json"),
        (&["lab", "start", "--pace", "slow"], "`fast` or `aws`"),
        (&["lab", "start", "--runtime", "docke"], "docke"),
        (&["login", "--password-stdout", "--client", "podman"], "cannot be used with"),
        (&["login", "--install", "--uninstall"], "cannot be used with"),
        (&["login", "--bin-dir", "/tmp"], "--install"),
    ] {
        let output = steady(folder.path(), arguments);
        assert_eq!((code(&output), stdout(&output).as_str()), (2, ""), "{arguments:?}");
        assert!(stderr(&output).contains(said), "{arguments:?} says {}", stderr(&output));
    }
}

#[test]
fn a_command_line_that_is_not_understood_is_json_too_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, message, hint) in [
        (&["deploi", "--output", "json"][..], "unrecognized subcommand 'deploi'", "did you mean `deploy`?"),
        (&["-ojson"], "a command is missing", "`steady --help` lists them"),
        (&["deploy", "--dryrun", "-o", "json"], "unexpected argument '--dryrun' found", "did you mean `--dry-run`?"),
        (
            &["wait", "--timeout", "soon", "--output=json"],
            "invalid value 'soon' for '--timeout <15m>': `soon` is no number with a unit, such as 90s, 15m or 1h 30m",
            "`--help` after the command shows what it takes",
        ),
    ] {
        let output = steady(folder.path(), arguments);
        assert_eq!(code(&output), 2);
        let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
        let error = json!({ "kind": "input", "exitCode": 2, "message": message, "hints": [hint] });
        assert_eq!(result, json!({ "status": "input", "error": error }), "{arguments:?}");
        assert!(!stderr(&output).is_empty());
    }
}

#[test]
fn help_version_and_completions_go_to_stdout() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, said) in [
        (&["--help"][..], "Exit codes:"),
        (&["deploy", "--help"], "--dry-run"),
        (&["--version"], env!("CARGO_PKG_VERSION")),
        (&["completions", "bash"], "complete -F _steady"),
        (&["completions", "fish"], "complete -c steady"),
    ] {
        let output = steady(folder.path(), arguments);
        assert_eq!((code(&output), stderr(&output).as_str()), (0, ""), "{arguments:?}");
        assert!(stdout(&output).contains(said), "{arguments:?} says {}", stdout(&output));
    }
    let help = stdout(&steady(folder.path(), &["--help"]));
    for verb in [
        "init",
        "deploy",
        "build",
        "push",
        "login",
        "render",
        "register",
        "status",
        "wait",
        "continue",
        "rollback",
        "run",
        "revisions",
        "delete",
        "lab",
        "completions",
    ] {
        assert!(help.lines().any(|line| line.trim_start().starts_with(&format!("{verb} "))), "{verb} is in {help}");
    }
}

#[test]
fn the_password_is_no_argument_and_the_registry_is_a_host() {
    for (registry, host) in [
        ("https://123456789012.dkr.ecr.us-west-2.amazonaws.com", "123456789012.dkr.ecr.us-west-2.amazonaws.com"),
        ("https://127.0.0.1:5000/", "127.0.0.1:5000"),
        ("localhost:5000", "localhost:5000"),
    ] {
        for client in ["docker", "podman", "/usr/bin/buildah", "skopeo", "nerdctl"] {
            let expected = ["login", "--username", "AWS", "--password-stdin", host];
            assert_eq!(login_arguments(client, "AWS", registry), expected, "{client}");
        }
        let helm = ["registry", "login", "--username", "AWS", "--password-stdin", host];
        assert_eq!(login_arguments("/opt/helm", "AWS", registry), helm);
    }
    // This machine's registries speak http, which not all clients take by themselves.
    for (client, flag) in [("podman", "--tls-verify=false"), ("skopeo", "--tls-verify=false"), ("helm", "--plain-http")]
    {
        assert!(login_arguments(client, "AWS", "http://127.0.0.1:5000").contains(&flag.to_owned()), "{client}");
        assert!(!login_arguments(client, "AWS", "https://registry.example").contains(&flag.to_owned()), "{client}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_login_hands_the_password_over_on_stdin_only() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let client = folder.path().join("client");
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\necho \"$@\" > arguments\nenv > environment\ncat > stdin\n[ \"$2$3\" = --usernameAWS ] || { echo no >&2; exit 1; }\n";
    std::fs::write(&client, script).unwrap();
    std::fs::set_permissions(&client, std::fs::Permissions::from_mode(0o755)).unwrap();
    let login = |username: &str| Login {
        registry: "https://registry.example".into(),
        username: username.into(),
        password: "hunter2".to_owned().into(),
        expires_at: 0,
    };
    let (events, _receiver) = Events::channel();
    hand_over(client.to_str().unwrap(), &login("AWS"), &events).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("arguments"), "login --username AWS --password-stdin registry.example\n");
    assert_eq!(read("stdin"), "hunter2");
    assert!(!read("environment").contains("hunter2"));

    let refused = hand_over(client.to_str().unwrap(), &login("other"), &events).await.unwrap_err();
    assert!(refused.to_string().ends_with("login failed: no"), "{refused}");
    let missing = hand_over("no-such-client-here", &login("AWS"), &events).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::BuildOrPush);
    assert!(!format!("{missing:?}{:?}", login("AWS")).contains("hunter2"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_signal_ends_a_deploy_with_128_and_its_number_and_says_how_to_go_on() {
    use std::io::Read;
    use std::process::Stdio;

    for (signal, number) in [(nix::sys::signal::SIGINT, 130), (nix::sys::signal::SIGTERM, 143)] {
        let folder = tempfile::tempdir().unwrap();
        // takes a request and never answers
        let endpoint = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", endpoint.local_addr().unwrap());
        let yaml =
            format!("region: us-west-2\nendpoint_url: {url}\nservices: {{ web: {{ task_definition: td.json }} }}\n");
        std::fs::write(folder.path().join("steady.yaml"), yaml).unwrap();
        let task_definition =
            r#"{ "family": "web", "containerDefinitions": [{ "name": "web", "image": "nginx", "memory": 64 }] }"#;
        std::fs::write(folder.path().join("td.json"), task_definition).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_steady"))
            .args(["deploy", "--output", "json"])
            .current_dir(folder.path())
            .env_clear()
            .envs(crate::replies::counted())
            .env("HOME", folder.path())
            .env("AWS_ACCESS_KEY_ID", "nobody")
            .env("AWS_SECRET_ACCESS_KEY", "nothing")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut asked, _) = endpoint.accept().unwrap();
        assert!(asked.read(&mut [0; 64]).unwrap() > 0);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), signal).unwrap();
        let ended = std::time::Instant::now();
        let status = child.wait().unwrap();
        assert!(ended.elapsed() < std::time::Duration::from_secs(5), "{:?}", ended.elapsed());
        assert_eq!(status.code(), Some(number));
        let (mut stdout, mut stderr) = (String::new(), String::new());
        child.stdout.unwrap().read_to_string(&mut stdout).unwrap();
        child.stderr.unwrap().read_to_string(&mut stderr).unwrap();
        let result: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!((&result["status"], &result["error"]["exitCode"]), (&"interrupted".into(), &number.into()));
        assert!(stderr.contains("the service is untouched"), "{stderr}");
    }
}
