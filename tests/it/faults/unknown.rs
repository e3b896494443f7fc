//! An AWS from the future: members, entries and states that nobody has heard of: 10.

#![allow(clippy::print_stdout)] // what was measured

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderValue, LOCATION};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use steadystate::aws_model::{self, Service, Shape};
use steadystate::lab::lifecycle::Options;
use steadystate::lab::runtime::Level;
use tokio::net::TcpListener;

use crate::images::archives::{layer_of, saved_of};
use crate::kill::proxy::{Body, full, replaced, serve, set_length};
use crate::lab_front::{TestLab, options};
use crate::ports::free_port;
use crate::signing::sign_anew;
use crate::site::{Ended, Site};

const UNHEARD_OF: &str = "UNHEARD_OF";

/// What is done to replies.
#[derive(Debug, Clone, PartialEq)]
enum Future {
    Nothing,
    /// Every object has members more, and lists of states an entry more.
    More,
    /// States of this operation are unknown in its first replies.
    States {
        operation: String,
        replies: usize,
    },
    /// All states are, for good.
    AllStates,
}

struct Between {
    lab: String,
    own: String,
    client: Client<HttpConnector, Body>,
    future: Mutex<Future>,
    /// How many states each operation's replies held.
    states: Mutex<BTreeMap<String, usize>>,
}

impl Between {
    async fn start(lab: &str) -> Arc<Between> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let between = Arc::new(Between {
            lab: lab.to_owned(),
            own: listener.local_addr().unwrap().to_string(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            future: Mutex::new(Future::Nothing),
            states: Mutex::default(),
        });
        let serving = between.clone();
        serve(listener, move |request| {
            let between = serving.clone();
            async move { between.pass(request).await }
        });
        between
    }

    async fn pass(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let (mut head, body) = request.into_parts();
        let api = head.uri.path() == "/";
        let target = head.headers.get("x-amz-target").and_then(|target| target.to_str().ok()).map(str::to_owned);
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        head.uri = format!("http://{}{path}", self.lab).parse().map_err(io::Error::other)?;
        head.headers.insert(HOST, HeaderValue::from_str(&self.lab).map_err(io::Error::other)?);
        let body = if api { replaced(&body, &self.own, &self.lab) } else { body };
        if api {
            sign_anew(&mut head.headers, &self.lab, &body);
        }
        set_length(&mut head.headers, &body);
        let is_head = head.method == hyper::Method::HEAD;
        let asked = body.clone();
        let reply = self.client.request(Request::from_parts(head, full(body))).await.map_err(io::Error::other)?;
        let (mut head, body) = reply.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let body = if api { replaced(&body, &self.lab, &self.own) } else { body };
        let body = match api && head.status.is_success() {
            true => self.changed(target.as_deref(), &asked, &body),
            false => body,
        };
        if let Some(location) = head.headers.get(LOCATION) {
            let location = replaced(location.as_bytes(), &self.lab, &self.own);
            head.headers.insert(LOCATION, HeaderValue::from_bytes(&location).map_err(io::Error::other)?);
        }
        if !is_head {
            set_length(&mut head.headers, &body);
        }
        Ok(Response::from_parts(head, full(body)))
    }

