//! `steady mirror`, and `image:` in another registry, from a registry of the tests into the lab's.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use steadystate::image::{Image, digest, manifest};
use tokio::task::block_in_place;

use crate::images::Workshop;
use crate::images::indexes::{attested, image_for};
use crate::registry::fake::{Fake, refuse};
use crate::rehearsal::{Rehearsal, Run, command};

/// A registry with an index under `v1`, with what is attested of it, and an image by itself under `v2`.
async fn source() -> (Workshop, Fake, String, Vec<Image>) {
    let (workshop, fake) = (Workshop::new(), Fake::start().await);
    let images = ["linux/amd64", "linux/arm64"].map(|text| image_for(&workshop, text));
    let (index, all) = attested(&images);
    let client = crate::registry::client(&fake);
    for image in &all {
        crate::registry::push(&client, image, &[]).await.unwrap();
    }
    crate::registry::push(&client, &images[0], &["v2"]).await.unwrap();
    let document = (manifest::OCI_INDEX.to_owned(), bytes::Bytes::from(index.clone()));
    let mut inner = fake.inner.lock().unwrap();
    inner.manifests.insert("v1".into(), document.clone());
    inner.manifests.insert(digest::of(index.as_bytes()), document);
    drop(inner);
    fake.forget();
    (workshop, fake, digest::of(index.as_bytes()), all)
}

fn mirror(lab: &Rehearsal, arguments: &str) -> Run {
    block_in_place(|| lab.lab(&format!("mirror {arguments}")))
}

