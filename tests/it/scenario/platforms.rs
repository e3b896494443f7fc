//! A service whose image has several platforms, each with its own program, as a person has it.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::program;
use crate::images::Workshop;
use crate::images::archives::{saved_for, told_of};
use crate::ports::free_port;
use crate::rehearsal::{Rehearsal, Run, command, get};

#[test]
fn each_platform_has_its_own_program_and_the_index_is_what_is_deployed() {
    let lab = Rehearsal::start();
    lab.lab("init -C shop --template ec2").json(0);
    let (here, other) = match std::env::consts::ARCH {
        "aarch64" => ("arm64", "amd64"),
        _ => ("amd64", "arm64"),
    };
    let port = free_port();
    program(&lab, "shop/target/here");
    lab.write("shop/target/other", "a program for another machine");
    let text = std::fs::read_to_string(lab.path("shop/steady.yaml")).unwrap();
    let run = text.lines().find(|line| line.trim_start().starts_with("run: ")).unwrap().to_owned();
    let entry = |name: &str, platform: &str| {
        format!("- {{ from: target/{name}, to: /shop, mode: \"0755\", platform: linux/{platform} }}\n          ")
    };
    let layers = entry("other", other) + &entry("here", here);
    lab.replace(
        "shop/steady.yaml",
        &[
            (&run, "        platforms: [linux/amd64, linux/arm64]"),
            ("- { from: target/my_service, to: /shop, mode: \"0755\" }\n          ", &layers),
            ("entrypoint: [/shop]", "entrypoint: [/shop, http, \"0.0.0.0:8080\", /public/index.html]"),
            ("listener: { port: 8080 }", &format!("listener: {{ port: {port} }}")),
        ],
    );
    let built = lab.lab("build -C shop").json(0);
    assert_eq!((&built["platform"], &built["platforms"]), (&Value::Null, &json!(["linux/amd64", "linux/arm64"])));
    let dry = lab.lab("deploy -C shop --dry-run").json(0);
    assert_eq!((&dry["digest"], &dry["pushes"]), (&built["digest"], &json!(true)));
    let deployed = lab.lab("deploy -C shop").json(0);
    assert_eq!((&deployed["status"], &deployed["digest"]), (&json!("steady"), &built["digest"]));
    assert_eq!(get(deployed["url"].as_str().unwrap()).0, 200, "this machine's program runs");
    let tasks = lab.call("ecs.ListTasks", json!({ "cluster": "default" }));
    let tasks = lab.call("ecs.DescribeTasks", json!({ "cluster": "default", "tasks": tasks["taskArns"] }));
    assert_eq!(tasks["tasks"][0]["containers"][0]["imageDigest"], deployed["digest"]);

    let shown = lab.lab("repo images shop").json(0);
    let index = shown.as_array().unwrap().iter().find(|image| image["digest"] == deployed["digest"]).unwrap();
    assert_eq!((&index["platforms"], &index["tags"]), (&built["platforms"], &json!(["latest"])));
    assert_eq!(shown.as_array().unwrap().len(), 1, "an index is one image");
    let input = json!({ "repositoryName": "shop", "imageIds": [{ "imageDigest": deployed["digest"] }] });
    let manifest = lab.call("ecr.BatchGetImage", input)["images"][0]["imageManifest"].clone();
    let manifest: Value = serde_json::from_str(manifest.as_str().unwrap()).unwrap();
    let architectures: Vec<&Value> =
        manifest["manifests"].as_array().unwrap().iter().map(|one| &one["platform"]["architecture"]).collect();
    assert_eq!(architectures, ["amd64", "arm64"]);

    // Again it is unchanged, and an older release comes back by its index.
    assert_eq!(lab.lab("deploy -C shop").json(0)["action"], "unchanged");
    lab.write("shop/public/index.html", "the second release");
    let second = lab.lab("deploy -C shop").json(0);
    assert_ne!(second["digest"], deployed["digest"]);
    assert_eq!(lab.lab("rollback -C shop --to 1").json(0)["digest"], deployed["digest"]);

    // What no platform of it is for is refused before anything is pushed.
    let task = lab.path("shop/task-definition.json.hbs");
    let text = std::fs::read_to_string(&task).unwrap();
    let asks = format!(
        "{{\n  \"runtimePlatform\": {{ \"cpuArchitecture\": \"{}\" }},",
        if here == "arm64" { "ARM64" } else { "X86_64" }
    );
    std::fs::write(&task, text.replacen('{', &asks, 1)).unwrap();
    lab.replace("shop/steady.yaml", &[("[linux/amd64, linux/arm64]", &format!("[linux/{other}]"))]);
    lab.replace("shop/steady.yaml", &[(&entry("here", here), "")]);
    let refused = lab.lab("deploy -C shop").json(3);
    let message = format!("the image is for linux/{other}, and the task definition asks for linux/{here}");
    assert_eq!(refused["error"]["message"], message);
}