    fn changed(&self, target: Option<&str>, asked: &Bytes, body: &Bytes) -> Bytes {
        match target.and_then(|target| target.split_once('.')) {
            Some((prefix, operation)) => {
                let Some(service) = Service::by_target_prefix(prefix) else { return body.clone() };
                let Ok(mut value) = serde_json::from_slice::<Value>(body) else { return body.clone() };
                let output = aws_model::operation(service, operation).and_then(|found| found.output.clone());
                let unknown = self.strikes(operation, states(service, output.as_deref(), &mut value, false));
                states(service, output.as_deref(), &mut value, unknown);
                if *self.future.lock().unwrap() == Future::More {
                    more(&mut value);
                }
                value.to_string().into()
            }
            None => {
                let form = String::from_utf8_lossy(asked).into_owned();
                let operation = form.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or("?");
                let mut text = String::from_utf8_lossy(body).into_owned();
                // the states of load balancers and of targets
                let known =
                    ["healthy", "unhealthy", "initial", "draining", "unused", "unavailable", "active", "provisioning"];
                let tags = ["State", "Code"];
                let holds = |text: &str| {
                    let all = tags.iter().flat_map(|tag| known.map(|word| format!("<{tag}>{word}</{tag}>")));
                    all.filter(|state| text.contains(state.as_str())).collect::<Vec<_>>()
                };
                let found = holds(&text);
                if self.strikes(operation, found.len()) {
                    for state in found {
                        let tag = if state.starts_with("<State>") { "State" } else { "Code" };
                        text = text.replace(&state, &format!("<{tag}>{UNHEARD_OF}</{tag}>"));
                    }
                }
                if *self.future.lock().unwrap() == Future::More {
                    let member = "<member><UnheardOf><member><Deep>1</Deep></member></UnheardOf>";
                    // lists of texts have no members
                    text = text.replace("<member><", &format!("{member}<"));
                }
                text.into()
            }
        }
    }

    /// Whether this reply's states are to be unknown ones.
    fn strikes(&self, operation: &str, found: usize) -> bool {
        if found > 0 {
            *self.states.lock().unwrap().entry(operation.to_owned()).or_default() += found;
        }
        let mut future = self.future.lock().unwrap();
        match &mut *future {
            Future::AllStates => true,
            Future::States { operation: of, replies } if of == operation && *replies > 0 && found > 0 => {
                *replies -= 1;
                true
            }
            _ => false,
        }
    }

    fn is(&self, future: Future) {
        *self.future.lock().unwrap() = future;
    }
}

/// What tells how something is; what tells what it is stays.
fn is_state(name: &str) -> bool {
    ["tatus", "tate", "Stage", "stopCode", "onnectivity"].iter().any(|part| name.contains(part))
}

/// How many states a reply holds; with `change` all are unknown from here on.
fn states(service: Service, shape: Option<&str>, value: &mut Value, change: bool) -> usize {
    let Some(shape) = shape.and_then(|shape| aws_model::shape(service, shape)) else { return 0 };
    match (shape, value) {
        (Shape::Structure(structure), Value::Object(members)) => members
            .iter_mut()
            .map(|(name, value)| {
                let Some(member) = structure.member(name) else { return 0 };
                // some of ECS's states are plain strings in its model
                let plain =
                    matches!(aws_model::shape(service, &member.shape), Some(Shape::Enum(_) | Shape::String { .. }));
                if plain && is_state(name) && value.is_string() && !name.contains("eason") {
                    if change {
                        *value = UNHEARD_OF.into();
                    }
                    return 1;
                }
                states(service, Some(&member.shape), value, change)
            })
            .sum(),
        (Shape::List { element, .. }, Value::Array(items)) => {
            items.iter_mut().map(|item| states(service, Some(element), item, change)).sum()
        }
        (Shape::Map { value: of, .. }, Value::Object(members)) => {
            members.values_mut().map(|value| states(service, Some(of), value, change)).sum()
        }
        _ => 0,
    }
}

/// Members everywhere, and entries where there can be more of a kind.
fn more(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(more);
            for (name, id) in
                [("deployments", "id"), ("tasks", "taskArn"), ("serviceDeployments", "serviceDeploymentArn")]
            {
                let Some(Value::Array(entries)) = members.get_mut(name) else { continue };
                let Some(mut another) = entries.first().cloned() else { continue };
                another[id] = format!("{}-of-the-future", another[id].as_str().unwrap_or_default()).into();
                for state in ["status", "lastStatus", "rolloutState", "desiredStatus", "healthStatus"] {
                    if another.get(state).is_some() {
                        another[state] = UNHEARD_OF.into();
                    }
                }
                another["startedBy"] = "somebody".into();
                another["taskDefinitionArn"] = "arn:aws:ecs:us-east-1:111122223333:task-definition/future:1".into();
                entries.push(another);
            }
            members.insert("unheardOf".into(), json!({ "deep": [{ "deeper": null }], "number": 1e300 }));
            members.insert("isUnheardOf".into(), true.into());
        }
        Value::Array(items) => items.iter_mut().for_each(more),
        _ => {}
    }
}

