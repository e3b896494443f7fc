//! A machine that pushes into a registry that is not ECR: the real binary with a home, a project and an engine of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use steadystate::image::digest;
use tokio::process::Command;

use super::{Workshop, unpacked};
use crate::registry::fake::Fake;
use crate::rehearsal::Run;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// A machine with a project and an engine, and the registry that it pushes to.
pub struct Machine<'a> {
    workshop: &'a Workshop,
    fake: &'a Fake,
    pub home: PathBuf,
}

impl<'a> Machine<'a> {
    pub fn new(workshop: &'a Workshop, fake: &'a Fake, name: &str) -> Self {
        let home = workshop.path(name);
        std::fs::create_dir(&home).unwrap();
        let image =
            json!({ "repository": format!("{}/hello", fake.address), "tags": ["v1"], "build": { "image": "-" } });
        let services = json!({ "hello": { "task_definition": "t.json", "image": image } });
        workshop.file("steady.yaml", json!({ "region": "us-west-2", "services": services }).to_string());
        let container = json!({ "name": "hello", "image": "{{image}}", "memory": 64 });
        workshop.file("t.json", json!({ "family": "hello", "containerDefinitions": [container] }).to_string());
        Machine { workshop, fake, home }
    }

    pub fn command(&self, image: &str) -> Command {
        self.telling("none", image)
    }

    /// The same, with this `--progress`.
    pub fn telling(&self, progress: &str, image: &str) -> Command {
        let mut command = crate::rehearsal::command(&self.home);
        let project = self.workshop.path("project");
        let path = format!("{}:{}", project.display(), std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).current_dir(&project);
        command.args(["push", "--output", "json", "--progress", progress]);
        if !image.is_empty() {
            command.args(["--image", image]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Command::from(command)
    }

    pub async fn push(&self, id: &str) -> Run {
        let output = self.command(&format!("docker-daemon:{id}")).kill_on_drop(true).output();
        Run::new(&tokio::time::timeout(PATIENCE, output).await.expect("it ends").unwrap())
    }

    #[track_caller]
    pub fn pushed(&self, run: &Run, config: &[u8]) -> Value {
        let digest = run.json(0)["digest"].as_str().unwrap().to_owned();
        assert_eq!(self.fake.tag("v1"), Some(digest.clone()));
        let inner = self.fake.inner.lock().unwrap();
        let manifest: Value = serde_json::from_slice(&inner.manifests[&digest].1).unwrap();
        assert_eq!(manifest["config"]["digest"], digest::of(config), "the image's id is the engine's");
        assert_eq!(inner.blobs[&digest::of(config)], config);
        let diff_ids = steadystate::image::config::diff_ids(config).unwrap();
        for (layer, diff_id) in manifest["layers"].as_array().unwrap().iter().zip(diff_ids) {
            let bytes = inner.blobs[layer["digest"].as_str().unwrap()].clone();
            let descriptor = steadystate::image::Descriptor {
                media_type: layer["mediaType"].as_str().unwrap().to_owned(),
                digest: layer["digest"].as_str().unwrap().to_owned(),
                size: layer["size"].as_u64().unwrap(),
            };
            assert_eq!(bytes.len() as u64, descriptor.size);
            let blob = steadystate::image::Blob { descriptor, source: steadystate::image::BlobSource::Memory(bytes) };
            assert_eq!(digest::of(&unpacked(&blob)), diff_id);
        }
        manifest
    }

    /// Files of the blob cache that hold a blob.
    pub fn cached(&self) -> usize {
        let blobs = self.home.join(".cache/steady/blobs");
        let left = std::fs::read_dir(&blobs).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<String> = left.filter(|name| name.starts_with(".writing-")).collect();
        assert_eq!(left, Vec::<String>::new(), "nothing half written stays");
        std::fs::read_dir(blobs.join("sha256")).unwrap().count()
    }
}
