//! The samples, verbatim: they work with only the image replaced.

use serde_json::{Value, json};

use super::program;
use super::recorder::{Recorder, only};
use crate::rehearsal::Rehearsal;

/// A sample, and its own words for what steady replaces.
fn deploy(sample: &str, service: &str, command: &str) -> (Value, Value, Value) {
    let lab = Rehearsal::start();
    lab.copy(&format!("tests/fixtures/documents/{sample}"), &format!("project/{sample}"));
    program(&lab, "project/program");
    lab.write(
        "project/steady.yaml",
        &format!(
            "services:\n  {service}:\n    image:\n      repository: sample\n      create: true\n      build:\n        \
             layers: [{{ from: program, to: /tool }}]\n        entrypoint: [/tool]\n        command: {command}\n    \
             task_definition: {sample}\n    launch_type: EC2\n"
        ),
    );
    let recorder = Recorder::start(&lab.host);
    let outcome = recorder.steady(&lab, "deploy -C project").json(0);
    let sent = only(&recorder.taken(), "RegisterTaskDefinition").clone();
    let sample: Value =
        serde_json::from_str(&std::fs::read_to_string(lab.path("project").join(sample)).unwrap()).unwrap();
    (sample, sent, outcome)
}

/// The sample as it is to arrive: without its nulls, with the image.
fn expected(mut sample: Value, image: &Value) -> Value {
    let container = sample["containerDefinitions"][0].as_object_mut().unwrap();
    container.retain(|_, value| !value.is_null());
    container["image"] = image.clone();
    sample
}

#[test]
fn the_ecs_demo_sample_works_with_only_its_image_replaced() {
    let (sample, mut sent, outcome) = deploy("ecs-demo.json", "ecs-demo", "[serve, \"0.0.0.0:80\", hi]");
    assert_eq!(sample["containerDefinitions"][0]["image"], "YOUR-REPOSITORY-URI:latest", "it is the sample as it was");
    sent.as_object_mut().unwrap().remove("tags");
    assert_eq!(sent, expected(sample, &outcome["image"]));
    assert_eq!(outcome["status"], "steady");
}

#[test]
fn the_layer0_sample_works_with_only_its_image_replaced() {
    let (sample, mut sent, outcome) = deploy("timeout.dockerrun.aws.json", "timeout", "[sleep]");
    assert_eq!(sent.as_object_mut().unwrap().remove("family"), Some(json!("timeout")), "it has none of its own");
    sent.as_object_mut().unwrap().remove("tags");
    assert_eq!(sent, expected(sample, &outcome["image"]));
    assert_eq!(outcome["runningCount"], 1);
}
