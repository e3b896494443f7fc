//! facts/faults.md, 56 and 16: docker's and podman's logins are honoured, and go where docker would send them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::BodyExt;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use steadystate::error::Kind;
use steadystate::image::Reference;
use steadystate::registry::{Client, DockerLogins};

use super::fake::{Fake, refuse};
use super::{Workshop, push};

/// A home with files, and the variables that are set in it.
struct Home(tempfile::TempDir, HashMap<String, String>);

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = format!("{}/bin:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        let set = [("HOME", folder.path().display().to_string()), ("PATH", path)];
        Home(folder, set.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, content: impl ToString) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content.to_string()).unwrap();
    }

    /// A credential helper that writes down what it is asked, and answers from files named by the server.
    fn helper(&self, name: &str, knows: &[(&str, Value)]) {
        let cases = knows.iter().map(|(server, answer)| format!("'{server}') echo '{answer}';;"));
        let cases = cases.collect::<Vec<_>>().join("\n");
        let log = self.path("asked");
        let script = format!(
            "#!/bin/sh\nserver=$(cat)\necho \"{name} $1 $server\" >> {}\ncase \"$server\" in\n{cases}\n\
             *) echo 'credentials not found in native keychain'; exit 1;;\nesac\n",
            log.display()
        );
        self.program(name, &script);
    }

    /// Written by another process: a file that this one has open for writing cannot be run, nor by what it forks meanwhile.
    fn program(&self, name: &str, script: &str) {
        std::fs::create_dir_all(self.path("bin")).unwrap();
        let path = self.path(&format!("bin/docker-credential-{name}"));
        let write = ["-c", "printf '%s' \"$1\" > \"$2\" && chmod 755 \"$2\"", "sh", script];
        assert!(std::process::Command::new("sh").args(write).arg(path).status().unwrap().success());
    }

    fn asked(&self) -> String {
        std::fs::read_to_string(self.path("asked")).unwrap_or_default()
    }

    fn logins(&self) -> DockerLogins {
        DockerLogins::new(&|name| self.1.get(name).cloned())
    }

    async fn find(&self, reference: &str) -> Result<String, steadystate::error::Error> {
        let found = self.logins().find(&reference.parse::<Reference>().unwrap()).await?;
        Ok(found.map_or("none".to_owned(), |found| format!("{}:{}", found.username, found.password.expose_secret())))
    }
}

fn auth(pair: &str) -> Value {
    json!({ "auth": BASE64_STANDARD.encode(pair) })
}

fn lent(username: &str, secret: &str) -> Value {
    json!({ "ServerURL": "x", "Username": username, "Secret": secret })
}

#[tokio::test]
async fn who_is_asked_first() {
    let mut home = Home::new();
    assert_eq!(home.find("ghcr.io/me/app").await.unwrap(), "none", "there are no files at all");
    home.helper("own", &[("one.example", lent("helped", "1")), ("token.example", lent("<token>", "t"))]);
    home.helper("store", &[("two.example", lent("stored", "2")), ("https://index.docker.io/v1/", lent("hub", "h"))]);
    let auths =
        json!({ "one.example": auth("file:1"), "two.example": auth("file:2"), "three.example": auth("file:3:4") });
    let helpers = json!({ "one.example": "own", "token.example": "own" });
    home.write(".docker/config.json", json!({ "auths": auths, "credHelpers": helpers, "credsStore": "store" }));
    for (reference, expected) in [
        ("one.example/a", "helped:1"),
        ("token.example/a", "<token>:t"),
        ("two.example/a", "stored:2"),
        // The store is asked for all that no helper is for, and what it does not know docker has no login to.
        ("three.example/a", "none"),
        ("nginx", "hub:h"),
    ] {
        assert_eq!(home.find(reference).await.unwrap(), expected, "{reference}");
    }
    assert!(
        home.asked().contains("own get one.example\n")
            && home.asked().contains("store get https://index.docker.io/v1/\n")
    );
    home.1.insert("DOCKER_AUTH_CONFIG".into(), json!({ "auths": { "one.example": auth("ci:job") } }).to_string());
    assert_eq!(home.find("one.example/a").await.unwrap(), "ci:job");
    assert_eq!(home.find("two.example/a").await.unwrap(), "stored:2");
}

#[tokio::test]
async fn passwords_in_the_file_are_found_by_every_spelling() {
    let home = Home::new();
    let auths = json!({
        "https://index.docker.io/v1/": auth("hub:h"),
        "https://old.example/v1/": auth("old:o"),
        "plain.example:5000": { "username": "me", "password": "p" },
        "padded.example": auth("me:p\0\0"),
        "identity.example": { "auth": BASE64_STANDARD.encode("00000000-0000:"), "identitytoken": "refresh" },
        "empty.example": {},
        "null.example": null,
        "nulls.example": { "auth": null, "username": "me", "password": "p", "email": null },
        "127.0.0.1:5000": auth("here:l"),
    });
    home.write(".docker/config.json", json!({ "auths": auths, "credHelpers": null, "credsStore": null }));
    for (reference, expected) in [
        ("nginx", "hub:h"),
        ("docker.io/me/app:1", "hub:h"),
        ("old.example/a", "old:o"),
        ("plain.example:5000/a", "me:p"),
        ("plain.example/a", "none"),
        ("padded.example/a", "me:p"),
        ("identity.example/a", "<token>:refresh"),
        ("empty.example/a", "none"),
        ("null.example/a", "none"),
        ("nulls.example/a", "me:p"),
        ("127.0.0.1:5000/a", "here:l"),
    ] {
        assert_eq!(home.find(reference).await.unwrap(), expected, "{reference}");
    }
}

