//! What an image says of where it is from.

use std::collections::BTreeMap;

use steadystate::deploy::annotations::Origin;
use steadystate::error::Kind;

fn map(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_image_says_its_commit_and_never_the_clock() {
    const CLEAN: &[(&str, &str)] = &[
        ("sha", "abc"),
        ("commit_time", "1700000000"),
        ("dirty", "false"),
        ("source", "https://example.com/a"),
        ("tag", "v1"),
    ];
    const DIRTY: &[(&str, &str)] = &[("sha", "abc"), ("commit_time", "1700000000"), ("dirty", "true")];
    let shown = |git: &[(&str, &str)], epoch: Option<&str>, wanted: bool| {
        let origin = Origin::from(&map(git), epoch, wanted).unwrap();
        let said = origin
            .annotations
            .iter()
            .map(|(name, value)| format!(" {}={value}", name.strip_prefix("org.opencontainers.image.").unwrap()));
        format!("{:?} {:?}{}", origin.epoch, origin.created, said.collect::<String>())
    };
    let lines = [
        shown(CLEAN, None, true),
        shown(CLEAN, Some(""), true),
        shown(CLEAN, Some("1"), true),
        shown(DIRTY, None, true),
        shown(DIRTY, Some("1"), true),
        shown(&[], None, true),
        shown(&[], Some("1"), true),
        shown(CLEAN, None, false),
        shown(CLEAN, Some("1"), false),
    ];
    insta::assert_snapshot!(lines.join("\n"), @"
    None Some(1700000000) created=2023-11-14T22:13:20Z revision=abc source=https://example.com/a
    None Some(1700000000) created=2023-11-14T22:13:20Z revision=abc source=https://example.com/a
    Some(1) Some(1) created=1970-01-01T00:00:01Z revision=abc source=https://example.com/a
    None None revision=abc-dirty
    Some(1) Some(1) created=1970-01-01T00:00:01Z revision=abc-dirty
    None None
    Some(1) Some(1) created=1970-01-01T00:00:01Z
    None None
    Some(1) Some(1)
    ");
    for unfit in ["now", "1.5", "1700000000s", " 1", "99999999999999999999", "999999999999999999"] {
        let error = Origin::from(&map(CLEAN), Some(unfit), false).unwrap_err();
        assert_eq!(error.kind(), Kind::Input, "{unfit}");
        assert!(error.to_string().contains("SOURCE_DATE_EPOCH"), "{error}");
    }
}

#[test]
fn what_the_user_says_of_an_image_wins() {
    let git = map(&[("sha", "abc"), ("dirty", "false"), ("commit_time", "0"), ("source", "https://example.com/a")]);
    let origin = Origin::from(&git, None, true).unwrap();
    let own = map(&[("org.opencontainers.image.revision", "v7"), ("team", "web")]);
    let labels = origin.labels(&own);
    assert_eq!(labels["org.opencontainers.image.revision"], "v7");
    assert_eq!(labels["org.opencontainers.image.source"], "https://example.com/a");
    assert_eq!(labels.len(), 4);
    let annotations = origin.annotations(&own);
    assert_eq!(annotations["org.opencontainers.image.revision"], "v7");
    assert!(!annotations.contains_key("team"));
    // A label on the command line goes over one in the Dockerfile, which is the user's, too.
    let dockerfile = "FROM scratch\nLABEL org.opencontainers.image.source=\"https://example.com/b\"\n";
    let left = origin.without_those_in(dockerfile).labels(&BTreeMap::new());
    assert_eq!(left.keys().map(|name| &name[25..]).collect::<Vec<_>>(), ["created", "revision"]);
}
