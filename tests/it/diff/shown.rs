//! Differences as lines.

use serde_json::json;
use steadystate::document::{Values, diff};
use steadystate::report::{Style, changes};

const PLAIN: Style = Style { color: false, unicode: true, width: None };

/// What would be printed of the differences between two documents.
pub fn lines(before: &serde_json::Value, after: &serde_json::Value, values: Values) -> String {
    let rows: Vec<_> = diff(before, after, values).into_iter().map(|change| json!(change)).collect();
    assert!(changes::are(&rows));
    changes::text(&rows, PLAIN)
}

#[test]
fn long_values_are_compared_line_by_line() {
    let of = |port: u16, script: &str| {
        json!({ "containerDefinitions": [{
            "name": "web", "user": format!("{}{port}", "u".repeat(104)),
            "command": ["serve", "--port", port.to_string(), "--root", "/srv/www/html/public", "--log", "/var/log/web.log",
                "--workers", "8", "--timeout", "30", "--keepalive", "5", "--quiet"],
            "workingDirectory": script,
        }] })
    };
    let script = (0..12).map(|n| format!("step {n}\n")).collect::<String>();
    let other = script.replace("step 2\n", "step two\t\u{1b}[31m\n").replace("step 11\n", "");
    insta::assert_snapshot!(lines(&of(80, &script), &of(8080, &other), Values::Shown), @r#"
    ~ containerDefinitions[web].user
      - "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu80"
      + "uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu8080"
    ~ containerDefinitions[web].command
        [
          "serve",
          "--port",
      -   "80",
      +   "8080",
          "--root",
          "/srv/www/html/public",
          "--log",
    ~ containerDefinitions[web].workingDirectory
        step 0
        step 1
      - step 2
      + step two	\u{1b}[31m
        step 3
        step 4
        step 5
        …
        step 8
        step 9
        step 10
      - step 11
    "#);
    let script = |script: &str| json!({ "containerDefinitions": [{ "name": "web", "command": ["sh", "-c", script] }] });
    let (before, after) = (script("set -e\nfirst \\n\nlast\n"), script("set -e\nother \\n\nlast\n"));
    insta::assert_snapshot!(lines(&before, &after, Values::Shown), @r#"
    ~ containerDefinitions[web].command
          "sh",
          "-c",
          "set -e\n
      -    first \\n\n
      +    other \\n\n
           last\n"
        ]
    "#);
}

#[test]
fn what_looks_like_a_secret_is_not_shown() {
    let secrets = json!({
        "containerDefinitions": [{
            "name": "web",
            "command": ["serve", "--db-password", "s3cret-1", "--url=postgres://me:s3cret-2@db/app", "API_TOKEN=s3cret-3", "plain"],
            "entryPoint": ["sh", "-c", "curl -H 'Authorization: Bearer s3cret-4-and-more' https://x"],
            "environment": [{ "name": "A", "value": "s3cret-5" }],
            "secrets": [{ "name": "DB_PASSWORD", "valueFrom": "arn:aws:secretsmanager:us-east-1:111122223333:secret:db:password::" }],
            "repositoryCredentials": { "credentialsParameter": "arn:aws:secretsmanager:us-east-1:111122223333:secret:registry" },
            "dockerLabels": { "vault-token": "s3cret-6", "owner": "web" },
            "logConfiguration": { "logDriver": "splunk", "options": { "splunk-token": "s3cret-7", "splunk-url": "https://x" } },
            "firelensConfiguration": { "type": "fluentbit", "options": { "http_passwd": "s3cret-8" } },
            "healthCheck": { "command": ["CMD-SHELL", "curl http://me:s3cret-9@localhost/"] },
        }],
        "volumes": [{ "name": "nas", "dockerVolumeConfiguration": { "driverOpts": { "o": "username=me,password=s3cret-10" } } }],
        "tags": [{ "key": "token", "value": "s3cret-11" }, { "key": "team", "value": "web" }],
    });
    let redacted = lines(&json!({}), &secrets, Values::Redacted);
    assert!(!redacted.contains("s3cret"), "{redacted}");
    for shown in [
        "DB_PASSWORD",
        "secret:db:password::",
        "secret:registry",
        "\"owner\": \"web\"",
        "https://x",
        "\"plain\"",
        "tags[team]: \"web\"",
    ] {
        assert!(redacted.contains(shown), "{shown} in {redacted}");
    }
    let all = lines(&json!({}), &secrets, Values::Shown);
    assert_eq!(all.matches("s3cret").count(), 11, "{all}");
    // Each by itself, where it is what changes.
    for pointer in [
        "/command/2",
        "/command/3",
        "/command/4",
        "/entryPoint/2",
        "/dockerLabels/vault-token",
        "/logConfiguration/options/splunk-token",
        "/healthCheck/command/1",
    ] {
        let mut other = secrets.clone();
        *other.pointer_mut(&format!("/containerDefinitions/0{pointer}")).unwrap() = "x".into();
        let redacted = lines(&secrets, &other, Values::Redacted);
        assert!(!redacted.contains("s3cret") && redacted.contains("(redacted)"), "{pointer}: {redacted}");
    }
}