#[tokio::test]
async fn podman_s_logins_come_after_docker_s() {
    let mut home = Home::new();
    let runtime = home.path("run");
    home.1.insert("XDG_RUNTIME_DIR".into(), runtime.display().to_string());
    home.write(".docker/config.json", json!({ "auths": { "both.example": auth("docker:1") } }));
    let auths = json!({
        "both.example": auth("podman:2"),
        "quay.io": auth("all:3"),
        "quay.io/team": auth("team:4"),
        "quay.io/team/app": auth("app:5"),
        "docker.io": auth("hub:6"),
    });
    home.write("run/containers/auth.json", json!({ "auths": auths }));
    home.write(".config/containers/auth.json", json!({ "auths": { "late.example": auth("late:7") } }));
    for (reference, expected) in [
        ("both.example/a", "docker:1"),
        ("quay.io/team/app:1", "app:5"),
        ("quay.io/team/other", "team:4"),
        ("quay.io/teams/app", "all:3"),
        ("nginx", "hub:6"),
        ("late.example/a", "late:7"),
    ] {
        assert_eq!(home.find(reference).await.unwrap(), expected, "{reference}");
    }
    home.write("named.json", json!({ "auths": { "quay.io": auth("named:8") } }));
    home.1.insert("REGISTRY_AUTH_FILE".into(), home.path("named.json").display().to_string());
    assert_eq!(home.find("quay.io/team/app").await.unwrap(), "named:8");
}

#[tokio::test]
async fn what_is_wrong_is_said_without_a_password() {
    let home = Home::new();
    home.program("broken", "#!/bin/sh\necho 'the keychain is locked'\nexit 3\n");
    home.program("mute", "#!/bin/sh\necho 'hunter2'\n");
    for (config, expected) in [
        ("{ \"auths\": { \"a.example\": { \"auth\": \"hunter2\" }".to_owned(), "line 1, column"),
        (
            json!({ "auths": { "a.example": { "auth": "hunter2!" } } }).to_string(),
            "the login of `a.example` is damaged",
        ),
        (json!({ "credsStore": "absent" }).to_string(), "no such program on PATH"),
        (json!({ "credsStore": "broken" }).to_string(), "the keychain is locked"),
        (json!({ "credsStore": "mute" }).to_string(), "it answered no credential"),
        (json!({ "credsStore": "../../tmp/x" }).to_string(), "no name of a program"),
    ] {
        home.write(".docker/config.json", &config);
        let error = home.find("a.example/x").await.unwrap_err();
        let text = format!("{error:?} {:?}", error.hints());
        assert!(text.contains(expected) && !text.contains("hunter2"), "{config}: {text}");
        assert!(!error.hints().is_empty() && matches!(error.kind(), Kind::Input | Kind::BuildOrPush));
    }
}

/// What a token service was asked: method, `Authorization`, and parameters, of the address or of a form.
type Asked = Arc<Mutex<Vec<(String, Option<String>, HashMap<String, String>)>>>;

