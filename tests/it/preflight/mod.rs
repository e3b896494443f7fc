//! The preflight and `steady verify`, through the real binary against a lab: each check, and how all of them read.

mod capacity;
mod images;
mod permissions;
mod roles;
mod standing;
mod stores;
mod targets;
mod together;

use serde_json::{Value, json};
use steadystate::lab::lifecycle::{self, Options};
use steadystate::lab::runtime::Level;

use crate::lab_front::{TestLab, options};
use crate::lab_secrets::iam;
use crate::site::{Ended, Site};

/// A project without an image of its own, and the lab that stands for its account; containers are simulated.
pub struct World {
    pub lab: TestLab,
    pub site: Site,
}

impl World {
    pub async fn start() -> World {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { runtime_level: Some(Level::Simulated), ..options(folder.path()) };
        let lab = TestLab::start_with(folder, options).await;
        let site = Site::new("", "{}");
        let world = World { lab, site };
        world.project("");
        world.service(json!({}));
        world.task_definition(json!({}), json!({}));
        world
    }

    /// The project file, with more members of its service.
    pub fn project(&self, more: &str) {
        let text = format!(
            "region: us-east-1\nendpoint_url: http://{}\nservices:\n  web:\n    task_definition: td.json\n    \
             service: service.json\n{more}",
            self.lab.host
        );
        self.site.write("steady.yaml", text);
    }

    pub fn service(&self, document: Value) {
        self.site.write("service.json", document.to_string());
    }

    /// Members of the task definition and of its one container, over what they are otherwise.
    pub fn task_definition(&self, more: Value, container: Value) {
        let mut app = json!({
            "name": "app", "image": "nginx:1", "memory": 64, "portMappings": [{ "containerPort": 8080 }],
        });
        app.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let mut document = json!({ "family": "web", "containerDefinitions": [app] });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.site.write("td.json", document.to_string());
    }

    /// A JSON operation that has to succeed.
    pub async fn call(&self, target: &str, input: Value) -> Value {
        let answer = self.lab.json(target, &input).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        if answer.text().is_empty() { Value::Null } else { answer.json() }
    }

    pub async fn ecs(&self, operation: &str, input: Value) -> Value {
        self.call(&format!("AmazonEC2ContainerServiceV20141113.{operation}"), input).await
    }

    pub async fn elb(&self, operation: &str, parameters: &[(&str, &str)]) -> String {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", operation).append_pair("Version", "2015-12-01").extend_pairs(parameters);
        let answer = self.lab.send("POST", "/", &[kind], form.finish()).await;
        assert_eq!(answer.status, 200, "{operation}: {}", answer.text());
        answer.text()
    }

    /// An image in the account's registry, for linux/amd64: its name.
    pub async fn image(&self) -> String {
        self.lab.create("web").await;
        let image =
            "{ repository: web, tags: [v1], build: { platform: linux/amd64, layers: [{ from: td.json, to: /a }] } }";
        let text = format!(
            "region: us-east-1\nendpoint_url: http://{}\nservices:\n  web: {{ image: {image}, task_definition: td.json }}\n",
            self.lab.host
        );
        self.site.write("steady.yaml", text);
        self.site.well(&["push"], &[]).await;
        self.project("");
        format!("{}/web:v1", self.lab.host)
    }

    /// A role that `service` may take.
    pub async fn role(&self, name: &str, service: &str) {
        iam::create(&self.lab, name, service).await;
    }

    pub async fn fault(&self, fault: Value) {
        // A lab that has just begun is known only once it answers.
        self.ecs("DescribeClusters", json!({})).await;
        let fault = serde_json::from_value(fault).unwrap();
        let options: Options = options(self.lab.folder.path());
        lifecycle::add_fault(&options, &fault).await.unwrap();
    }

    /// `steady verify` with exit code `code`: what it says of each check.
    pub async fn verify(&self, code: i32) -> Checks {
        let ended = self.site.run(&["verify", "--output", "json"]).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        Checks::of(&ended)
    }

    pub async fn deploy(&self, code: i32) -> Ended {
        let ended = self.site.run(&["deploy", "--output", "json", "--progress", "lines"]).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        ended
    }

    pub async fn end(self) {
        self.lab.end().await;
    }
}

/// What `verify` says.
#[derive(Debug)]
pub struct Checks(pub Value);

impl Checks {
    fn of(ended: &Ended) -> Checks {
        let said: Value = serde_json::from_str(&ended.stdout).unwrap();
        Checks(if said["results"].is_object() { said["results"].clone() } else { said })
    }

    #[track_caller]
    pub fn check(&self, name: &str) -> &Value {
        let checks = self.0["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("no check {name}: {:#}", self.0))
    }

    /// The only finding of a check says this, and one of its hints that.
    #[track_caller]
    pub fn found(&self, check: &str, message: &str, hint: &str) {
        let check = self.check(check);
        assert_eq!(check["state"], "finding", "{check:#}");
        let findings = check["findings"].as_array().unwrap();
        assert_eq!(findings.len(), 1, "{check:#}");
        assert!(findings[0]["message"].as_str().unwrap().contains(message), "{message} in {check:#}");
        let hints = findings[0]["hints"].as_array().unwrap();
        assert!(hints.iter().any(|said| said.as_str().unwrap().contains(hint)), "{hint} in {check:#}");
    }

    /// One of a check's warnings says this.
    #[track_caller]
    pub fn warned(&self, check: &str, message: &str) -> &Value {
        let check = self.check(check);
        let warnings = check["warnings"].as_array().unwrap();
        let said = warnings.iter().find(|warning| warning["message"].as_str().unwrap().contains(message));
        said.unwrap_or_else(|| panic!("{message} in {check:#}"))
    }

    /// Nothing is wrong with a check.
    #[track_caller]
    pub fn fine(&self, name: &str) -> &str {
        let check = self.check(name);
        assert!(check["state"] == "ok" || check["state"] == "none", "{check:#}");
        check["detail"].as_str().unwrap()
    }
}

impl World {
    pub async fn clients(&self) -> steadystate::aws::Clients {
        let secret = secrecy::SecretString::from(lifecycle::SECRET_ACCESS_KEY.to_owned());
        let settings = steadystate::aws::Settings {
            region: Some("us-east-1".into()),
            endpoint_url: Some(format!("http://{}", self.lab.host)),
            static_credentials: Some((lifecycle::ACCESS_KEY_ID.into(), secret)),
            ..Default::default()
        };
        steadystate::aws::connect(&settings).await.unwrap()
    }
}
