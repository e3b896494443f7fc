//! What templates see, tags, and a release's name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;
use steadystate::config::{ExistingImage, ImagePlan, ImageSource, Plan, RolloutPlan};
use steadystate::deploy::render::{Facts, PushedImage, context, release, tags};
use steadystate::error::SourceText;

pub fn plan() -> Plan {
    Plan {
        project: PathBuf::from("/project"),
        environment: Some("production".into()),
        service: "web".into(),
        cluster: "c".into(),
        image: Some(ImagePlan {
            repository: "web".into(),
            tags: vec!["latest".into()],
            source: ImageSource::Existing(ExistingImage { run: None, image: "/layout".into(), platforms: Vec::new() }),
            compression: Default::default(),
            container: None,
            create: None,
        }),
        task_definition: SourceText::new(
            "td.json",
            r#"{"family":"web","containerDefinitions":[{"name":"web","image":"x","memory":128,"portMappings":[{"containerPort":80}]}]}"#,
        ),
        service_document: None,
        allow_unknown_fields: false,
        load_balancer: None,
        network: None,
        service_discovery: None,
        before: Vec::new(),
        after: Vec::new(),
        rollout: RolloutPlan::default(),
        variables: BTreeMap::from([("LOG".into(), json!("warn")), ("count".into(), json!(3))]),
        env: BTreeMap::from([("HOME".into(), "/root".into())]),
        git: BTreeMap::new(),
        check_url: None,
        desired_count: None,
        launch_type: None,
        release: None,
    }
}

#[test]
fn the_context_of_templates() {
    let facts = Facts {
        region: "us-west-2".into(),
        account_id: "012345678901".into(),
        image: Some(PushedImage {
            repository_uri: "host/web".into(),
            digest: "sha256:ab".into(),
            tags: vec!["v1".into(), "latest".into()],
        }),
        release: "v1".into(),
    };
    assert_eq!(
        context(&plan(), &facts),
        json!({
            "image": "host/web@sha256:ab", "repository_uri": "host/web", "digest": "sha256:ab", "tag": "v1", "release": "v1",
            "region": "us-west-2", "account_id": "012345678901", "cluster": "c", "service": "web", "environment": "production",
            "var": { "LOG": "warn", "count": 3 }, "env": { "HOME": "/root" }, "git": {},
        })
    );
    let bare = context(&Plan { environment: None, ..plan() }, &Facts { image: None, ..facts });
    for absent in ["image", "repository_uri", "digest", "tag", "environment"] {
        assert!(bare.get(absent).is_none(), "{absent} is not known: strict mode has to refuse it");
    }
}

#[test]
fn tags_are_templates() {
    let mut plan = plan();
    plan.git.insert("short_sha".into(), "abc1234".into());
    let render = |templates: &[&str]| {
        let templates: Vec<String> = templates.iter().map(|one| (*one).to_owned()).collect();
        tags(&plan, &templates, "us-west-2")
    };
    assert_eq!(
        render(&["{{git.short_sha}}", "latest", "{{var.LOG}}-{{environment}}", "latest"]).expect("tags"),
        ["abc1234", "latest", "warn-production"]
    );
    for wrong in ["{{git.tag}}", "{{image}}", "{{digest}}", "a b", "", "-x", "{{var.missing}}"] {
        let error = render(&[wrong]).expect_err(wrong);
        assert_eq!(error.kind().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn the_name_of_a_release() {
    let digest = format!("sha256:{}", "0123456789ab".repeat(6));
    for (given, digest, expected) in [
        (Some("v7"), Some(&digest), "v7"),
        (Some(""), Some(&digest), "0123456789ab"),
        (None, Some(&digest), "0123456789ab"),
        (None, None, "unversioned"),
    ] {
        let plan = Plan { release: given.map(str::to_owned), ..plan() };
        assert_eq!(release(&plan, digest.map(String::as_str), "us-west-2"), expected);
    }
    // `--tag '{{git.short_sha}}-{{region}}'`
    let git = BTreeMap::from([("short_sha".to_owned(), "0a1b2c3".to_owned())]);
    let named = Plan { release: Some("{{git.short_sha}}-{{region}}".into()), git, ..plan() };
    assert_eq!(release(&named, Some(&digest), "us-west-2"), "0a1b2c3-us-west-2");
    let plan = Plan { release: Some("v7".into()), ..plan() };
    assert_eq!(tags(&plan, &["{{release}}".to_owned()], "us-west-2").expect("tags"), ["v7"]);
}
