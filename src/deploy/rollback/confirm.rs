//! The last word on a rollback: what the running tasks carry, container by container.

use serde_json::Value;

use super::history::Release;
use super::settings;
use crate::aws::Clients;
use crate::aws::reply::id;
use crate::deploy::event::Events;
use crate::deploy::follow::observe::Eye;
use crate::error::{Error, Kind, Result};

/// A container whose image is named by digest has to run it. Of an image that is named by tag ECS recorded the digest when
/// this release was deployed; a tag that was moved since is a warning.
pub async fn by_digest(
    (cluster, service): (&str, &str),
    release: &Release,
    clients: &Clients,
    events: &Events,
) -> Result<()> {
    let mut eye = Eye::new(cluster, service, None);
    eye.no_service_deployments = true;
    let (seen, _) = eye.look("", clients).await?;
    let running = seen.tasks.iter().filter(|task| {
        task.last_status == "RUNNING"
            && task.desired_status != "STOPPED"
            && task.task_definition == release.task_definition
    });
    let mut moved: Vec<String> = Vec::new();
    for container in running.flat_map(|task| &task.containers) {
        let Some(runs) = container.digest.as_deref() else { continue };
        if container.image.contains('@') {
            if seen.images.proves(container) == Some(false) {
                let (name, image) = (&container.name, &container.image);
                let message = format!(
                    "the container `{name}` of {} runs {runs} where {image} was asked for",
                    id(&release.task_definition)
                );
                return Err(Error::new(Kind::RolloutFailed, message).hint("look closer: `steady status`"));
            }
            continue;
        }
        let then = recorded(&release.settings, &container.name);
        if let Some(then) = then.filter(|then| *then != runs) {
            let message = format!(
                "the container `{}` names its image by tag, and {} is another one now: it runs {runs}, and ran {then}",
                container.name, container.image
            );
            if !moved.contains(&message) {
                moved.push(message);
            }
        }
    }
    for message in moved {
        let hint = "a release that names its images by digest comes back as it was";
        events.warn(message, Some(hint.to_owned()));
    }
    Ok(())
}

fn recorded<'a>(revision: &'a Value, container: &str) -> Option<&'a str> {
    settings::recorded(revision).find(|(name, ..)| *name == container).map(|(.., digest)| digest)
}
