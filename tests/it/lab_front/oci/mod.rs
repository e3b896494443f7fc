//! The lab's registry held to the OCI distribution specification, 1.1: tables of requests and of what must come back,
//! by the workflows and the endpoints (`end-1` …) that the specification names.

mod discovery;
mod management;
mod pull;
mod push;

use ring::digest::{SHA512, digest as hashed};
use serde_json::{Value, json};

use super::{Answer, OCI_MANIFEST, TestLab, digest};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A request, and what the specification says of the reply.
struct Row {
    /// The endpoint, and the rule.
    rule: &'static str,
    method: &'static str,
    /// `<location>` is where the last reply that had a `Location` pointed.
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    status: u16,
    /// Exact values; `*` is any, and nothing is: not there.
    has: Vec<(&'static str, String)>,
    content: Content,
}

enum Content {
    Any,
    Is(Vec<u8>),
    Json(Value),
    /// An error of the specification's, with each `detail`.
    Error(&'static str, Vec<Value>),
}

fn row(rule: &'static str, method: &'static str, path: impl Into<String>, status: u16) -> Row {
    let (path, content) = (path.into(), Content::Any);
    Row { rule, method, path, headers: Vec::new(), body: Vec::new(), status, has: Vec::new(), content }
}

impl Row {
    fn with(mut self, header: &'static str, value: impl Into<String>) -> Row {
        self.headers.push((header, value.into()));
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Row {
        self.body = body.into();
        self
    }

    fn has(mut self, header: &'static str, value: impl Into<String>) -> Row {
        self.has.push((header, value.into()));
        self
    }

    fn is(self, content: impl Into<Vec<u8>>) -> Row {
        Row { content: Content::Is(content.into()), ..self }
    }

    fn json(self, content: Value) -> Row {
        Row { content: Content::Json(content), ..self }
    }

    fn error(self, code: &'static str) -> Row {
        Row { content: Content::Error(code, vec![]), ..self }
    }

    fn about(mut self, detail: Value) -> Row {
        if let Content::Error(_, details) = &mut self.content {
            details.push(detail);
        }
        self
    }
}

/// Sends a table's requests one after the other, logged in, and checks each reply.
async fn walk(lab: &TestLab, table: Vec<Row>) {
    let login = lab.login().await;
    let mut location = String::new();
    for (at, row) in table.into_iter().enumerate() {
        let said = format!("row {}: {}: {} {}", at + 1, row.rule, row.method, row.path);
        let path = row.path.replace("<location>", &location);
        let mut headers: Vec<(&str, &str)> = row.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.push(("authorization", &login));
        let answer = lab.send(row.method, &path, &headers, row.body).await;
        assert_eq!(answer.status.as_u16(), row.status, "{said}: {}", answer.text());
        for (name, value) in &row.has {
            let found = answer.headers.get(*name).map(|value| value.to_str().unwrap());
            match value.as_str() {
                "*" => assert!(found.is_some_and(|found| !found.is_empty()), "{said}: no {name}"),
                "" => assert_eq!(found, None, "{said}: {name}"),
                value => assert_eq!(found, Some(value), "{said}: {name}"),
            }
        }
        match row.content {
            Content::Any => {}
            Content::Is(content) => assert_eq!(answer.body, content, "{said}"),
            Content::Json(content) => assert_eq!(answer.json(), content, "{said}"),
            Content::Error(code, details) => check_error(&answer, code, &details, &said),
        }
        if let Some(next) = answer.headers.get("location") {
            location = next.to_str().unwrap().to_owned();
        }
    }
}

/// `errors`, each with the code, a text and its detail.
fn check_error(answer: &Answer, code: &str, details: &[Value], said: &str) {
    assert_eq!(answer.header("content-type"), "application/json", "{said}");
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    assert_eq!(errors.len(), details.len().max(1), "{said}: {errors:?}");
    for (at, error) in errors.iter().enumerate() {
        if !details.is_empty() {
            assert_eq!(error.get("detail"), details.get(at), "{said}");
        }
        assert_eq!(error["code"], code, "{said}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{said}");
    }
}

fn sha512(content: &[u8]) -> String {
    format!("sha512:{}", hex::encode(hashed(&SHA512, content)))
}

type Hash = fn(&[u8]) -> String;
const ALGORITHMS: [Hash; 2] = [digest, sha512];

fn descriptor(kind: &str, content: &[u8], hash: Hash) -> Value {
    json!({ "mediaType": kind, "digest": hash(content), "size": content.len() })
}

/// An image's manifest of blobs that are pushed apart from it.
fn image(config: &[u8], layers: &[&[u8]], hash: Hash) -> Value {
    let layers: Vec<Value> =
        layers.iter().map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar", layer, hash)).collect();
    let config = descriptor("application/vnd.oci.image.config.v1+json", config, hash);
    json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers })
}

fn index(children: &[(&str, &[u8])], hash: Hash) -> Value {
    let children: Vec<Value> = children.iter().map(|(kind, content)| descriptor(kind, content, hash)).collect();
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children })
}

fn bytes(manifest: &Value) -> Vec<u8> {
    manifest.to_string().into_bytes()
}

/// A blob in one POST.
fn post(repository: &str, content: &[u8], hash: Hash) -> Row {
    let path = format!("/v2/{repository}/blobs/uploads/?digest={}", hash(content));
    let there = format!("/v2/{repository}/blobs/{}", hash(content));
    row("end-4b: a blob in one POST", "POST", path, 201).body(content).has("location", there)
}

/// A manifest, under a tag or its digest.
fn put(repository: &str, reference: &str, manifest: &Value) -> Row {
    let kind = manifest["mediaType"].as_str().unwrap();
    row("end-7: a manifest", "PUT", format!("/v2/{repository}/manifests/{reference}"), 201)
        .with("content-type", kind)
        .body(bytes(manifest))
        .has("location", "*")
}

async fn lab() -> TestLab {
    let lab = TestLab::start().await;
    for repository in ["one", "team/two"] {
        lab.create(repository).await;
    }
    lab
}