const SERVICE: &str = r#"    launch_type: EC2
    load_balancer:
      type: network
      listener: { port: PORT }
      container: hello
      container_port: 80
      target_group: { deregistration_delay: 1s, health_check: { interval: 5s, healthy_threshold: 2 } }
    rollout: { timeout: 20s }
"#;

const TASK_DEFINITION: &str = r#"{
  "family": "hello",
  "containerDefinitions": [{
    "name": "hello", "image": "{{image}}", "memory": 64, "portMappings": [{ "containerPort": 80, "hostPort": 0 }],
    "environment": [{ "name": "RELEASE", "value": "{{var.release}}" }]
  }]
}"#;

async fn deployed(site: &Site, release: &str, timeout: &str) -> Ended {
    let variable = format!("release={release}");
    let line = ["deploy", "--var", variable.as_str(), "--timeout", timeout, "-o", "json", "--progress", "lines"];
    let ended = site.run(&line).await;
    assert!(!ended.stderr.contains("panicked") && ended.code.is_some_and(|code| code < 100), "{ended:?}");
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn case_10_what_nobody_has_heard_of_makes_nothing_fail() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { runtime_level: Some(Level::Simulated), unlimited_requests: true, ..options(folder.path()) };
    let lab = TestLab::start_with(folder, options).await;
    let between = Between::start(&lab.host).await;
    let image = "{ repository: hello, create: true, tags: [v1], build: { image: saved.tar } }";
    let site = Site::new(&format!("http://{}", between.own), image);
    let project = std::fs::read_to_string(site.path("steady.yaml")).unwrap();
    let service = SERVICE.replace("PORT", &free_port().to_string());
    site.write("steady.yaml", format!("{project}{service}variables: {{ release: \"0\" }}\n"));
    site.write("td.json.hbs", TASK_DEFINITION);
    saved_of(&site.path("saved.tar"), &[layer_of(b"hello")]);

    // What an undisturbed first deploy and update are told of states.
    for release in ["1", "2"] {
        let ended = deployed(&site, release, "20s").await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let operations: Vec<String> = between.states.lock().unwrap().keys().cloned().collect();
    assert!(operations.len() >= 8, "{operations:?}");

    between.is(Future::More);
    let ended = deployed(&site, "more", "20s").await;
    assert_eq!(ended.code, Some(0), "members and entries more: {ended:?}");
    for verb in ["status", "wait", "revisions", "rollback"] {
        let ended = site.run(&[verb, "-o", "json"]).await;
        assert_eq!(ended.code, Some(0), "{verb} with members and entries more: {ended:?}");
    }

    for operation in &operations {
        between.is(Future::States { operation: operation.clone(), replies: 3 });
        let ended = deployed(&site, operation, "20s").await;
        assert_eq!(ended.code, Some(0), "{operation} answers with unknown states: {ended:?}");
    }

    // An unknown state is not terminal: the deadline ends the waiting, and nothing is broken by then.
    between.is(Future::AllStates);
    let ended = deployed(&site, "never", "2s").await;
    assert!([5, 6, 9].contains(&ended.code.unwrap()), "{ended:?}");
    let ended = site.run(&["status"]).await;
    assert!(ended.stdout.to_lowercase().contains("unheard"), "it is shown as it is: {ended:?}");
    between.is(Future::Nothing);
    let ended = deployed(&site, "last", "20s").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    println!("unknown states in the replies of {} operations: {operations:?}", operations.len());
    lab.end().await;
}
