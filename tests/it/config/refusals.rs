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
