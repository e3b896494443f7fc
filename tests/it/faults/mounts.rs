//! What another repository of the registry is known to have is mounted from there.

use serde_json::json;

use crate::images::archives::{layer_of, saved_of};
use crate::lab_front::TestLab;
use crate::site::{Site, noise};

use super::cutter::Cutter;

const ACCOUNT: &str = "111122223333.dkr.ecr.us-east-1.amazonaws.com";

fn project(line: &Cutter, repository: &str, build: &str) -> Site {
    let image = format!("{{ repository: {repository}, create: true, tags: [v1], build: {build} }}");
    Site::new(&format!("http://{}", line.address), &image)
}

/// Layers of a base image that lies in the same registry, and of another service's image that this machine has pushed.
#[tokio::test]
async fn a_base_and_another_service_s_layers_are_not_sent_twice() {
    let lab = TestLab::start().await;
    let line = Cutter::start(&lab.host, 1, 0, Vec::new()).await;
    let layers = [layer_of(&noise(1, 1_300_000)), layer_of(&noise(2, 60_000))];
    let base = project(&line, "base", "{ image: saved.tar }");
    saved_of(&base.path("saved.tar"), &layers);
    base.run(&["push", "-o", "json"]).await.result();

    // Another machine, which knows the base by its name alone. Mounts are off until an account switches them on: the
    // session that comes in place of one is the upload's.
    let layers =
        format!("{{ platform: linux/arm64, base: {ACCOUNT}/base:v1, layers: [{{ from: td.json.hbs, to: /a }}] }}");
    let count = |log: &[String], start: &str, part: &str| {
        log.iter().filter(|request| request.starts_with(start) && request.contains(part)).count()
    };
    let setting = "AmazonEC2ContainerRegistry_V20150921.PutAccountSetting";
    for (value, service, sent) in [("DISABLED", "one", 4), ("ENABLED", "two", 2)] {
        lab.json(setting, &json!({ "name": "BLOB_MOUNTING", "value": value })).await;
        let built_on = project(&line, service, &layers);
        line.record().log.clear();
        built_on.run(&["push", "-o", "json"]).await.result();
        let log = std::mem::take(&mut line.record().log);
        assert_eq!(count(&log, "POST", "from=base"), 2, "{log:#?}");
        assert_eq!(count(&log, "POST", ""), 4, "one for each blob: {log:#?}");
        assert_eq!(count(&log, "PUT", "/uploads/"), sent, "mounts are {value}: {log:#?}");
    }

    // The first machine once more, with another service of the same layers.
    let other = project(&line, "other", "{ image: saved.tar }");
    std::fs::copy(base.path("saved.tar"), other.path("saved.tar")).unwrap();
    let mut push = other.command(&["push", "-o", "json"]);
    push.env("HOME", base.path("home"));
    let ended = crate::site::Ended::of(push.output().await.unwrap());
    ended.result();
    let log = std::mem::take(&mut line.record().log);
    assert_eq!(count(&log, "POST", "from=base"), 3, "two layers and the config: {log:#?}");
    assert_eq!(
        (count(&log, "POST", ""), count(&log, "PATCH", ""), count(&log, "PUT", "/uploads/")),
        (3, 0, 0),
        "{log:#?}"
    );
    lab.end().await;
}
