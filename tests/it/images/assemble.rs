use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use steadystate::error::Kind;
use steadystate::image::config::Execution;
use steadystate::image::layers::{LayerEntry, assemble};
use steadystate::image::{BlobSource, layout};

use super::{Workshop, bytes_of, check_sound, config_of, entry, listing, set_mode, unpacked};

fn hello(workshop: &Workshop) -> Vec<Vec<LayerEntry>> {
    workshop.file("bin/hello", "a program");
    set_mode(&workshop.path("project/bin/hello"), 0o775);
    workshop.file("public/index.html", "<h1>hello</h1>");
    workshop.file("public/css/site.css", "h1 {}");
    symlink("css/site.css", workshop.path("project/public/style.css")).unwrap();
    vec![vec![entry("bin/hello", "/hello")], vec![entry("public", "/srv/www")]]
}

#[test]
fn the_same_files_give_the_same_digest_anywhere() {
    let (one, two) = (Workshop::new(), Workshop::new());
    let first = assemble(one.spec(hello(&one)), None).unwrap();
    let layers = hello(&two);
    // Another umask, another time, another order of creation.
    set_mode(&two.path("project/public/index.html"), 0o664);
    set_mode(&two.path("project/public/css"), 0o2775);
    let second = assemble(two.spec(layers), None).unwrap();
    assert_eq!(first.digest, second.digest);
    assert_eq!(first.manifest, second.manifest);
    check_sound(&first);
    // A pin: should this change, every image that was ever assembled changes its digest.
    insta::assert_snapshot!(first.digest, @"sha256:f90ff79e6d64e1cb86bd7420cf0d4685f86e2ef8245da06ef839a0bb814ec893");
}