/// An engine that builds for one platform at a time, as every engine can: what it saves is put together here.
#[test]
fn a_dockerfile_is_built_once_a_platform_by_whatever_engine_there_is() {
    let lab = Rehearsal::start();
    let workshop = Workshop::new();
    for (name, architecture) in [("amd64", "amd64"), ("arm64", "arm64")] {
        saved_for(&workshop, &format!("{name}.tar"), architecture);
        std::fs::create_dir_all(lab.path("saved")).unwrap();
        let saved = workshop.path(&format!("{name}.tar"));
        std::fs::copy(&saved, lab.path(&format!("saved/{name}.tar"))).unwrap();
        let (_, _, mut told) = told_of(&saved);
        told["FromImageID"] = "@id@".into();
        lab.write(&format!("saved/{name}.json"), &told.to_string());
    }
    // what it is asked to build is told by its id
    let script = "#!/bin/sh\nnamed() { case $1 in sha256:2*) echo arm64 ;; sha256:3*) echo clean ;; *) echo amd64 ;; esac; }\n\
         case $1 in\n  info) ;;\n  build)\n    echo \"$@\" >> \"$HOME/asked\"\n    file=$4\n    \
         case \"$*\" in *linux/arm64*) echo sha256:ARM > $file ;; *) echo sha256:AMD > $file ;; esac ;;\n  \
         inspect) sed s/@id@/$5/ \"$HOME/saved/$(named $5).json\" ;;\n  \
         push) cat \"$HOME/saved/$(named $4).tar\" ;;\nesac\n";
    let script = script.replace("ARM", &"2".repeat(64)).replace("AMD", &"1".repeat(64));
    lab.write("bin/buildah", &script);
    std::fs::set_permissions(lab.path("bin/buildah"), PermissionsExt::from_mode(0o755)).unwrap();
    lab.write("Dockerfile", "FROM scratch\n");
    lab.write(
        "task.json",
        &json!({ "family": "web", "containerDefinitions": [{ "name": "web", "image": "x", "memory": 64 }] })
            .to_string(),
    );
    lab.write(
        "steady.yaml",
        "services:\n  web:\n    task_definition: task.json\n    image:\n      repository: web\n      create: true\n      tags: [r1]\n      \
         build: { dockerfile: Dockerfile, builder: buildah, platforms: [linux/amd64, linux/arm64] }\n",
    );
    let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let steady = |words: &str| {
        let words = format!("{words} --lab -o json");
        Run::new(&command(&lab.path("")).env("PATH", &path).args(words.split_whitespace()).output().unwrap())
    };
    let pushed = steady("push").json(0);
    let asked = std::fs::read_to_string(lab.path("asked")).unwrap();
    let platforms: Vec<&str> =
        asked.lines().map(|line| line.split("--platform ").nth(1).unwrap().split(' ').next().unwrap()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    let shown = lab.lab("repo images web").json(0);
    let index = shown.as_array().unwrap().iter().find(|image| image["digest"] == pushed["digest"]).unwrap();
    assert_eq!((&index["platforms"], &index["tags"]), (&json!(["linux/amd64", "linux/arm64"]), &json!(["r1"])));

    // Nothing changed, and a runner that remembers nothing: no layer is sent again.
    for cache in [lab.path(".cache"), lab.path("elsewhere")] {
        let again = Run::new(
            &command(&lab.path(""))
                .env("PATH", &path)
                .env("XDG_CACHE_HOME", cache)
                .args("push --lab -o json --progress json".split_whitespace())
                .output()
                .unwrap(),
        );
        assert_eq!(again.json(0)["digest"], pushed["digest"]);
        assert!(!again.stderr.contains("\"state\":\"pushed\""), "{}", again.stderr);
    }
    // An engine whose cache mixes platforms builds again without it; what is for another one then is not pushed.
    for kind in ["tar", "json"] {
        let of = |name: &str| lab.path(&format!("saved/{name}.{kind}"));
        std::fs::rename(of("arm64"), of("clean")).unwrap();
        std::fs::copy(of("amd64"), of("arm64")).unwrap();
    }
    let wrong = steady("push").json(4);
    let message = wrong["error"]["message"].as_str().unwrap();
    assert_eq!(message, "buildah built for another platform than was asked for");
    assert!(wrong["error"]["causes"][0].as_str().unwrap().contains("linux/arm64 is wanted"), "{wrong}");
    lab.write(
        "bin/buildah",
        &script
            .replace("*linux/arm64*)", "*linux/arm64*--no-cache*) echo sha256:CLEAN > $file ;; *linux/arm64*)")
            .replace("CLEAN", &"3".repeat(64)),
    );
    assert_eq!(steady("push").json(0)["digest"], pushed["digest"]);
}
