//! The project file: what it becomes, and what is said about one that cannot be meant.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use steadystate::config::{self, ImageSource, LoadBalancerType, OnFailure, Options, Project, Selector};
use steadystate::error::{Error, Kind};

const FULL: &str = r#"
region: us-west-2
cluster: lab
variables: { LOG: info, LIMITS: { cpu: 256 } }
services:
  hello:
    image:
      repository: hello
      tags: ["v1", 1.10, latest]
      create: { tag_mutability: IMMUTABLE, scan_on_push: true, policy: policy.json }
      container: web
      build:
        run: cargo build --release
        platform: linux/amd64
        layers:
          - { from: target/release/hello, to: /hello, mode: 0755, owner: 1000 }
          - [{ from: public, to: /public }, { from: conf, to: /conf, owner: "0:10" }]
        entrypoint: [/hello]
        env: { PORT: 8080, DEBUG: false }
    task_definition: task-definition.json.hbs
    service: service.json.hbs
    allow_unknown_fields: true
    load_balancer:
      type: network
      listener: { port: 8080 }
      target_group: { deregistration_delay: 5s, health_check: { path: /healthz, interval: 5 } }
      container: web
      container_port: 8080
    network: { subnets: [subnet-1, subnet-2], security_groups: { tags: { Name: web } }, assign_public_ip: true }
    service_discovery: { namespace: internal, ttl: 10 }
    rollout: { timeout: 1h 30m, on_failure: stop, fail_fast: 2 }
    check_url: /healthz
    desired_count: 2
    launch_type: FARGATE
environments:
  production:
    cluster: prod
    variables: { LOG: warn }
    services:
      hello:
        desired_count: 4
        load_balancer: { listener: { port: 80 }, target_group: { health_check: { path: /ready } } }
        service_discovery: null
  staging:
"#;

fn project(yaml: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("steady.yaml"), yaml).unwrap();
    for name in ["task-definition.json.hbs", "service.json.hbs", "policy.json"] {
        std::fs::write(folder.path().join(name), "{}").unwrap();
    }
    folder
}

fn options(folder: &Path) -> Options {
    Options { directory: folder.to_owned(), ..Options::default() }
}

fn load(yaml: &str, change: impl FnOnce(&mut Options)) -> Result<Project, Error> {
    let folder = project(yaml);
    let mut options = options(folder.path());
    change(&mut options);
    config::load(&options)
}

/// An error and the others with it, each as `line:column message` and its hints, without the folder's name.
fn said(error: &Error) -> String {
    let mut text = String::new();
    for error in std::iter::once(error).chain(error.others()) {
        match error.place() {
            Some(place) => {
                let (line, column) = place.line_column();
                let file = Path::new(&*place.source.name).file_name().unwrap().to_str().unwrap();
                let marked = &place.source.text[place.span.clone()];
                writeln!(text, "{file}:{line}:{column} [{marked}] {error}").unwrap();
            }
            None => writeln!(text, "{error}").unwrap(),
        }
        for hint in error.hints() {
            writeln!(text, "  help: {hint}").unwrap();
        }
    }
    text
}

fn refusal(yaml: &str) -> String {
    let error = load(yaml, |_| ()).expect_err("refused");
    assert_eq!(error.kind(), Kind::Input);
    said(&error)
}

/// A service that lacks nothing, with more lines under it.
fn with(lines: &str) -> String {
    format!("services:\n  hello:\n    task_definition: task-definition.json.hbs\n{lines}")
}

