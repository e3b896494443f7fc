//! What a project takes from around its file: variables, git, other files.

use std::collections::BTreeMap;

use serde_json::json;
use steadystate::config;
use steadystate::deploy::render;
use steadystate::error::Error;

use super::{load, options, project, said, with};

#[test]
fn a_missing_variable_is_named_where_it_is_needed_with_the_nearest_one() {
    let yaml = "variables: { LOG: info, TOKEN: }\n".to_owned()
        + &with(
            "    image:\n      repository: a\n      tags: [\"x-{{var.LGO}}\", '{{ git.short }}', '{{env.HOEM}}', '{{digest}}', '{{vra.X}}', '{{service}}', '{{release}}']\n      build: { image: ./a.tar }\n",
        );
    let error = load(&yaml, |options| options.env = BTreeMap::from([("HOME".into(), "/".into())])).unwrap_err();
    insta::assert_snapshot!(said(&error), @r#"
    steady.yaml:1:25 [TOKEN] variable `TOKEN` has no value
      help: give it one with --var TOKEN=…, here, or in an environment
    steady.yaml:7:19 [var.LGO] `var.LGO` is not defined
      help: did you mean `var.LOG`?
    steady.yaml:7:35 [git.short] `git.short` is not defined
      help: this folder is in no git repository with a commit
    steady.yaml:7:53 [env.HOEM] `env.HOEM` is not defined
      help: did you mean `env.HOME`?
    steady.yaml:7:69 [digest] a tag cannot refer to `digest`, which is known only after the push
      help: use `git.short_sha`, a variable, or a fixed tag
    steady.yaml:7:83 [vra.X] `vra.X` is not defined
      help: did you mean `var`?
    steady.yaml:7:111 [release] `release` is not defined
      help: give it with --var release=…; a commit of git names it, too
    "#);
    let project = load(&yaml, |options| options.without_rendering = true).unwrap();
    assert_eq!(project.plan.variables.len(), 1, "who renders nothing needs no variables");
    let good = yaml.replace("LGO", "LOG").replace("git.short", "service").replace("HOEM", "HOME");
    let good = good.replace("vra.X", "var.TOKEN").replace("digest", "cluster");
    let project = load(&good, |options| {
        options.env = BTreeMap::from([("HOME".into(), "/secret".into())]);
        options.variables = vec![("TOKEN".into(), "hunter2".into()), ("release".into(), "2".into())];
    })
    .unwrap();
    assert_eq!(project.plan.image.as_ref().unwrap().tags[0], "x-{{var.LOG}}");
    let shown = format!("{project:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("/secret"), "Debug shows no values: {shown}");
}

#[test]
fn arguments_of_var() {
    for (argument, expected) in [
        ("A=b", Some(("A", "\"b\""))),
        ("A=b=c", Some(("A", "\"b=c\""))),
        ("A=", Some(("A", "\"\""))),
        ("A=7", Some(("A", "\"7\""))),
        ("A:=7", Some(("A", "7"))),
        ("a-b:={\"x\":[1]}", Some(("a-b", "{\"x\":[1]}"))),
        ("A", None),
        ("=b", None),
        ("A B=c", None),
        ("A:=x", None),
    ] {
        let parsed = config::parse_variable(argument);
        let parsed = parsed.as_ref().ok().map(|(name, value)| (name.as_str(), value.to_string()));
        assert_eq!(parsed, expected.map(|(name, value)| (name, value.to_owned())), "{argument}");
    }
}

#[test]
fn git_answers_become_facts() {
    let status = "# branch.oid abc\n# branch.head main\n";
    type Answer = Option<&'static str>;
    let cases: [(&str, Answer, Answer, Answer, &str); 5] = [
        ("no git", None, None, None, "{}"),
        ("no commit", None, Some(status), None, "{}"),
        (
            "clean",
            Some("abcdef abc\n"),
            Some(status),
            Some("v2\nv1\n"),
            r#"{"branch": "main", "dirty": "false", "sha": "abcdef", "short_sha": "abc", "tag": "v2"}"#,
        ),
        (
            "dirty",
            Some("abcdef abc"),
            Some("# branch.head main\n1 .M N... 100644 file\n"),
            Some(""),
            r#"{"branch": "main", "dirty": "true", "sha": "abcdef", "short_sha": "abc"}"#,
        ),
        (
            "detached",
            Some("abcdef abc"),
            Some("# branch.head (detached)\n"),
            None,
            r#"{"dirty": "false", "sha": "abcdef", "short_sha": "abc"}"#,
        ),
    ];
    for (name, log, status, tags, expected) in cases {
        assert_eq!(format!("{:?}", config::git::read([log, status, tags, None])), expected, "{name}");
    }
    for query in config::git::QUERIES {
        assert!(!query.iter().any(|word| ["fetch", "commit", "push", "checkout"].contains(word)), "{query:?}");
    }
}

#[test]
fn remotes_become_urls_without_secrets() {
    let table = [
        ("https://github.com/org/repo.git", Some("https://github.com/org/repo")),
        ("https://x-access-token:ghs_S3CRET@github.com/org/repo", Some("https://github.com/org/repo")),
        (
            "https://gitlab-ci-token:S3CRET@gitlab.example.com:8443/a/b/c.git/",
            Some("https://gitlab.example.com:8443/a/b/c"),
        ),
        ("HTTPS://oauth2:S3@CRET@example.com/a.git?token=S3CRET#S3CRET", Some("https://example.com/a")),
        ("http://git.example.com/a", Some("http://git.example.com/a")),
        ("git@github.com:org/repo.git\n", Some("https://github.com/org/repo")),
        ("github.com:org/repo", Some("https://github.com/org/repo")),
        ("ssh://git@github.com:22/org/repo.git", Some("https://github.com/org/repo")),
        ("git+ssh://S3CRET@git.example.com/org/repo", Some("https://git.example.com/org/repo")),
        (
            "ssh://APKAS3CRET@git-codecommit.us-west-2.amazonaws.com/v1/repos/hello",
            Some("https://git-codecommit.us-west-2.amazonaws.com/v1/repos/hello"),
        ),
        ("git://example.com/a~b/c%20d", Some("https://example.com/a~b/c%20d")),
        ("codecommit::us-east-1://profile@repo", None),
        ("/srv/git/repo.git", None),
        ("../repo", None),
        ("./a:b", None),
        ("file:///srv/git/repo", None),
        // a host of ~/.ssh/config
        ("work:org/repo", None),
        ("C:\\repo", None),
        ("https://example.com", None),
        ("https://example.com/", None),
        ("https://example.com/.git", None),
        ("https://example.com/a b", None),
        ("https:///a/b", None),
        ("https://example.com/a@S3CRET", None),
        ("", None),
    ];
    for (remote, expected) in table {
        assert_eq!(config::git::public_url(remote).as_deref(), expected, "{remote}");
    }
}

#[test]
fn git_is_asked_in_the_projects_folder() {
    let folder = project(&with("    image: { repository: a, tags: ['{{git.tag}}'], build: { image: ./a.tar } }\n"));
    let git = |arguments: &[&str]| {
        std::process::Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !git(&["init", "-q", "-b", "trunk"]) {
        assert!(config::load(&options(folder.path())).is_err(), "no git, but the template wants it");
        return;
    }
    assert!(config::load(&options(folder.path())).unwrap_err().hints()[0].contains("no git repository"));
    assert!(git(&["add", "."]) && git(&["commit", "-qm", "x"]) && git(&["tag", "v1"]));
    let plan = config::load(&options(folder.path())).unwrap().plan;
    assert_eq!((plan.git["branch"].as_str(), plan.git["tag"].as_str()), ("trunk", "v1"));
    assert_eq!((plan.git["sha"].len(), plan.git["dirty"].as_str()), (40, "false"));
    assert!(plan.git["commit_time"].parse::<i64>().unwrap() > 1_000_000_000 && !plan.git.contains_key("source"));
    assert!(git(&["remote", "add", "origin", "https://user:s3cret@example.com/a.git"]));
    let plan = config::load(&options(folder.path())).unwrap().plan;
    assert_eq!(plan.git["source"], "https://example.com/a");
    assert_eq!(plan.release.as_deref(), Some("v1"));
    for (tags, variable, expected) in [
        (vec!["t1".to_owned(), "t2".to_owned()], json!("2"), "t1"),
        (vec![], json!("2"), "2"),
        (vec![], json!(3), "3"),
        (vec![], json!(""), "v1"),
        (vec![], json!(["no name"]), "v1"),
    ] {
        let variables = vec![("release".to_owned(), variable)];
        let plan = config::load(&config::Options { tags, variables, ..options(folder.path()) }).unwrap().plan;
        assert_eq!(plan.release.as_deref(), Some(expected));
        let templates = ["{{release}}".to_owned()];
        assert_eq!(
            render::tags(&plan, &templates, "us-west-2").unwrap(),
            [expected],
            "image tags name it the same way"
        );
    }
    std::fs::write(folder.path().join("policy.json"), "changed").unwrap();
    assert_eq!(config::load(&options(folder.path())).unwrap().plan.release.as_deref(), Some("v1-dirty"));
}

#[test]
fn the_project_file_is_looked_for_and_what_is_not_there_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let shown = |error: Error| said(&error).replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!(shown(config::load(&options(folder.path())).unwrap_err()), @r#"
    there is no steady.yaml in FOLDER
      help: `steady init` writes a first one
      help: -C names the folder of a project, -f another project file
    "#);
    let mut named = options(folder.path());
    named.file = Some("other.yaml".into());
    insta::assert_snapshot!(shown(config::load(&named).unwrap_err()), @r#"
    there is no FOLDER/other.yaml
      help: -f names the project file, relative to -C; `steady init` writes a first one
    "#);
    std::fs::write(folder.path().join("td.json"), "{}").unwrap();
    std::fs::write(folder.path().join("other.yaml"), "\u{feff}services: { a: { task_definition: td.json } }").unwrap();
    let plan = config::load(&named).unwrap().plan;
    assert_eq!((plan.service.as_str(), plan.cluster.as_str()), ("a", "default"));
    assert_eq!(&*plan.task_definition.name, folder.path().join("td.json").to_str().unwrap());
}

#[test]
fn the_other_ways_to_an_image() {
    let image = |build: &str| {
        let yaml = with(&format!("    image: {{ repository: a, build: {build} }}\n"));
        let folder = project(&yaml);
        let image = config::load(&options(folder.path())).unwrap().plan.image.unwrap();
        (format!("{:?}", image.source).replace(folder.path().to_str().unwrap(), "FOLDER"), image.create)
    };
    insta::assert_snapshot!(image("{ dockerfile: Dockerfile, args: { TOKEN: secret }, target: final }").0, @r#"
    Dockerfile(DockerfileBuild { run: None, dockerfile: "FOLDER/Dockerfile", context: "FOLDER", target: Some("final"), args: ["TOKEN"], builder: None, secrets: [], labels: {}, annotations: true, cache_from: [], cache_to: [], platforms: [] })
    "#);
    insta::assert_snapshot!(image("{ image: amazon/amazon-ecs-sample, run: make }").0, @r#"
    Existing(ExistingImage { run: Some("make"), image: "amazon/amazon-ecs-sample", platforms: [] })
    "#);
    insta::assert_snapshot!(image("{ image: ./layout }").0, @r#"
    Existing(ExistingImage { run: None, image: "FOLDER/./layout", platforms: [] })
    "#);
    assert_eq!(image("{ image: ./layout }").1, None);
    let platforms = |build: &str| {
        let shown = image(build).0;
        shown.split_once("platforms: ").map(|(_, rest)| rest.matches("architecture").count()).unwrap()
    };
    assert_eq!(platforms("{ image: nginx, platforms: [linux/amd64, linux/arm64] }"), 2);
    assert_eq!(platforms("{ dockerfile: D, platform: linux/arm64/v8 }"), 1);
    assert_eq!(platforms("{ layers: [{ from: a, to: /a, platform: linux/arm64 }], platforms: [linux/arm64] }"), 1);
}
