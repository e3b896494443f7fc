//! One-off tasks: `steady run`, and what runs before and after a release.

mod around;
mod interrupted;
mod refused;
mod requests;
mod run;

use serde_json::{Value, json};

use crate::rehearsal::Rehearsal;
use crate::scenario;

/// A lab, and a project `shop` of one service `web`, which runs the test program. `more` are members of the service.
pub fn shop(more: &str) -> Rehearsal {
    let lab = Rehearsal::start();
    scenario::program(&lab, "shop/tool");
    project(&lab, more);
    let logs = json!({
        "awslogs-create-group": "true", "awslogs-group": "/it/web", "awslogs-region": "us-east-1",
        "awslogs-stream-prefix": "web",
    });
    let container = json!({
        "name": "web", "image": "{{image}}", "memory": 16, "command": ["sleep"],
        "environment": [{ "name": "FLAVOUR", "value": "plain" }],
        "logConfiguration": { "logDriver": "awslogs", "options": logs },
    });
    let task_definition = json!({ "networkMode": "bridge", "containerDefinitions": [container] });
    lab.write("shop/task-definition.json.hbs", &task_definition.to_string());
    lab
}

/// Writes the project file anew; `more` are members of the service.
pub fn project(lab: &Rehearsal, more: &str) {
    let text = format!(
        r#"
services:
  web:
    image:
      repository: web
      create: true
      tags: [latest]
      build: {{ layers: [{{ from: tool, to: /tool, mode: "0755" }}], entrypoint: [/tool] }}
    task_definition: task-definition.json.hbs
    desired_count: 1
    launch_type: EC2
    rollout: {{ timeout: 60s }}
{more}
"#
    );
    lab.write("shop/steady.yaml", &text);
}

/// All tasks of the cluster that no service started, as ECS describes them.
pub fn tasks(lab: &Rehearsal) -> Vec<Value> {
    let mut found = Vec::new();
    for status in ["RUNNING", "STOPPED"] {
        let listed = lab.call("ecs.ListTasks", json!({ "cluster": "default", "desiredStatus": status }));
        if listed["taskArns"].as_array().unwrap().is_empty() {
            continue;
        }
        let described = lab.call("ecs.DescribeTasks", json!({ "cluster": "default", "tasks": listed["taskArns"] }));
        found.extend(described["tasks"].as_array().unwrap().iter().cloned());
    }
    found.retain(|task| !task["startedBy"].as_str().unwrap_or_default().starts_with("ecs-svc/"));
    found.sort_by(|one, other| one["createdAt"].as_f64().unwrap().total_cmp(&other["createdAt"].as_f64().unwrap()));
    found
}
