//! Who is let in, and who gets the credential.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use steadystate::error::Kind;
use steadystate::registry::{Client, Credential, CredentialSource};

use super::fake::{Fake, Seen, refuse};
use super::{Workshop, client, patience, push};

/// A source whose passwords are `1`, `2`, … and that counts how often it is asked.
fn source() -> (CredentialSource, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let source: CredentialSource = Arc::new(move || {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move {
            // Long enough for everyone to ask at once.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            Ok(Credential { username: "AWS".into(), password: number.to_string().into() })
        })
    });
    (source, asked)
}

pub fn basic(password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("AWS:{password}")))
}

pub fn denied(status: u16, challenge: &str) -> Response {
    let mut response = refuse(status, "DENIED", "Your authorization token has expired. Reauthenticate and try again.");
    if !challenge.is_empty() {
        response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
    }
    response
}

pub fn with_source(fake: &Fake) -> (Client, Arc<AtomicUsize>) {
    let (source, asked) = source();
    (Client::with_patience(&fake.url(), Some(source), patience()).unwrap(), asked)
}

#[tokio::test]
async fn who_is_not_let_in_asks_twice_and_stops() {
    for status in [401, 403] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        fake.rule(move |_| Some(denied(status, "")));
        let (client, asked) = with_source(&fake);
        let error = push(&client, &workshop.image("x"), &["v1"]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::BuildOrPush);
        assert!(error.to_string().contains("DENIED") || error.to_string().contains("let us in"), "{error:?}");
        assert!(!format!("{error:?}").contains(&BASE64_STANDARD.encode("AWS:1")));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(fake.log().len(), 2);
        // Nobody to ask.
        let error = super::client(&fake).ping().await.unwrap_err();
        assert_eq!(error.kind(), Kind::BuildOrPush);
        assert!(error.hints().iter().any(|hint| hint.contains("docker login REGISTRY")), "{error:?}");
    }
}

#[tokio::test]
async fn nothing_shows_a_password() {
    let credential = Credential { username: "AWS".into(), password: "s3cret".to_owned().into() };
    assert!(!format!("{credential:?}").contains("s3cret"));
}

/// A registry with tokens on its own host: each names its scope and its number.
pub fn token_rules(fake: &Fake, realm: String, lives: usize) {
    let mut given = 0;
    let mut used = 0;
    fake.rule(move |seen| {
        if seen.path == "/token" {
            given += 1;
            used = 0;
            let scope = seen.query.split("scope=").nth(1).unwrap_or("none");
            let body = serde_json::json!({ "token": format!("{given}-{scope}"), "expires_in": 300 }).to_string();
            return Some(Body::from(body).into_response());
        }
        let valid = seen.authorization.as_ref().is_some_and(|header| header.starts_with(&format!("Bearer {given}-")));
        if valid && used < lives {
            used += 1;
            return None;
        }
        let challenge = format!("Bearer service=fake,realm=\"{realm}\",scope=\"repository:hello:pull\"");
        Some(denied(401, &challenge))
    });
}

#[tokio::test]
async fn a_token_may_claim_any_life() {
    for life in [0, u64::MAX] {
        let (workshop, fake) = (Workshop::new(), Fake::start().await);
        let realm = format!("{}/token", fake.url());
        fake.rule(move |seen| match seen.path.as_str() {
            "/token" => Some(serde_json::json!({ "token": "t", "expires_in": life }).to_string().into_response()),
            _ if seen.authorization.as_deref() == Some("Bearer t") => None,
            _ => Some(denied(401, &format!("Bearer service=fake,realm=\"{realm}\""))),
        });
        push(&with_source(&fake).0, &workshop.image("x"), &["v1"]).await.unwrap();
    }
}

#[tokio::test]
async fn tokens_are_fetched_by_scope_and_renewed() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    token_rules(&fake, format!("{}/token", fake.url()), 1000);
    let (client, asked) = with_source(&fake);
    push(&client, &workshop.image("x"), &["v1"]).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1, "a challenge says nothing against the credential");
    let log = fake.log();
    let tokens: Vec<&Seen> = log.iter().filter(|seen| seen.path == "/token").collect();
    assert!(
        tokens
            .iter()
            .all(|seen| seen.authorization.as_deref() == Some(&basic("1")) && seen.query.contains("service=fake"))
    );
    assert!(tokens.iter().any(|seen| seen.query.contains("scope=repository%3Ahello%3Apull%2Cpush")));
    assert!(tokens.len() <= 4, "{}", tokens.len());
}

#[tokio::test]
async fn anonymous_tokens_come_from_anywhere() {
    let (workshop, fake, elsewhere) = (Workshop::new(), Fake::start().await, Fake::start().await);
    token_rules(&fake, format!("{}/token", fake.url()), 1000);
    push(&client(&fake), &workshop.image("x"), &["v1"]).await.unwrap();
    drop(elsewhere);
    assert!(fake.log().iter().filter(|seen| seen.path == "/token").all(|seen| seen.authorization.is_none()));
}
