//! Images assembled over a base.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;
use steadystate::error::Kind;
use steadystate::image::config::Execution;
use steadystate::image::layers::{LayerEntry, assemble};
use steadystate::image::manifest::{self, LAYER_TAR};
use steadystate::image::{Blob, BlobSource, Descriptor, Image, Platform, digest};

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
    let private = LayerEntry { folder_mode: Some(0o700), ..entry("root/var/private", "/var/private") };
    let image = assemble(workshop.spec(vec![vec![entry("root", "/"), private]]), Some(base)).unwrap();
    insta::assert_snapshot!(listing(&image.layers()[1]).join("\n"), @"
    0755 0:0 empty/
    0644 0:0 lib-64
    0644 0:0 lib/app/lib.so
    0644 0:0 tmp/seed
    0700 0:0 var/private/
    0644 0:0 var/private/key
    ");
}

/// A base of these layers, each a list of `path`, kind and content or target.
fn base_of(layers: &[&[(&str, tar::EntryType, &str)]]) -> Image {
    let blobs: Vec<Blob> = layers.iter().map(|members| layer_of(members)).collect();
    let diff_ids: Vec<&str> = blobs.iter().map(|blob| &*blob.descriptor.digest).collect();
    let config =
        json!({ "os": "linux", "architecture": "amd64", "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    manifest::write(blobs.clone(), config.to_string().into(), Platform::linux_amd64())
}

fn layer_of(members: &[(&str, tar::EntryType, &str)]) -> Blob {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, kind, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o755);
        let is_file = kind.is_file();
        header.set_size(if is_file { content.len() as u64 } else { 0 });
        match is_file || kind.is_dir() {
            true => tar.append_data(&mut header, path, if is_file { content.as_bytes() } else { b"" }).unwrap(),
            false => tar.append_link(&mut header, path, content).unwrap(),
        }
    }
    let bytes = tar.into_inner().unwrap();
    let descriptor =
        Descriptor { media_type: LAYER_TAR.to_owned(), digest: digest::of(&bytes), size: bytes.len() as u64 };
    Blob { descriptor, source: BlobSource::Memory(bytes.into()) }
}

const FILE: tar::EntryType = tar::EntryType::Regular;
const FOLDER: tar::EntryType = tar::EntryType::Directory;
const LINK: tar::EntryType = tar::EntryType::Symlink;

/// Who gives an owner to what goes to `/` does not mean the base's `/tmp`, nor its link `/lib`.
#[test]
fn folders_of_the_base_stay_as_they_are() {
    let workshop = Workshop::new();
    for name in ["lib/app.so", "tmp/seed", "srv/www/index.html", "gone/file", "opaque/file", "new/file"] {
        workshop.file(&format!("root/{name}"), "x");
    }
    fs::create_dir(workshop.path("project/root/run")).unwrap();
    let base = base_of(&[
        &[("./lib", LINK, "usr/lib"), ("tmp/", FOLDER, ""), ("srv/www", FOLDER, ""), ("gone", FOLDER, "")],
        &[("opaque/old", FOLDER, ""), ("opaque", FOLDER, ""), (".wh.gone", FILE, ""), ("run", LINK, "/var/run")],
        &[("opaque/.wh..wh..opq", FILE, "")],
    ]);
    let owned = LayerEntry { owner: "1000".parse().ok(), ..entry("root", "/") };
    let image = assemble(workshop.spec(vec![vec![owned]]), Some(base)).unwrap();
    insta::assert_snapshot!(listing(&image.layers()[3]).join("\n"), @r"
    0755 1000:1000 gone/
    0644 1000:1000 gone/file
    0644 1000:1000 lib/app.so
    0755 1000:1000 new/
    0644 1000:1000 new/file
    0644 1000:1000 opaque/file
    0755 1000:1000 srv/
    0644 1000:1000 srv/www/index.html
    0644 1000:1000 tmp/seed
    ");
}

#[test]
fn owners_have_names_in_the_image() {
    let workshop = Workshop::new();
    workshop.file("app", "x");
    workshop.file("passwd", "root:x:0:0::/:/bin/sh\nown:x:7:8:::\n");
    let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1001:1002::/app:\nweb:x:33:33:::\n";
    let base = base_of(&[
        &[("etc/passwd", FILE, "app:x:1:1:::\n"), ("etc/group", FILE, "old:x:9:\n")],
        &[("./etc/passwd", FILE, passwd), ("etc/.wh.group", FILE, "")],
        &[("etc/group", FILE, "staff:x:50:app,web\nweb:x:34:\n")],
    ]);
    let given = |owner: &str| vec![LayerEntry { owner: owner.parse().ok(), ..entry("app", "/app") }];
    let owners = |image: Image| listing(image.layers().last().unwrap());
    let over = |base: &Image, owner: &str| assemble(workshop.spec(vec![given(owner)]), Some(base.clone()));
    let table = [
        ("app", "1001:1002"),
        ("app:staff", "1001:50"),
        ("app:9", "1001:9"),
        ("12:web", "12:34"),
        ("12", "12:12"),
        ("4294967294:1", "4294967294:1"),
    ];
    for (owner, ids) in table {
        assert_eq!(owners(over(&base, owner).unwrap()), [format!("0755 {ids} app").replace("0755", "0644")], "{owner}");
    }
    // From the layers above the base: an earlier one, or an earlier entry of the same.
    let own = vec![entry("passwd", "/etc/passwd")];
    let image = assemble(workshop.spec(vec![own.clone(), given("own")]), Some(base.clone())).unwrap();
    assert_eq!(owners(image), ["0644 7:8 app"]);
    let same = [own, given("own:8")].concat();
    assert_eq!(owners(assemble(workshop.spec(vec![same]), None).unwrap())[0], "0644 7:8 app");

    let linked = base_of(&[&[("etc/passwd", LINK, "../nix/passwd")]]);
    let refusals = [
        (over(&base, "apps"), "there is no user `apps`", "did you mean `app`?"),
        (over(&base, "app:old"), "there is no group `old`", "it has staff, web"),
        (over(&linked, "app"), "no plain file", "1000:1000"),
        (assemble(workshop.spec(vec![given("app")]), None), "the image has no `/etc/passwd`", "1000:1000"),
    ];
    for (refused, message, hint) in refusals {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), Kind::Input);
        assert!(error.to_string().contains(message), "{error:?}");
        assert!(error.hints().iter().any(|found| found.contains(hint)), "{error:?}");
    }
    for unfit in ["", ":", "app:", ":app", "4294967295", "-1", "a b", "app:web:x", "a\nb", "99999999999"] {
        assert!(unfit.parse::<steadystate::image::owners::Owner>().is_err(), "{unfit:?}");
    }
}
