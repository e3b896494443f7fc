//! Images assembled over a base.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;
use steadystate::error::Kind;
use steadystate::image::config::Execution;
use steadystate::image::layers::assemble;

use super::{Workshop, check_sound, config_of, entry, listing, set_mode};

#[test]
fn a_base_keeps_what_is_not_replaced() {
    let workshop = Workshop::new();
    workshop.file("base", "the base");
    let mut spec = workshop.spec(vec![vec![entry("base", "/usr/base")]]);
    spec.execution = Execution {
        entrypoint: Some(vec!["/bin/base".into()]),
        command: Some(vec!["serve".into()]),
        env: BTreeMap::from([("PATH".into(), "/bin".into()), ("LANG".into(), "C".into())]),
        user: Some("nobody".into()),
        ..Execution::default()
    };
    let mut base = assemble(spec, None).unwrap();
    // Docker's media types, nulls and members that no type of ours knows.
    let mut config = config_of(&base);
    config["config"]["Labels"] = json!(null);
    config["config"]["Healthcheck"] = json!({ "Test": ["CMD", "true"] });
    config["x-vendor"] = json!({ "kept": true });
    base.config = config.to_string().into();
    base.blobs[0].descriptor.media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();

    workshop.file("app", "the app");
    let mut spec = workshop.spec(vec![vec![entry("app", "/usr/app")]]);
    spec.execution.env = BTreeMap::from([("LANG".into(), "de".into()), ("NEW".into(), "1".into())]);
    spec.execution.labels = BTreeMap::from([("a".into(), "b".into())]);
    let image = assemble(spec.clone(), Some(base.clone())).unwrap();
    check_sound(&image);
    assert_eq!(image.layers().len(), 2);
    assert_eq!(image.layers()[0].descriptor.digest, base.layers()[0].descriptor.digest);
    assert!(image.layers().iter().all(|layer| layer.descriptor.media_type.ends_with("oci.image.layer.v1.tar+gzip")));
    // No `usr/`: over a base it could replace a symlink or its permissions.
    assert_eq!(listing(&image.layers()[1]), ["0644 0:0 usr/app"]);
    let mut config = config_of(&image);
    config["rootfs"]["diff_ids"] = json!([]);
    insta::assert_json_snapshot!(config, @r#"
    {
      "architecture": "amd64",
      "os": "linux",
      "config": {
        "Entrypoint": [
          "/hello"
        ],
        "Env": [
          "LANG=de",
          "PATH=/bin",
          "NEW=1"
        ],
        "User": "nobody",
        "Labels": {
          "a": "b"
        },
        "Healthcheck": {
          "Test": [
            "CMD",
            "true"
          ]
        }
      },
      "rootfs": {
        "type": "layers",
        "diff_ids": []
      },
      "history": [
        {
          "created_by": "steady: /usr/base"
        },
        {
          "created_by": "steady: /usr/app"
        }
      ],
      "x-vendor": {
        "kept": true
      }
    }
    "#);

    spec.platform = "linux/arm64".parse().unwrap();
    let error = assemble(spec, Some(base)).unwrap_err();
    assert_eq!(error.kind(), Kind::Input);
    assert_eq!(error.to_string(), "the base image is for linux/amd64, and the build for linux/arm64");
}

/// A base's `/lib` may be a symlink and its `/tmp` open to all: a layer over it names no folder that says nothing new.
#[test]
fn folders_over_a_base_are_named_only_when_they_say_something() {
    let workshop = Workshop::new();
    let base = workshop.image("base");
    workshop.file("root/lib/app/lib.so", "x");
    workshop.file("root/lib-64", "x");
    workshop.file("root/tmp/seed", "x");
    workshop.file("root/var/private/key", "x");
    fs::create_dir(workshop.path("project/root/empty")).unwrap();
    for folder in ["root/lib", "root/var", "root/empty"] {
        set_mode(&workshop.path("project").join(folder), 0o755);
    }
    set_mode(&workshop.path("project/root/var/private"), 0o700);
    let image = assemble(workshop.spec(vec![vec![entry("root", "/")]]), Some(base)).unwrap();
    insta::assert_snapshot!(listing(&image.layers()[1]).join("\n"), @"
    0755 0:0 empty/
    0644 0:0 lib-64
    0644 0:0 lib/app/lib.so
    0644 0:0 tmp/seed
    0700 0:0 var/private/
    0644 0:0 var/private/key
    ");
}
