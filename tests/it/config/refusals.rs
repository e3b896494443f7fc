//! What is said about a project file that cannot be meant.

use steadystate::config;

use super::{refusal, with};

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
    let image =
        "    image: { repository: a, create: { tag_mutability_exclusions: [latest] }, build: { image: nginx } }\n";
    insta::assert_snapshot!(refusal(&with(image)), @r#"
    steady.yaml:4:66 [[] `tag_mutability_exclusions` are at most five exceptions to `tag_mutability`
      help: say which it is: `tag_mutability: IMMUTABLE`
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
    insta::assert_snapshot!(refusal(&with("    image: { repository: 1, build: { layers: [{ to: ../hello, mode: rwx, owner: 'me:', folder_mod: 7 }] } }\n")), @r#"
    steady.yaml:4:26 [1] `services.hello.image.repository` has to be a string, not a number
      help: put it in quotes: "1"
    steady.yaml:4:47 [{] `services.hello.image.build.layers.from` is missing
      help: a layer is made of entries such as { from: target/release/hello, to: /hello }
    steady.yaml:4:53 [../hello] `services.hello.image.build.layers.to` has to be an absolute path without `..`
      help: did you mean `/hello`?
    steady.yaml:4:69 [rwx] `services.hello.image.build.layers.mode` has to be permission bits in octal, not `rwx`
      help: write it as "0755" or "0644"
    steady.yaml:4:81 ['me:'] `services.hello.image.build.layers.owner` has to be a user, or user:group, not `me:`
      help: write it as "1000:1000", or with names that the image's `/etc/passwd` and `/etc/group` have
    steady.yaml:4:88 [folder_mod] unknown key `folder_mod` in `services.hello.image.build.layers`
      help: did you mean `folder_mode`?
    "#);
    insta::assert_snapshot!(refusal(&with(
        "    image: { repository: a, build: { dockerfile: D, platform: linux/amd46, platforms: [arm64, linux/arm64, linux/arm64] } }\n"
    )), @r#"
    steady.yaml:4:63 [linux/amd46] `linux/amd46` is not a platform
      help: did you mean `linux/amd64`?
    steady.yaml:4:88 [arm64] `arm64` is not a platform
      help: did you mean `linux/arm64`?
    steady.yaml:4:108 [linux/arm64] `services.hello.image.build.platforms` names linux/arm64 twice
    "#);
    insta::assert_snapshot!(refusal(&with(
        "    image: { repository: a, build: { layers: [{ from: a, to: /a, platform: linux/arm64 }], platform: linux/amd64 } }\n"
    )), @r#"
    steady.yaml:4:47 [{] `services.hello.image.build.layers` has an entry for linux/arm64, which is not built
      help: name it in `services.hello.image.build.platforms`
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
    let deep = format!("cluster: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(refusal(&deep).contains("YAML"));
    assert!(refusal(&("x: ".to_owned() + &"y".repeat(2 << 20))).contains("bytes long"));
}

/// The rules of what layers leave out are read with the project file, and named by their own line.
#[test]
fn what_layers_leave_out_is_checked_too() {
    let folder = super::project(&with(
        "    image: { repository: a, build: { layers: [{ from: a, to: /a, dockerignore: web.ignore }, \
         { from: a, to: /b, dockerignore: true }, { from: a, to: /b, dockerignore: no.ignore }] } }\n",
    ));
    // A folder that is there, and of which nothing would be left, need not be built for first.
    let refused = super::project(&with(
        "    image: { repository: a, build: { layers: [{ from: ./dist, to: /a }, { from: dist, to: /b, dockerignore: false }] } }\n",
    ));
    std::fs::write(refused.path().join(".dockerignore"), "dist/\n").unwrap();
    let load = || config::load(&super::options(refused.path()));
    assert!(load().is_ok(), "it may yet become a file");
    std::fs::create_dir(refused.path().join("dist")).unwrap();
    insta::assert_snapshot!(super::said(&load().unwrap_err()), @"
    steady.yaml:4:55 [./dist] `./dist` is left out by `.dockerignore`, and a layer is to be made of it
      help: give this entry `dockerignore: false`, or except the folder with a line that begins with `!`
    ");
    std::fs::write(folder.path().join(".dockerignore"), "*.md\n!\n").unwrap();
    std::fs::write(folder.path().join("web.ignore"), "# ours\n\n  a[b\nb\\\n").unwrap();
    let error = config::load(&super::options(folder.path())).unwrap_err();
    insta::assert_snapshot!(super::said(&error), @"
    .dockerignore:2:1 [!] `!` is not a pattern: there is nothing after the `!`
      help: a backslash before `*`, `?`, `[`, `]`, `!` or `#` makes it an ordinary letter
    web.ignore:3:3 [a[b] `a[b` is not a pattern: its `[` has no `]`
      help: a backslash before `*`, `?`, `[`, `]`, `!` or `#` makes it an ordinary letter
    steady.yaml:4:127 [true] `services.hello.image.build.layers.dockerignore` has to be a file's name or false, not a boolean
    steady.yaml:4:168 [no.ignore] cannot read `no.ignore`: No such file or directory (os error 2)
      help: did you mean `web.ignore`?
    ");
}

#[test]
fn what_no_deployment_strategy_can_be_is_named_with_its_place() {
    let rollout = |members: &str| refusal(&with(&format!("    rollout: {{ {members} }}\n")));
    insta::assert_snapshot!(rollout("strategy: blue_green, percent: 2.55, bake_time: 5, alarm: [a]"), @r#"
    steady.yaml:4:26 [blue_green] `services.hello.rollout.strategy` cannot be `blue_green`
      help: did you mean `BLUE_GREEN`?
    steady.yaml:4:47 [2.55] `services.hello.rollout.percent` has to be a number between 0.1 and 100, with at most one digit after the point, not 2.55
    steady.yaml:4:64 [5] `services.hello.rollout.bake_time` has to be whole minutes, not 5
      help: a number without a unit is seconds: did you mean `5m`?
    steady.yaml:4:67 [alarm] unknown key `alarm` in `services.hello.rollout`
      help: did you mean `alarms`?
    "#);
    insta::assert_snapshot!(rollout("strategy: LINEAR, percent: 2, step_bake_time: 25h, bake_time: soon, alarms: { name: [a] }"), @r#"
    steady.yaml:4:43 [2] `services.hello.rollout.percent` has to be a number between 3 and 100, with at most one digit after the point, not 2
    steady.yaml:4:62 [25h] `services.hello.rollout.step_bake_time` has to be between 0 and 1440 minutes, not 25h
    steady.yaml:4:78 [soon] `services.hello.rollout.bake_time` is not a duration: `soon`
      help: write it as 5m or 1h 30m
    steady.yaml:4:94 [name] unknown key `name` in `services.hello.rollout.alarms`
      help: did you mean `names`?
    "#);
    insta::assert_snapshot!(rollout("strategy: BLUE_GREEN, percent: 10"), @r#"
    steady.yaml:4:38 [percent] `services.hello.rollout.percent` is of the strategies CANARY and LINEAR
      help: BLUE_GREEN shifts no traffic in steps: leave it out, or choose another `strategy:`
    "#);
    insta::assert_snapshot!(rollout("circuit_breaker: { treshold: { type: COUNTS } }, on_pause: leave"), @r#"
    steady.yaml:4:35 [treshold] unknown key `treshold` in `services.hello.rollout.circuit_breaker`
      help: did you mean `threshold`?
    steady.yaml:4:75 [leave] `services.hello.rollout.on_pause` cannot be `leave`
      help: it is one of wait, exit
    "#);
    insta::assert_snapshot!(rollout(
        "hooks: [{ type: PAUSE, stages: [PRODUCTION_TRAFFIC_SHIFT, POST_SCALEUP], function: f, timeout: 30s }, { stages: [] }, \
         { type: AWS_LAMBDA, on_timeout: ROLLBACK }, pause]"
    ), @r#"
    steady.yaml:4:48 [PRODUCTION_TRAFFIC_SHIFT] a deployment cannot pause at PRODUCTION_TRAFFIC_SHIFT
      help: it can at RECONCILE_SERVICE, PRE_SCALE_UP, POST_SCALE_UP, POST_TEST_TRAFFIC_SHIFT, PRE_PRODUCTION_TRAFFIC_SHIFT, POST_PRODUCTION_TRAFFIC_SHIFT
    steady.yaml:4:74 [POST_SCALEUP] `POST_SCALEUP` is no lifecycle stage that a hook can have
      help: did you mean `POST_SCALE_UP`?
    steady.yaml:4:89 [function] a hook of type PAUSE has no `function`
      help: with a function its type is AWS_LAMBDA
    steady.yaml:4:111 [30s] `services.hello.rollout.hooks.timeout` has to be whole minutes, not 30s
      help: write it as 5m or 1h 30m
    steady.yaml:4:118 [{] `services.hello.rollout.hooks.type` is missing
      help: it is `PAUSE` or `AWS_LAMBDA`
    steady.yaml:4:128 [[] `services.hello.rollout.hooks.stages` is an empty list
      help: its stages can be RECONCILE_SERVICE, PRE_SCALE_UP, POST_SCALE_UP, TEST_TRAFFIC_SHIFT, POST_TEST_TRAFFIC_SHIFT, PRE_PRODUCTION_TRAFFIC_SHIFT, PRODUCTION_TRAFFIC_SHIFT, POST_PRODUCTION_TRAFFIC_SHIFT
    steady.yaml:4:134 [{] `services.hello.rollout.hooks.stages` is missing
      help: name a stage at least, such as stages: [POST_TEST_TRAFFIC_SHIFT]
    steady.yaml:4:134 [{] `services.hello.rollout.hooks.function` is missing
      help: the function's ARN: ECS asks it whether the deployment may go on
    steady.yaml:4:134 [{] `services.hello.rollout.hooks.role` is missing
      help: the ARN of the role in which ECS calls the function
    steady.yaml:4:166 [ROLLBACK] `services.hello.rollout.hooks.on_timeout` cannot be `ROLLBACK`
      help: did you mean `rollback`?
    steady.yaml:4:178 [pause] `services.hello.rollout.hooks` has to be a map, not a string
    "#);
    insta::assert_snapshot!(refusal(&with(
        "    load_balancer: { type: application, listener: { port: 80 }, advanced_configuration: { rol: r, \
         alternate_target_group: { name: a, arn: b }, test_listener: { protocol: TCP } } }\n"
    )), @r#"
    steady.yaml:4:91 [rol] unknown key `rol` in `services.hello.load_balancer.advanced_configuration`
      help: did you mean `role`?
    steady.yaml:4:125 [name] `services.hello.load_balancer.advanced_configuration.alternate_target_group.arn` and `services.hello.load_balancer.advanced_configuration.alternate_target_group.name` exclude each other
      help: with `arn` an existing one is used as it is; leave `name` out
    steady.yaml:4:139 [b] `services.hello.load_balancer.advanced_configuration.alternate_target_group.arn` is no ARN of a target group: `b`
      help: ARNs begin with `arn:aws:`; for a name use `name`
    steady.yaml:4:144 [test_listener] `services.hello.load_balancer.advanced_configuration.test_listener.port` is missing
      help: the port that clients connect to, such as 80
    steady.yaml:4:171 [TCP] an application load balancer has no TCP listener
      help: its listeners speak HTTP or HTTPS
    "#);
}