/// The tags of each digest in a repository of the lab's.
fn images(lab: &Rehearsal, repository: &str) -> Vec<(String, Value)> {
    let reply = block_in_place(|| lab.call("ecr.DescribeImages", json!({ "repositoryName": repository })));
    let mut images: Vec<(String, Value)> = reply["imageDetails"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| (image["imageDigest"].as_str().unwrap().to_owned(), image["imageTags"].clone()))
        .collect();
    images.sort_by(|one, other| one.0.cmp(&other.0));
    images
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_brought_with_all_that_belongs_to_it_and_then_it_is_there() {
    let lab = block_in_place(Rehearsal::start);
    let (_workshop, from, digest, all) = source().await;
    let source = format!("{}/hello:v1", from.address);

    let planned = mirror(&lab, &format!("{source} --create-repository --dry-run")).json(0);
    assert_eq!((&planned[0]["status"], &planned[0]["digest"]), (&json!("missing"), &json!(digest)));
    let missing = mirror(&lab, &source).json(4);
    assert!(missing["error"]["causes"][0].as_str().unwrap().contains("does not exist"), "{missing}");
    assert_eq!(from.count("GET", ""), 0, "nothing was pulled for that");

    let done = mirror(&lab, &format!("{source} --create-repository")).json(0);
    let image = format!("{}/hello@{digest}", lab.host);
    let expected = json!([{
        "status": "mirrored", "source": source, "image": image, "digest": digest, "tags": ["v1"],
        "sent": 9, "sentBytes": done[0]["sentBytes"], "mounted": 0, "existed": 0, "error": null,
    }]);
    assert_eq!(done, expected);
    let mut there: Vec<(String, Value)> = all.iter().map(|image| (image.digest.clone(), Value::Null)).collect();
    there.push((digest.clone(), json!(["v1"])));
    there.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(images(&lab, "hello"), there);

    // Nothing to do is a question at either side.
    from.forget();
    let again = mirror(&lab, &source).json(0);
    assert_eq!((&again[0]["status"], &again[0]["sent"]), (&json!("exists"), &json!(0)));
    assert_eq!(from.counted(), ["1 × HEAD manifests/v 200"]);
    let by_digest = mirror(&lab, &format!("{}/hello@{digest}", from.address)).json(0);
    assert_eq!((&by_digest[0]["status"], &by_digest[0]["tags"]), (&json!("exists"), &json!([])));

    // Some of it, under other names, and what the registry has is mounted or found.
    from.forget();
    let one = mirror(&lab, &format!("{source} --platform linux/arm64 --tag arm --tag newest")).json(0);
    assert_eq!(one[0]["digest"], all[1].digest.as_str());
    assert_eq!((&one[0]["sent"], &one[0]["tags"]), (&json!(0), &json!(["arm", "newest"])));
    assert_eq!(from.count("GET", "/blobs/"), 0);
    let elsewhere = mirror(&lab, &format!("{source} --prefix from/tests --create-repository")).json(0);
    assert_eq!(elsewhere[0]["image"], format!("{}/from/tests/hello@{digest}", lab.host));

    // From one of ECR's repositories to another nothing travels, where the account allows that.
    let own = format!("{}/hello:v1", lab.host);
    let sent = mirror(&lab, &format!("{own} --repository sent --create-repository")).json(0);
    assert_eq!((&sent[0]["mounted"], &sent[0]["sent"]), (&json!(0), &json!(9)), "{sent}");
    let setting = json!({ "name": "BLOB_MOUNTING", "value": "ENABLED" });
    block_in_place(|| lab.call("ecr.PutAccountSetting", setting));
    let copied = mirror(&lab, &format!("{own} --repository copy --create-repository")).json(0);
    assert_eq!((&copied[0]["status"], &copied[0]["digest"]), (&json!("mirrored"), &json!(digest)));
    assert_eq!((&copied[0]["mounted"], &copied[0]["sent"]), (&json!(9), &json!(0)), "{copied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_stops_no_other_and_all_is_said() {
    let lab = block_in_place(Rehearsal::start);
    let (_workshop, from, digest, _) = source().await;
    let host = from.address;
    let list = format!(
        "# what we run\n{host}/hello:v1\n{host}/hello:gone one/gone\n\n{host}/hello:v2  two:stable # pinned\n{host}/hello:lost two\n"
    );
    lab.write("images.txt", &list);
    let run = mirror(&lab, "--from-file images.txt --create-repository");
    let ended = run.json(4);
    assert_eq!(ended["status"], "buildOrPush");
    let states: Vec<&Value> = ended["results"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
    assert_eq!(states, ["mirrored", "failed", "mirrored", "failed"]);
    assert_eq!(ended["results"][2]["image"].as_str().unwrap().split('@').next().unwrap(), format!("{}/two", lab.host));
    assert_eq!(ended["error"]["message"], format!("{host}/hello:gone was not mirrored to one/gone"));
    assert_eq!(ended["error"]["others"][0]["message"], format!("{host}/hello:lost was not mirrored to two"));
    let why = format!("there is no image {host}/hello:lost");
    assert_eq!(ended["error"]["others"][0]["causes"], json!([why]));
    assert_eq!(ended["results"][3]["error"], why.as_str());
    assert!(images(&lab, "hello").iter().any(|(found, tags)| *found == digest && tags == &json!(["v1"])));
    assert_eq!(images(&lab, "two")[0].1, json!(["stable"]));

    // The same list from a pipe.
    let mut piped = command(&lab.path(""));
    piped.args("mirror --from-file - --dry-run --lab -o json".split_whitespace()).stdin(std::process::Stdio::piped());
    let output = block_in_place(|| {
        let mut child = piped.stdout(std::process::Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(format!("{host}/hello:v1\n{host}/hello:v2 new\n").as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let piped = Run::new(&output).json(0);
    assert_eq!((&piped[0]["status"], &piped[1]["status"]), (&json!("exists"), &json!("missing")));

    // People get the same: what was done on stdout, what was not on stderr.
    let text = block_in_place(|| lab.steady("mirror --from-file images.txt --lab"));
    assert_eq!(text.code, 4);
    assert!(text.stdout.contains("exists") && text.stdout.contains("failed"), "{}", text.stdout);
    assert!(
        text.stderr.contains("hello:gone was not mirrored") && text.stderr.contains("hello:lost"),
        "{}",
        text.stderr
    );
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("list"), "nginx:1.27\nnginx 1.27 latest\n").unwrap();
    std::fs::write(folder.path().join("empty"), "# nothing\n").unwrap();
    let cases = [
        ("", "SOURCE"),
        ("nginx:1.27 quay.io/team/nginx:1.27 --repository web", "would both be web:1.27"),
        ("nginx:1.27 nginx:1.28 --tag stable", "would both be nginx:stable"),
        ("Nginx:1.27", "lower case"),
        ("nginx --tag not/one", "is not a tag"),
        ("nginx --repository UPPER", "lower case"),
        ("nginx --repository web:1", "names more than a repository"),
        ("nginx --platform linux/x86_64", "linux/amd64"),
        ("nginx --repository a --prefix b", "cannot be used with"),
        ("--from-file nowhere", "cannot read nowhere"),
        ("--from-file empty", "the list is empty"),
        ("--from-file list", "a line has a source"),
    ];
    for (line, expected) in cases {
        let words = format!("mirror {line} -o json");
        let run = Run::new(&command(folder.path()).args(words.split_whitespace()).output().unwrap());
        assert_eq!(run.code, 2, "{line}: {}", run.stderr);
        assert!(run.stdout.contains(expected) || run.stderr.contains(expected), "{line}: {}{}", run.stdout, run.stderr);
    }
    // Without credentials it is one failure, before anything.
    let words = "mirror nginx:1.27 redis:8 -o json --region us-west-2";
    let run = Run::new(&command(folder.path()).args(words.split_whitespace()).output().unwrap()).json(3);
    assert!(run["error"]["others"].is_null() && run["results"].is_null(), "{run}");
    let words = ["mirror", "--from-file", "list", "-o", "json"];
    let run = Run::new(&command(folder.path()).args(words).output().unwrap()).json(2);
    assert_eq!((&run["error"]["file"], &run["error"]["line"]), (&json!("list"), &json!(2)));
}

/// Docker's configuration is read, its helpers are asked, and nothing is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_private_source_is_entered_by_docker_s_login() {
    let lab = block_in_place(Rehearsal::start);
    let (_workshop, from, digest, _) = source().await;
    let wanted = format!("Basic {}", BASE64_STANDARD.encode("me:s3cret"));
    from.rule(move |seen| {
        (seen.authorization.as_ref() != Some(&wanted)).then(|| {
            let mut response = refuse(401, "UNAUTHORIZED", "authentication required");
            response.headers_mut().insert("www-authenticate", "Basic realm=\"tests\"".parse().unwrap());
            response
        })
    });
    let source = format!("{}/hello:v1", from.address);
    let refused = mirror(&lab, &format!("{source} --create-repository")).json(4);
    assert!(refused["error"]["hints"].to_string().contains("docker login"), "{refused}");

    let script = "#!/bin/sh\nread server\necho \"$1 $server\" >> \"$HOME/asked\"\n\
        printf '{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"s3cret\"}'\n";
    lab.write("bin/docker-credential-shelf", script);
    std::fs::set_permissions(lab.path("bin/docker-credential-shelf"), PermissionsExt::from_mode(0o755)).unwrap();
    let host = from.address.to_string();
    let config = json!({ "credHelpers": { host.clone(): "shelf" }, "auths": {} }).to_string();
    lab.write(".docker/config.json", &config);
    let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let words = format!("mirror {source} --create-repository --lab -o json");
    let output =
        block_in_place(|| command(&lab.path("")).env("PATH", &path).args(words.split_whitespace()).output().unwrap());
    let run = Run::new(&output);
    assert_eq!(run.json(0)[0]["digest"], digest.as_str());
    assert!(!run.stderr.contains("s3cret") && !run.stdout.contains("s3cret"));
    assert_eq!(std::fs::read_to_string(lab.path("asked")).unwrap(), format!("get {host}\n"), "once for all of it");
    assert_eq!(std::fs::read_to_string(lab.path(".docker/config.json")).unwrap(), config);

    // A login that stands in the file serves as well, and a helper that fails is named.
    let auth = BASE64_STANDARD.encode("me:s3cret");
    lab.write(".docker/config.json", &json!({ "auths": { host.clone(): { "auth": auth } } }).to_string());
    assert_eq!(mirror(&lab, &source).json(0)[0]["status"], "exists");
    lab.write("file", "of an image");
    lab.write(
        "task.json",
        &json!({ "family": "web", "containerDefinitions": [{ "name": "web", "image": "x", "memory": 64 }] })
            .to_string(),
    );
    let build = "{ layers: [{ from: file, to: /file }] }";
    lab.write("steady.yaml", &format!("services:\n  web: {{ task_definition: task.json, image: {{ repository: '{host}/hello', tags: [new], build: {build} }} }}\n"));
    let pushed = block_in_place(|| lab.lab("push")).json(0);
    assert_eq!(pushed["digest"].as_str(), from.tag("new").as_deref(), "what is not ECR's is pushed to with it, too");
    lab.write(".docker/config.json", &json!({ "credsStore": "nowhere" }).to_string());
    let failed = mirror(&lab, &source).json(4);
    assert!(failed["error"]["hints"].to_string().contains("docker-credential-nowhere"), "{failed}");
}

/// faults.md 17 and 18, of what comes from another registry.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_elsewhere_is_deployed_by_its_own_digest_with_all_its_platforms() {
    let lab = block_in_place(Rehearsal::start);
    let (_workshop, from, digest, all) = source().await;
    let project = |build: &str, architecture: &str| {
        lab.write(
            "steady.yaml",
            &format!(
                "services:\n  hello:\n    task_definition: task.json\n    image: {{ repository: hello, create: true, tags: [r1], build: {build} }}\n"
            ),
        );
        let task = json!({
            "family": "hello", "cpu": "256", "memory": "512", "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"], "runtimePlatform": { "cpuArchitecture": architecture },
            "containerDefinitions": [{ "name": "hello", "image": "replaced", "essential": true }],
        });
        lab.write("task.json", &task.to_string());
    };
    let image = format!("{}/hello:v1", from.address);
    project(&format!("{{ image: '{image}' }}"), "ARM64");
    let built = block_in_place(|| lab.lab("build")).json(0);
    assert_eq!((&built["digest"], &built["platform"]), (&json!(digest), &Value::Null));
    assert_eq!(built["platforms"], json!(["linux/amd64", "linux/arm64"]));
    let pushed = block_in_place(|| lab.lab("push")).json(0);
    assert_eq!(pushed["image"], format!("{}/hello@{digest}", lab.host));
    assert_eq!(images(&lab, "hello").len(), 5);
    from.forget();
    let pushed = block_in_place(|| lab.lab("push")).json(0);
    assert_eq!((&pushed["digest"], from.count("GET", "/blobs/")), (&json!(digest), 0));

    project(&format!("{{ image: '{image}', platforms: [linux/amd64] }}"), "X86_64");
    assert_eq!(block_in_place(|| lab.lab("build")).json(0)["digest"], all[0].digest.as_str());
    // Attestations are for no platform, and no image is for this one.
    project(&format!("{{ image: '{image}', platforms: [linux/amd64] }}"), "ARM64");
    let refused = block_in_place(|| lab.lab("push")).json(3);
    let message = "the image is for linux/amd64, and the task definition asks for linux/arm64";
    assert_eq!(refused["error"]["message"], message);
    project(&format!("{{ image: '{image}', platforms: [linux/s390x] }}"), "X86_64");
    assert_eq!(block_in_place(|| lab.lab("push")).json(2)["error"]["kind"], "input");
}