/// A token service on a host of its own.
async fn token_service() -> (String, Asked) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let realm = format!("http://localhost:{}/token", listener.local_addr().unwrap().port());
    let asked = Asked::default();
    let log = asked.clone();
    let router = axum::Router::new().fallback(move |request: Request| {
        let log = log.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let text =
                if head.method == "POST" { body.to_vec() } else { head.uri.query().unwrap_or("").as_bytes().to_vec() };
            let parameters = url::form_urlencoded::parse(&text).into_owned().collect();
            let authorization = head.headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
            log.lock().unwrap().push((head.method.to_string(), authorization, parameters));
            json!({ "access_token": "lent", "expires_in": 300 }).to_string().into_response()
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (realm, asked)
}

fn demand(fake: &Fake, challenge: String, wanted: &'static str) {
    fake.rule(move |seen| {
        let denied = || {
            let mut response = refuse(401, "UNAUTHORIZED", "authentication required");
            response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
            response
        };
        (seen.authorization.as_deref() != Some(wanted)).then(denied)
    });
}

async fn client_at(fake: &Fake, home: &Path) -> Client {
    let reference: Reference = format!("{}/hello", fake.address).parse().unwrap();
    let home = home.display().to_string();
    Client::as_docker(&reference, &DockerLogins::new(&|name| (name == "HOME").then(|| home.clone()))).await.unwrap()
}

#[tokio::test]
async fn the_realm_that_a_registry_names_gets_its_login() {
    let (workshop, fake, home) = (Workshop::new(), Fake::start().await, Home::new());
    let (realm, asked) = token_service().await;
    home.write(".docker/config.json", json!({ "auths": { fake.address.to_string(): auth("me:s3cret") } }));
    demand(&fake, format!("Bearer realm=\"{realm}\",service=\"fake\""), "Bearer lent");
    push(&client_at(&fake, home.0.path()).await, &workshop.image("x"), &["v1"]).await.unwrap();
    let login = format!("Basic {}", BASE64_STANDARD.encode("me:s3cret"));
    let asked = asked.lock().unwrap().clone();
    assert!(asked.iter().all(|(method, with, of)| {
        (method.as_str(), with.as_deref(), of["service"].as_str()) == ("GET", Some(login.as_str()), "fake")
    }));
    assert!(asked.iter().any(|(.., of)| of["scope"] == "repository:hello:pull,push"), "{asked:?}");
    // The registry itself gets only the token.
    assert!(fake.log().iter().all(|seen| seen.authorization.as_deref().is_none_or(|with| with == "Bearer lent")));
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_form() {
    let (workshop, fake, home) = (Workshop::new(), Fake::start().await, Home::new());
    let (realm, asked) = token_service().await;
    let entry = json!({ "auth": "", "identitytoken": "refresh&me" });
    home.write(".docker/config.json", json!({ "auths": { fake.address.to_string(): entry } }));
    demand(&fake, format!("Bearer realm=\"{realm}\",service=\"fake\""), "Bearer lent");
    push(&client_at(&fake, home.0.path()).await, &workshop.image("x"), &["v1"]).await.unwrap();
    for (method, authorization, of) in asked.lock().unwrap().iter() {
        assert_eq!((method.as_str(), authorization), ("POST", &None));
        assert_eq!((of["grant_type"].as_str(), of["refresh_token"].as_str()), ("refresh_token", "refresh&me"));
        assert!(of["scope"].starts_with("repository:hello:pull") && of["client_id"] == "steady");
    }
    assert!(fake.log().iter().all(|seen| !seen.query.contains("refresh")));
}

#[tokio::test]
async fn a_registry_that_wants_the_password_itself_gets_it_once_it_asks() {
    let (workshop, fake, home) = (Workshop::new(), Fake::start().await, Home::new());
    home.write(".docker/config.json", json!({ "auths": { fake.address.to_string(): auth("me:s3cret") } }));
    demand(&fake, "Basic realm=\"fake\"".to_owned(), "Basic bWU6czNjcmV0");
    push(&client_at(&fake, home.0.path()).await, &workshop.image("x"), &["v1"]).await.unwrap();
    assert_eq!(fake.log().iter().filter(|seen| seen.authorization.is_none()).count(), 1);
    // One that lets everybody in never sees it.
    let (open, home) = (Fake::start().await, Home::new());
    home.write(".docker/config.json", json!({ "auths": { open.address.to_string(): auth("me:s3cret") } }));
    push(&client_at(&open, home.0.path()).await, &workshop.image("y"), &["v1"]).await.unwrap();
    assert!(open.log().iter().all(|seen| seen.authorization.is_none()));
}

/// A configuration from another machine names a helper that is not on this one: public images do without.
#[tokio::test]
async fn a_login_that_cannot_be_had_is_missed_only_where_one_is_wanted() {
    let (workshop, open, home) = (Workshop::new(), Fake::start().await, Home::new());
    home.write(".docker/config.json", json!({ "credsStore": "of-another-machine" }));
    push(&client_at(&open, home.0.path()).await, &workshop.image("x"), &["v1"]).await.unwrap();
    let closed = Fake::start().await;
    demand(&closed, "Basic realm=\"fake\"".to_owned(), "Basic bWU6czNjcmV0");
    let error = push(&client_at(&closed, home.0.path()).await, &workshop.image("y"), &["v1"]).await.unwrap_err();
    let hints = error.hints().join("\n");
    for part in ["was not read", "docker-credential-of-another-machine", "no such program", "config.json"] {
        assert!(hints.contains(part), "{part}: {hints}");
    }
}

#[tokio::test]
async fn a_login_is_not_sent_unencrypted_to_another_machine() {
    let (workshop, fake, home) = (Workshop::new(), Fake::start().await, Home::new());
    home.write(".docker/config.json", json!({ "auths": { fake.address.to_string(): auth("me:s3cret") } }));
    demand(&fake, "Bearer realm=\"http://auth.example.com/token\"".to_owned(), "Bearer lent");
    let error = push(&client_at(&fake, home.0.path()).await, &workshop.image("x"), &["v1"]).await.unwrap_err();
    assert!(error.to_string().contains("wants its credential sent to http://auth.example.com"), "{error:?}");
    assert!(fake.log().iter().all(|seen| seen.authorization.is_none()));
}