#[test]
fn all_of_a_project_file_arrives_in_the_plan() {
    let folder = project(FULL);
    let Project { plan, region, .. } = config::load(&options(folder.path())).unwrap();
    assert_eq!(region.as_deref(), Some("us-west-2"));
    assert_eq!((plan.service.as_str(), plan.cluster.as_str(), &plan.environment), ("hello", "lab", &None));
    assert_eq!(plan.project, folder.path());
    assert!(plan.allow_unknown_fields && plan.service_document.is_some());
    assert_eq!(plan.variables["LIMITS"]["cpu"], 256);
    assert_eq!((plan.desired_count, plan.launch_type.as_deref()), (Some(2), Some("FARGATE")));

    let image = plan.image.unwrap();
    assert_eq!(image.tags, ["v1", "1.10", "latest"]);
    assert_eq!(image.run(), Some("cargo build --release"));
    let create = image.create.unwrap();
    assert_eq!((create.tag_mutability.as_deref(), create.scan_on_push), (Some("IMMUTABLE"), Some(true)));
    assert!(create.policy.unwrap().name.ends_with("policy.json"));
    let ImageSource::Layers(build) = image.source else { panic!("layers") };
    assert_eq!(build.layers.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(build.layers[0][0].from, folder.path().join("target/release/hello"));
    assert_eq!((build.layers[0][0].mode, build.layers[0][0].owner), (Some(0o755), Some((1000, 1000))));
    assert_eq!(build.layers[1][1].owner, Some((0, 10)));
    assert_eq!(build.env, BTreeMap::from([("PORT".into(), "8080".into()), ("DEBUG".into(), "false".into())]));

    let balancer = plan.load_balancer.unwrap();
    assert_eq!((balancer.kind, balancer.create), (LoadBalancerType::Network, true));
    assert_eq!((balancer.listener.port, balancer.listener.protocol.as_str()), (8080, "TCP"));
    assert_eq!(balancer.target_group.deregistration_delay, Some(Duration::from_secs(5)));
    assert_eq!(balancer.target_group.health_check.path.as_deref(), Some("/healthz"));

    let network = plan.network.unwrap();
    assert_eq!(network.subnets, Selector::Ids(vec!["subnet-1".into(), "subnet-2".into()]));
    assert_eq!(network.security_groups, Selector::Tags(BTreeMap::from([("Name".into(), "web".into())])));
    let discovery = plan.service_discovery.unwrap();
    assert_eq!((discovery.namespace.as_str(), discovery.name.as_str()), ("internal", "hello"));
    assert_eq!(plan.rollout.timeout, Duration::from_secs(5400));
    assert_eq!((plan.rollout.on_failure, plan.rollout.fail_fast), (OnFailure::Stop, 2));
}

#[test]
fn an_environment_is_merged_deep_and_flags_go_over_both() {
    let folder = project(FULL);
    let mut options = options(folder.path());
    options.environment = Some("production".into());
    let plan = config::load(&options).unwrap().plan;
    assert_eq!((plan.cluster.as_str(), plan.desired_count), ("prod", Some(4)));
    assert_eq!(plan.variables["LOG"], "warn");
    assert_eq!(plan.variables["LIMITS"]["cpu"], 256);
    let balancer = plan.load_balancer.unwrap();
    assert_eq!(balancer.listener.port, 80);
    assert_eq!(balancer.container_port, Some(8080));
    assert_eq!(balancer.target_group.health_check.interval, Some(Duration::from_secs(5)));
    assert_eq!(balancer.target_group.health_check.path.as_deref(), Some("/ready"));
    assert_eq!(plan.service_discovery, None, "an explicit null takes a section away");

    options.cluster = Some("other".into());
    options.region = Some("eu-west-1".into());
    options.desired_count = Some(0);
    options.timeout = Some(Duration::from_secs(7));
    options.tags = vec!["v2".into()];
    options.check_url = Some("/x".into());
    options.variables = vec![config::parse_variable("LOG=debug").unwrap(), config::parse_variable("N:=[1]").unwrap()];
    let Project { plan, region, .. } = config::load(&options).unwrap();
    assert_eq!((plan.cluster.as_str(), region.as_deref(), plan.desired_count), ("other", Some("eu-west-1"), Some(0)));
    assert_eq!((plan.rollout.timeout.as_secs(), plan.release.as_deref()), (7, Some("v2")));
    assert_eq!((plan.image.unwrap().tags, plan.check_url.as_deref()), (vec!["v2".to_owned()], Some("/x")));
    assert_eq!((&plan.variables["LOG"], &plan.variables["N"]), (&"debug".into(), &serde_json::json!([1])));

    options.environment = Some("staging".into());
    assert_eq!(config::load(&options).unwrap().plan.environment.as_deref(), Some("staging"));
}

#[test]
fn the_service_is_the_only_one_or_the_one_that_was_named() {
    let two = "services:\n  web: { task_definition: policy.json }\n  worker: { task_definition: policy.json }\n";
    insta::assert_snapshot!(refusal(two), @r#"
    steady.yaml:1:1 [services] this project has 2 services: which one?
      help: say --service with one of web, worker
    "#);
    assert_eq!(load(two, |options| options.service = Some("worker".into())).unwrap().plan.service, "worker");
    let error = load(two, |options| options.service = Some("wroker".into())).unwrap_err();
    insta::assert_snapshot!(said(&error), @r#"
    steady.yaml:1:1 [services] there is no service `wroker`
      help: did you mean `worker`?
    "#);
    let error = load(FULL, |options| options.environment = Some("prodution".into())).unwrap_err();
    insta::assert_snapshot!(said(&error), @r#"
    steady.yaml:35:1 [environments] there is no environment `prodution`
      help: did you mean `production`?
    "#);
}

#[test]
fn what_cannot_be_meant_is_named_with_its_place_and_all_at_once() {
    insta::assert_snapshot!(refusal("regoin: us-west-2\nservices: { a: { task_definition: 7 } }\ncluster: [x]\n"), @r#"
    steady.yaml:1:1 [regoin] unknown key `regoin`
      help: did you mean `region`?
    steady.yaml:2:35 [7] `services.a.task_definition` has to be a string, not a number
      help: put it in quotes: "7"
    steady.yaml:3:10 [[] `cluster` has to be a string, not a list
    "#);
    insta::assert_snapshot!(refusal(&with("    rollout: { timeot: 15m, on_failure: rolback, fail_fast: \"3\" }\n")), @r#"
    steady.yaml:4:16 [timeot] unknown key `timeot` in `services.hello.rollout`
      help: did you mean `timeout`?
    steady.yaml:4:41 [rolback] `services.hello.rollout.on_failure` cannot be `rolback`
      help: did you mean `rollback`?
    steady.yaml:4:61 ["3"] `services.hello.rollout.fail_fast` has to be a number between 0 and 1000, not a string
      help: leave the quotes out: 3
    "#);
    insta::assert_snapshot!(refusal(&with("    network: { assign_public_ip: yes, subnets: [web], security_groups: sg-1 }\n")), @r#"
    steady.yaml:4:34 [yes] `services.hello.network.assign_public_ip` has to be true or false, not a string
      help: YAML 1.2 spells it `true`
    steady.yaml:4:49 [web] `web` in `services.hello.network.subnets` is no id: those begin with `subnet-`
      help: choose by name with subnets: { tags: { Name: web } }
    steady.yaml:4:72 [sg-1] `services.hello.network.security_groups` has to be `default`, a list of ids or a map with `tags`, not a string
    "#);
    insta::assert_snapshot!(refusal(&with("    load_balancer: { type: aplication }\n    check_url: healthz\n")), @r#"
    steady.yaml:4:5 [load_balancer] `services.hello.load_balancer.listener` is missing
      help: give it a port: listener: { port: 80 }
    steady.yaml:4:28 [aplication] `services.hello.load_balancer.type` cannot be `aplication`
      help: did you mean `application`?
    steady.yaml:5:16 [healthz] `services.hello.check_url` has to begin with a slash
      help: did you mean `/healthz`?
    "#);
    insta::assert_snapshot!(refusal(&with(
        "    load_balancer: { type: application, name: web, arn: web, listener: { port: 70000, protocol: TCP } }\n"
    )), @r#"
    steady.yaml:4:41 [name] `services.hello.load_balancer.arn` and `services.hello.load_balancer.name` exclude each other
      help: with `arn` an existing one is used as it is; leave `name` out
    steady.yaml:4:57 [web] `services.hello.load_balancer.arn` is no ARN of a load balancer: `web`
      help: ARNs begin with `arn:aws:`; for a name use `name`
    steady.yaml:4:80 [70000] `services.hello.load_balancer.listener.port` has to be a number between 1 and 65535, not 70000
    steady.yaml:4:97 [TCP] an application load balancer has no TCP listener
      help: its listeners speak HTTP or HTTPS
    "#);
    insta::assert_snapshot!(refusal(&with("    image: { build: { layers: [{ to: hello, mode: \"rwx\" }], dockerfile: D } }\n")), @r#"
    steady.yaml:4:5 [image] `services.hello.image.repository` is missing
      help: name the ECR repository that the image is pushed to
    steady.yaml:4:73 [D] `layers` and `dockerfile` exclude each other in `image.build`
      help: an image is made in one of these ways: keep one of them
    "#);
    insta::assert_snapshot!(refusal(&with("    image: { repository: 1, build: { layers: [{ to: ../hello, mode: rwx, owner: me }] } }\n")), @r#"
    steady.yaml:4:26 [1] `services.hello.image.repository` has to be a string, not a number
      help: put it in quotes: "1"
    steady.yaml:4:47 [{] `services.hello.image.build.layers.from` is missing
      help: a layer is made of entries such as { from: target/release/hello, to: /hello }
    steady.yaml:4:53 [../hello] `services.hello.image.build.layers.to` has to be an absolute path without `..`
      help: did you mean `/hello`?
    steady.yaml:4:69 [rwx] `services.hello.image.build.layers.mode` has to be permission bits in octal, not `rwx`
      help: write it as "0755" or "0644"
    steady.yaml:4:81 [me] `services.hello.image.build.layers.owner` has to be numeric ids, not `me`
      help: write it as "1000:1000"; names are only known inside of an image
    "#);
    insta::assert_snapshot!(refusal("services:\n  hello:\n    task_definition: task-definition.json\n    desired_count: -1\n"), @r#"
    steady.yaml:3:22 [task-definition.json] cannot read `task-definition.json`: No such file or directory (os error 2)
      help: did you mean `task-definition.json.hbs`?
    steady.yaml:4:20 [-1] `services.hello.desired_count` has to be a number between 0 and 5000, not -1
    "#);
    insta::assert_snapshot!(refusal("services: {}\n"), @r#"
    steady.yaml:1:1 [services] `services` is empty
      help: `steady init` writes an example
    "#);
    insta::assert_snapshot!(refusal("cluster: x\n"), @r#"
    steady.yaml:1:1 [] `services` is missing
      help: a project has at least one service; `steady init` writes an example
    "#);
    insta::assert_snapshot!(refusal("- services\n"), @r#"
    steady.yaml:1:1 [] the project file has to be a map, not a list
    "#);
    insta::assert_snapshot!(refusal(&(with("") + "environments: { prod: { clutser: x, services: { helo: {} } }, dev: 5 }\n")), @r#"
    steady.yaml:4:25 [clutser] unknown key `clutser` in `environments.prod`
      help: did you mean `cluster`?
    steady.yaml:4:49 [helo] there is no service `helo` to override
      help: did you mean `hello`?
    steady.yaml:4:68 [5] `environments.dev` has to be a map, not a number
    "#);
    insta::assert_snapshot!(refusal(&(with("") + "environments:\n  prod:\n    services:\n      hello:\n        desird_count: 1\n")), @r#"
    steady.yaml:8:9 [desird_count] unknown key `desird_count` in `services.hello`
      help: did you mean `desired_count`?
    "#);
}

#[test]
fn yaml_that_is_none_and_yaml_that_explodes_are_refused_with_their_place() {
    insta::assert_snapshot!(refusal("cluster: a\ncluster: b\n"), @r#"
    steady.yaml:2:1 [cluster] the key `cluster` is there twice
      help: keep one of them
    "#);
    insta::assert_snapshot!(refusal("services:\n  hello: [\n"), @r#"
    steady.yaml:2:10 [[] this is not valid YAML: unclosed bracket '['
    "#);
    insta::assert_snapshot!(refusal("cluster: \"a\n"), @r#"
    steady.yaml:2:1 [] this is not valid YAML: invalid indentation in multiline quoted scalar
    "#);
    insta::assert_snapshot!(refusal("cluster: a\n---\ncluster: b\n"), @r#"
    steady.yaml:2:1 [-] there is more than one YAML document
      help: a project file is one: leave out the `---`
    "#);
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        writeln!(bomb, "a{level}: &a{level} [{list}]").unwrap();
    }
    let started = std::time::Instant::now();
    let refused = refusal(&bomb);
    assert!(refused.contains("unfolds beyond"), "{refused}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let deep = format!("cluster: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(refusal(&deep).contains("YAML"));
    assert!(refusal(&("x: ".to_owned() + &"y".repeat(2 << 20))).contains("bytes long"));
}

#[test]
fn a_missing_variable_is_named_where_it_is_needed_with_the_nearest_one() {
    let yaml = "variables: { LOG: info, TOKEN: }\n".to_owned()
        + &with(
            "    image:\n      repository: a\n      tags: [\"x-{{var.LGO}}\", '{{ git.short }}', '{{env.HOEM}}', '{{digest}}', '{{vra.X}}', '{{service}}']\n      build: { image: ./a.tar }\n",
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
    "#);
    let good = yaml.replace("LGO", "LOG").replace("git.short", "service").replace("HOEM", "HOME");
    let good = good.replace("vra.X", "var.TOKEN").replace("digest", "cluster");
    let project = load(&good, |options| {
        options.env = BTreeMap::from([("HOME".into(), "/secret".into())]);
        options.variables = vec![("TOKEN".into(), "hunter2".into())];
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
    let cases: [(&str, Option<&str>, Option<&str>, Option<&str>, &str); 5] = [
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
        assert_eq!(format!("{:?}", config::git::read(log, status, tags)), expected, "{name}");
    }
    for query in config::git::QUERIES {
        assert!(!query.iter().any(|word| ["fetch", "commit", "push", "checkout"].contains(word)), "{query:?}");
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
    assert_eq!(plan.release.as_deref(), Some("v1"));
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
    Dockerfile(DockerfileBuild { run: None, dockerfile: "FOLDER/Dockerfile", context: "FOLDER", target: Some("final"), args: ["TOKEN"], platform: None })
    "#);
    insta::assert_snapshot!(image("{ image: amazon/amazon-ecs-sample, run: make }").0, @r#"
    Existing(ExistingImage { run: Some("make"), image: "amazon/amazon-ecs-sample" })
    "#);
    insta::assert_snapshot!(image("{ image: ./layout }").0, @r#"
    Existing(ExistingImage { run: None, image: "FOLDER/./layout" })
    "#);
    assert_eq!(image("{ image: ./layout }").1, None);
}
