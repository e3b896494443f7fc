//! Where an image comes from that is in a registry, and who we are there.

use super::{login, repository};
use crate::aws::Clients;
use crate::error::{Error, Result};
use crate::image::Reference;
use crate::registry::Origin;

/// ECR by the caller's AWS credentials; any other registry by docker's or podman's login for it, if any.
pub(super) async fn of(reference: &Reference, clients: &Clients) -> Result<Origin> {
    let found = match reference.ecr() {
        Some(_) => Some(repository::of_ecr(reference, clients).await?),
        // An endpoint that stands for all of AWS, such as the lab's, has its registry on this machine.
        None if clients.endpoint_url.is_some() && reference.is_loopback() => {
            let own = login::login(clients).await.ok().map(|login| login.registry);
            let is_own = own.is_some_and(|own| own.ends_with(&format!("://{}", reference.registry)));
            is_own.then(|| repository::named(&reference.repository, &reference.name()))
        }
        None => None,
    };
    let Some(repository) = found else {
        let client = login::elsewhere(reference, clients).await?;
        return Ok(Origin { client, repository: reference.repository.clone() });
    };
    let session = login::session(&repository, clients).await?;
    Ok(Origin { client: session.client, repository: repository.path().to_owned() })
}

pub(super) fn unknown(reference: &Reference) -> Error {
    let registry = &reference.registry;
    let error = Error::build_or_push(format!("there is no image {reference}"))
        .hint("is it spelt so, and does it have this tag?");
    match reference.ecr() {
        Some(_) => error.hint(format!("`steady repo images {}` lists what is there", reference.name())),
        None => error.hint(format!("a private one needs a login: `docker login {registry}`")),
    }
}
