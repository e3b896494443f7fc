//! Every example, deployed by the real binary: nothing differs, until something is changed.

use serde_json::json;

use crate::ports::free_port;
use crate::rehearsal::Rehearsal;
use crate::scenario::program;

/// A copy of an example in which the test's program stands for what cargo would build.
fn example(lab: &Rehearsal, name: &str) {
    lab.copy(&format!("examples/{name}"), name);
    let file = format!("{name}/steady.yaml");
    let built = "cargo build --release --manifest-path ../hello/Cargo.toml --config ../hello/.cargo/config.toml";
    program(lab, "hello/target/release/hello");
    let port = free_port();
    match name {
        "hello" => lab.replace(
            &file,
            &[
                ("run: cargo build --release", "run: 'true'"),
                ("entrypoint: [/hello]", "entrypoint: [/hello, http, \"0.0.0.0:8080\", /public/index.html]"),
                ("listener: { port: 8080 }", &format!("listener: {{ port: {port} }}")),
            ],
        ),
        "ecs-demo" => lab.replace(
            &file,
            &[
                (built, "'true'"),
                ("entrypoint: [/hello]", "entrypoint: [/hello, http, \"0.0.0.0:80\", /public/index.html]"),
                ("listener: { port: 80 }", &format!("listener: {{ port: {port} }}")),
            ],
        ),
        "layer0" => {
            lab.replace(&file, &[(built, "'true'"), ("entrypoint: [/hello, wait]", "entrypoint: [/hello, sleep]")])
        }
        other => panic!("how is the example {other} made in a test?"),
    }
}

#[test]
fn nothing_differs_after_a_deploy_of_any_example() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| deployed_and_changed(name));
        }
    });
}

fn deployed_and_changed(name: &str) {
    let lab = Rehearsal::start();
    example(&lab, name);
    let first = lab.lab(&format!("diff -C {name} --exit-code")).json(11);
    assert_eq!(first["serviceAction"], "create", "{name}: {first:#}");
    let deployed = lab.lab(&format!("deploy -C {name}")).json(0);
    for line in ["diff", "diff --no-build", "deploy --dry-run"] {
        let same = lab.lab(&format!("{line} -C {name} --exit-code")).json(0);
        assert_eq!((&same["status"], &same["taskDefinition"]), (&json!("unchanged"), &deployed["taskDefinition"]));
        assert_eq!((&same["taskDefinitionChanges"], &same["serviceChanges"]), (&json!([]), &json!([])), "{name}");
    }
    let document = match name {
        "hello" => "task-definition.json.hbs",
        "ecs-demo" => "ecs-demo.json.hbs",
        _ => "timeout.dockerrun.aws.json.hbs",
    };
    let text = std::fs::read_to_string(lab.path(name).join(document)).unwrap();
    let memory =
        text.lines().find(|line| line.contains("\"memory\":")).unwrap().trim().trim_end_matches(',').to_owned();
    lab.replace(&format!("{name}/{document}"), &[(&memory, "\"memory\": 96")]);
    for line in ["diff", "diff --no-build", "deploy --dry-run"] {
        let other = lab.lab(&format!("{line} -C {name} --exit-code")).json(11);
        let changes = other["taskDefinitionChanges"].as_array().unwrap();
        assert!(matches!(&changes[..], [one] if one["path"].as_str().unwrap().ends_with("].memory")), "{other:#}");
        assert_eq!(other["previousTaskDefinition"], deployed["taskDefinition"]);
    }
}
