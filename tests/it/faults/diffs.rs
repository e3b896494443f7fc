//! What differs is shown, secrets in it are not: the second half of 58.

use serde_json::json;

use crate::lab_front::TestLab;
use crate::site::Site;

const IMAGE: &str =
    "{ repository: hello, create: true, build: { layers: [{ from: td.json.hbs, to: /a }], entrypoint: [/a] } }";

/// A task definition with a secret in each place that one gets into by mistake.
fn task(secret: &str) -> String {
    let document = json!({
        "family": "hello",
        "containerDefinitions": [{
            "name": "hello", "image": "{{image}}", "memory": 64,
            "environment": [{ "name": "DATABASE", "value": secret }],
            "command": ["serve", "--api-key", secret, format!("--url=https://me:{secret}@example.com")],
            "logConfiguration": { "logDriver": "splunk", "options": { "splunk-token": secret } },
        }],
    });
    document.to_string()
}

#[tokio::test]
async fn case_58_a_diff_shows_no_values_of_the_environment() {
    let lab = TestLab::start().await;
    let site = Site::new(&format!("http://{}", lab.host), IMAGE);
    lab.json("AmazonEC2ContainerServiceV20141113.CreateCluster", &json!({ "clusterName": "default" })).await;
    // All of it is new, then each value is another.
    for secret in ["first-s3cret", "other-s3cret"] {
        site.write("td.json.hbs", task(secret));
        for verb in ["diff", "diff --no-build", "deploy --dry-run"] {
            for style in ["--output=text --progress=lines", "--output=json --progress=json"] {
                let line = format!("{verb} {style}");
                let ended = site.run(&line.split(' ').collect::<Vec<_>>()).await;
                assert_eq!(ended.code, Some(0), "{ended:?}");
                let shown = ended.stdout + &ended.stderr;
                for what in ["environment", "(redacted)", "splunk-token", "--api-key", "--show-values shows them"] {
                    assert!(shown.contains(what), "{what} in {shown}");
                }
                assert!(!shown.contains("s3cret"), "{line}: {shown}");
            }
        }
        let asked = site.run(&["diff", "--show-values", "--output", "json"]).await;
        assert_eq!(asked.code, Some(0), "{asked:?}");
        assert!(asked.stdout.contains(secret) && !asked.stdout.contains("(redacted)"), "{}", asked.stdout);
        let registered = site.run(&["register"]).await;
        assert_eq!(registered.code, Some(0), "{registered:?}");
        assert!(!(registered.stdout + &registered.stderr).contains("s3cret"));
    }
    lab.end().await;
}