#[test]
fn a_layer_is_listed_in_order_with_its_parents() {
    let workshop = Workshop::new();
    let image = assemble(workshop.spec(hello(&workshop)), None).unwrap();
    assert_eq!(listing(&image.layers()[0]), ["0755 0:0 hello"]);
    insta::assert_snapshot!(listing(&image.layers()[1]).join("\n"), @r"
    0755 0:0 srv/
    0755 0:0 srv/www/
    0755 0:0 srv/www/css/
    0644 0:0 srv/www/css/site.css
    0644 0:0 srv/www/index.html
    0777 0:0 srv/www/style.css -> css/site.css
    ");
}

#[test]
fn annotations_are_the_manifests_alone() {
    let workshop = Workshop::new();
    let mut spec = workshop.spec(hello(&workshop));
    let plain = assemble(spec.clone(), None).unwrap();
    spec.annotations = BTreeMap::from([("org.opencontainers.image.revision".into(), "abc".into())]);
    let said = assemble(spec, None).unwrap();
    let manifest =
        |image: &steadystate::image::Image| -> serde_json::Value { serde_json::from_slice(&image.manifest).unwrap() };
    assert_eq!(manifest(&said)["annotations"], json!({ "org.opencontainers.image.revision": "abc" }));
    assert!(manifest(&plain).get("annotations").is_none());
    assert_eq!((&said.config, said.size()), (&plain.config, plain.size()));
    check_sound(&said);
    layout::write(&said, &workshop.path("out"), None).unwrap();
    assert_eq!(layout::open(&workshop.path("out"), &workshop.open(None)).unwrap().digest, said.digest);
}

#[test]
fn a_changed_page_changes_no_other_layer() {
    let workshop = Workshop::new();
    let layers = hello(&workshop);
    let before = assemble(workshop.spec(layers.clone()), None).unwrap();
    workshop.file("public/index.html", "<h1>hallo</h1>");
    let after = assemble(workshop.spec(layers), None).unwrap();
    let digests = |image: &steadystate::image::Image| -> Vec<String> {
        image.layers().iter().map(|layer| layer.descriptor.digest.clone()).collect()
    };
    assert_eq!(digests(&before)[0], digests(&after)[0]);
    assert_ne!(digests(&before)[1], digests(&after)[1]);
    assert_ne!(before.digest, after.digest);
    check_sound(&after);
}

#[test]
fn modes_owners_and_targets() {
    let workshop = Workshop::new();
    workshop.file("tool", "x");
    workshop.file("secret", "y");
    set_mode(&workshop.path("project/secret"), 0o600);
    set_mode(&workshop.path("project/tool"), 0o4777);
    symlink("tool", workshop.path("project/link")).unwrap();
    let layer = vec![
        entry("tool", "/usr/local/bin/"),
        LayerEntry { mode: Some(0o4755), owner: "1000:100".parse().ok(), ..entry("tool", "/opt/suid") },
        entry("secret", "/etc/secret"),
        entry("link", "/linked"),
        entry("tool", "//twice/./a"),
        entry("secret", "/twice/a"),
    ];
    let image = assemble(workshop.spec(vec![layer]), None).unwrap();
    insta::assert_snapshot!(listing(&image.layers()[0]).join("\n"), @r"
    0755 0:0 etc/
    0644 0:0 etc/secret
    0755 0:0 linked
    0755 0:0 opt/
    4755 1000:100 opt/suid
    0755 0:0 twice/
    0644 0:0 twice/a
    0755 0:0 usr/
    0755 0:0 usr/local/
    0755 0:0 usr/local/bin/
    0755 0:0 usr/local/bin/tool
    ");
    check_sound(&image);
}

#[test]
fn long_names_and_many_members() {
    let workshop = Workshop::new();
    let name = format!("{}/{}", "d".repeat(90), "f".repeat(120));
    // Over several gzip members, and not a multiple of their size.
    let content: Vec<u8> = (0..3_500_000u32).flat_map(|i| (i / 7).to_le_bytes()).take(3_500_001).collect();
    workshop.file(&format!("tree/{name}"), &content);
    symlink("x".repeat(150), workshop.path("project/tree/link")).unwrap();
    let image = assemble(workshop.spec(vec![vec![entry("tree", "/")]]), None).unwrap();
    check_sound(&image);
    let packed = bytes_of(&image.layers()[0]);
    assert!(packed.len() < content.len());
    assert_eq!(&packed[..4], &[0x1f, 0x8b, 8, 0]);
    assert_eq!(&packed[4..8], &[0; 4], "no time in gzip's header");
    let raw = unpacked(&image.layers()[0]);
    let mut archive = tar::Archive::new(&raw[..]);
    let names: Vec<String> =
        archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    assert!(names.contains(&name), "{names:?}");
}

#[test]
fn an_empty_layer_is_an_image_too() {
    let workshop = Workshop::new();
    let image = assemble(workshop.spec(vec![vec![]]), None).unwrap();
    check_sound(&image);
    assert_eq!(listing(&image.layers()[0]), Vec::<String>::new());
}

#[test]
fn the_config_says_what_runs() {
    let workshop = Workshop::new();
    workshop.file("hello", "x");
    let mut spec = workshop.spec(vec![vec![entry("hello", "/hello")]]);
    spec.execution = Execution {
        entrypoint: Some(vec!["/hello".into()]),
        command: Some(vec!["--port".into(), "80".into()]),
        env: BTreeMap::from([("LOG".into(), "info".into()), ("A".into(), "b=c".into())]),
        working_dir: Some("/srv".into()),
        user: Some("1000:1000".into()),
        exposed_ports: vec!["8080".into(), "53/udp".into()],
        labels: BTreeMap::from([("org.opencontainers.image.revision".into(), "abc".into())]),
        stop_signal: Some("SIGINT".into()),
    };
    spec.created = Some(1_700_000_000);
    let image = assemble(spec, None).unwrap();
    let mut config = config_of(&image);
    config["rootfs"]["diff_ids"] = json!([]);
    insta::assert_json_snapshot!(config, @r#"
    {
      "architecture": "amd64",
      "os": "linux",
      "created": "2023-11-14T22:13:20Z",
      "config": {
        "Entrypoint": [
          "/hello"
        ],
        "Cmd": [
          "--port",
          "80"
        ],
        "Env": [
          "A=b=c",
          "LOG=info"
        ],
        "WorkingDir": "/srv",
        "User": "1000:1000",
        "StopSignal": "SIGINT",
        "ExposedPorts": {
          "53/udp": {},
          "8080/tcp": {}
        },
        "Labels": {
          "org.opencontainers.image.revision": "abc"
        }
      },
      "rootfs": {
        "type": "layers",
        "diff_ids": []
      },
      "history": [
        {
          "created": "2023-11-14T22:13:20Z",
          "created_by": "steady: /hello"
        }
      ]
    }
    "#);
}

#[test]
fn an_earlier_layers_folders_keep_their_looks() {
    let workshop = Workshop::new();
    workshop.file("data/a", "x");
    workshop.file("b", "x");
    let owned = LayerEntry { owner: "5:6".parse().ok(), folder_mode: Some(0o700), ..entry("data", "/data") };
    let image = assemble(workshop.spec(vec![vec![owned], vec![entry("b", "/data/b")]]), None).unwrap();
    assert_eq!(listing(&image.layers()[0]), ["0700 5:6 data/", "0644 5:6 data/a"]);
    assert_eq!(listing(&image.layers()[1]), ["0700 5:6 data/", "0644 0:0 data/b"]);
}

#[test]
fn what_cannot_be_assembled_says_why() {
    let workshop = Workshop::new();
    workshop.file("target/release/hello", "x");
    workshop.file("tree/.wh.gone", "x");
    fs::create_dir_all(workshop.path("project/folders/.wh.folder")).unwrap();
    std::os::unix::net::UnixListener::bind(workshop.path("project/socket")).unwrap();
    let both = |a: LayerEntry, b: LayerEntry| vec![a, b];
    let table = [
        (
            vec![entry("target/release/helo", "/hello")],
            Kind::BuildOrPush,
            "`target/release/helo` does not exist",
            "did you mean `target/release/hello`?",
        ),
        (vec![entry("nowhere/at/all", "/hello")], Kind::BuildOrPush, "`nowhere/at/all` does not exist", "`build.run`"),
        (
            vec![entry("target/release/hello", "hello")],
            Kind::Input,
            "not a path in the image",
            "did you mean `/hello`?",
        ),
        (vec![entry("target/release/hello", "/a/../../b")], Kind::Input, "not a path in the image", "without `..`"),
        (vec![entry("target/release/hello", "/")], Kind::BuildOrPush, "", ""),
        (
            vec![entry("target/release/hello", "/.")],
            Kind::Input,
            "cannot be the image's `/`",
            "did you mean `to: /hello`?",
        ),
        (vec![entry("tree", "/srv")], Kind::Input, "`/srv/.wh.gone` cannot be in a layer", "`.wh.`"),
        (vec![entry("folders", "/srv")], Kind::Input, "`/srv/.wh.folder` cannot be in a layer", "`.wh.`"),
        (vec![entry("socket", "/s")], Kind::Input, "is a socket", "`.dockerignore`"),
        (vec![LayerEntry { mode: Some(755), ..entry("target/release/hello", "/h") }], Kind::Input, "", ""),
        (
            vec![LayerEntry { mode: Some(0o77777), ..entry("target/release/hello", "/h") }],
            Kind::Input,
            "not a file mode",
            "\"0755\"",
        ),
        (
            both(entry("target/release/hello", "/a"), entry("target/release/hello", "/a/b")),
            Kind::Input,
            "`/a/b` cannot lie in `/a`",
            "change one's `to`",
        ),
    ];
    for (layer, kind, message, hint) in table {
        let shown = format!("{layer:?}");
        let result = assemble(workshop.spec(vec![layer]), None);
        if message.is_empty() {
            assert!(result.is_ok(), "{shown}");
            continue;
        }
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(message), "{error:?}");
        assert!(hint.is_empty() || error.hints().iter().any(|found| found.contains(hint)), "{error:?}");
    }
    let mut spec = workshop.spec(vec![]);
    spec.execution.exposed_ports = vec!["http".into()];
    assert_eq!(assemble(spec, None).unwrap_err().kind(), Kind::Input);
}

#[test]
fn a_damaged_cache_mends_itself() {
    let workshop = Workshop::new();
    let image = workshop.image("some content");
    let BlobSource::Cached(path) = &image.layers()[0].source else { panic!("layers are in the cache") };
    let sound = fs::read(path).unwrap();
    fs::write(path, vec![0; sound.len()]).unwrap();
    let error = layout::write(&image, &workshop.path("out"), None).unwrap_err();
    assert_eq!(error.kind(), Kind::BuildOrPush);
    assert!(!path.exists());
    let again = workshop.image("some content");
    assert_eq!(again.digest, image.digest);
    check_sound(&again);
}

#[test]
fn the_cache_is_private_and_leaves_nothing_half_done() {
    use std::os::unix::fs::PermissionsExt;
    let workshop = Workshop::new();
    workshop.image("x");
    workshop.file("bad", "y");
    let _ = assemble(workshop.spec(vec![vec![entry("bad", "/a"), entry("missing", "/b")]]), None).unwrap_err();
    let cache = workshop.cache.folder();
    assert_eq!(fs::metadata(cache).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names: Vec<_> =
        fs::read_dir(cache).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [".swept", "gzip", "sha256", "zstd"]);
}
