//! Logins that docker's configuration has, and the tokens that they are traded for.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use secrecy::ExposeSecret;
use serde_json::json;
use steadystate::error::{Error, Kind};
use steadystate::registry::{self, Client};

use super::fake::{Fake, refuse};
use super::{Workshop, patience, push};

async fn login(config: &Path, host: &str) -> Result<Option<(String, String)>, Error> {
    match registry::docker_login(config, host).await? {
        Some(source) => {
            let credential = source().await?;
            Ok(Some((credential.username, credential.password.expose_secret().to_owned())))
        }
        None => Ok(None),
    }
}

#[tokio::test]
async fn who_has_the_login_of_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let auth = |pair: &str| json!({ "auth": BASE64_STANDARD.encode(pair) });
    let auths = json!({ "auths": {
        "https://index.docker.io/v1/": auth("me:hub"),
        "ghcr.io": auth("me:with:colons"),
        "https://registry.example.com": auth("me:scheme"),
        "tokens.example.com": { "auth": auth("me:")["auth"], "identitytoken": "long" },
        "empty.example.com": {},
        "localhost:5000": { "username": "plain", "password": "text" },
    } });
    std::fs::write(&config, auths.to_string()).unwrap();
    let cases = [
        ("docker.io", Some(("me", "hub"))),
        ("ghcr.io", Some(("me", "with:colons"))),
        ("registry.example.com", Some(("me", "scheme"))),
        ("tokens.example.com", Some(("<token>", "long"))),
        ("localhost:5000", Some(("plain", "text"))),
        ("empty.example.com", None),
        ("example.com", None),
        ("evil.example.com", None),
        ("localhost", None),
    ];
    for (host, expected) in cases {
        let found = login(&config, host).await.unwrap();
        assert_eq!(found.as_ref().map(|(user, word)| (user.as_str(), word.as_str())), expected, "{host}");
    }
    assert_eq!(login(&folder.path().join("none.json"), "ghcr.io").await.unwrap(), None);
    for (text, why) in
        [("{", "line 1"), ("[]", ""), ("", ""), (r#"{"auths":{"ghcr.io":{"auth":"c2VjcmV0"}}}"#, "user:password")]
    {
        std::fs::write(&config, text).unwrap();
        match login(&config, "ghcr.io").await {
            Ok(found) => assert!(why.is_empty() && found.is_none(), "{text}"),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Input);
                assert!(!why.is_empty() && error.to_string().contains(why), "{text}: {error:?}");
                assert!(!format!("{error:?}").contains("secret"), "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_helper_is_a_name_and_no_path() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    for helper in ["/tmp/one", "../one"] {
        std::fs::write(&config, json!({ "credsStore": helper }).to_string()).unwrap();
        let error = login(&config, "ghcr.io").await.unwrap_err();
        assert!(error.to_string().contains("cannot be a credential helper"), "{error:?}");
    }
    let name = "not-installed-anywhere";
    std::fs::write(&config, json!({ "credHelpers": { "ghcr.io": name }, "credsStore": "other" }).to_string()).unwrap();
    let error = login(&config, "ghcr.io").await.unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    assert!(
        error.to_string().contains("docker-credential-not-installed-anywhere") && error.to_string().contains("PATH")
    );
}

/// An identity token is no password: it goes in the body of a POST, and only to the registry's own realm.
#[tokio::test]
async fn an_identity_token_is_traded_for_one_of_the_scope() {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let realm = format!("{}/token", fake.url());
    fake.rule(move |seen| {
        if seen.path == "/token" {
            let traded = seen.method == "POST" && seen.authorization.is_none() && seen.body > 0;
            return Some(match traded {
                true => axum::response::IntoResponse::into_response(json!({ "access_token": "short" }).to_string()),
                false => refuse(401, "UNAUTHORIZED", "no"),
            });
        }
        (seen.authorization.as_deref() != Some("Bearer short")).then(|| {
            let mut response = refuse(401, "UNAUTHORIZED", "who are you?");
            let challenge = format!("Bearer realm=\"{realm}\",service=\"fake\"");
            response.headers_mut().insert("www-authenticate", challenge.parse().unwrap());
            response
        })
    });
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let host = fake.address.to_string();
    std::fs::write(&config, json!({ "auths": { host.clone(): { "identitytoken": "long" } } }).to_string()).unwrap();
    let source = registry::docker_login(&config, &host).await.unwrap();
    let client = Client::with_patience(&fake.url(), source, patience()).unwrap();
    push(&client, &workshop.image("x"), &["v1"]).await.unwrap();
    assert!(fake.tag("v1").is_some());
    assert!(fake.log().iter().all(|seen| !seen.query.contains("long")));
}
