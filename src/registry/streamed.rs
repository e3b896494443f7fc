//! Blobs that come one after the other: each is sent while the next is being made.

use std::collections::HashSet;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;

use super::client::Client;
use super::gate::Gate;
use super::upload::Transfer;
use super::{BlobState, Progress, PushOptions, Scope};
use crate::error::{Error, Result};
use crate::image::Blob;

/// Sees to it that the repository has each blob that comes, until no more do. Returns their digests.
///
/// # Errors
/// `BuildOrPush` when the registry does not take one.
pub async fn send_as_they_come(
    client: &Client,
    repository: &str,
    mut blobs: UnboundedReceiver<Blob>,
    options: &PushOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<HashSet<String>> {
    let scope = Scope::Push(repository.to_owned());
    let gate = Gate::new(options.parallel);
    let (mount_from, found_in) = (&options.mount_from, &options.found_in);
    let transfer = Transfer { client, repository, scope, gate, mount_from, found_in, origin: None, progress };
    let transfer = &transfer;
    let mut sending = FuturesUnordered::new();
    let (mut open, mut present) = (true, HashSet::new());
    loop {
        tokio::select! {
            blob = blobs.recv(), if open => match blob {
                Some(blob) => sending.push(async move {
                    let known = options.known.as_ref().map(|known| known.contains(&blob.descriptor.digest));
                    let state: BlobState = transfer.put(&blob, known).await?;
                    Ok::<_, Error>((blob.descriptor.digest, state))
                }),
                None => open = false,
            },
            Some(sent) = sending.next() => {
                let (digest, _) = sent?;
                present.insert(digest);
            }
            else => return Ok(present),
        }
    }
}
