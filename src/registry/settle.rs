//! From layers as they are to an image: what the repository has is only named, the rest is compressed on its way there.

use std::collections::{HashMap, HashSet};

use futures_util::stream::{StreamExt, TryStreamExt, iter};
use tokio::sync::Semaphore;

use super::client::Client;
use super::gate::Gate;
use super::packing;
use super::pull::earlier_layers;
use super::upload::Transfer;
use super::{BlobState, Progress, PushOptions, Scope};
use crate::error::{Error, Result};
use crate::image::draft::{Draft, DraftLayer, LayerContent, PlainLayer};
use crate::image::{Descriptor, Image};

/// An image whose manifest is known, and what of it went to the repository for that.
#[derive(Debug)]
pub struct Settled {
    pub image: Image,
    /// Digests that the repository has.
    pub present: HashSet<String>,
    /// Layers that had to be sent.
    pub uploaded: usize,
}

/// What the layers of a draft were compressed to before, by diffID: by this machine, and in the images of the repository
/// that `references` name.
pub async fn recall(
    client: &Client,
    repository: &str,
    draft: &Draft,
    references: &[String],
) -> Result<HashMap<String, Descriptor>> {
    let plain = || draft.layers.iter().filter(|layer| matches!(layer.content, LayerContent::Plain(_)));
    let mut known: HashMap<String, Descriptor> = plain().filter_map(|layer| own(draft, &layer.diff_id)).collect();
    for reference in references {
        if plain().all(|layer| known.contains_key(&layer.diff_id)) {
            break;
        }
        let earlier = earlier_layers(client, repository, reference, draft.compression).await?;
        for (diff_id, descriptor) in earlier {
            known.entry(diff_id).or_insert(descriptor);
        }
    }
    Ok(known)
}

fn own(draft: &Draft, diff_id: &str) -> Option<(String, Descriptor)> {
    let compressed = draft.cache.recall(diff_id, draft.compression)?;
    Some((diff_id.to_owned(), compressed.descriptor(draft.compression)))
}

/// Sends the layers that the repository lacks, compressed as they go, each once. `known` is what [`recall`] gave;
/// `options.known` says which digests the repository has, if that was asked already.
///
/// # Errors
/// `BuildOrPush` when a layer is not what the config says, or the registry does not take it.
pub async fn settle(
    client: &Client,
    repository: &str,
    draft: &Draft,
    known: &HashMap<String, Descriptor>,
    options: &PushOptions,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Settled> {
    let parallel = options.parallel.max(1);
    let scope = Scope::Push(repository.to_owned());
    let transfer =
        Transfer { client, repository, scope, gate: Gate::new(parallel), mount_from: &options.mount_from, progress };
    let compressing = Semaphore::new(packing::AT_ONCE);
    let mut seen = HashSet::new();
    let mut layers: Vec<(&DraftLayer, &PlainLayer)> = draft.layers.iter().filter_map(plain).collect();
    layers.retain(|(layer, _)| seen.insert(&layer.diff_id));
    layers.sort_by_key(|(_, plain)| std::cmp::Reverse(plain.size));
    let beside = layers.len().min(packing::AT_ONCE);
    let sending = layers.into_iter().map(|(layer, plain)| {
        let (transfer, compressing, diff_id) = (&transfer, &compressing, &layer.diff_id);
        async move {
            if let Some(descriptor) = known.get(diff_id)
                && has(transfer, descriptor, options.known.as_ref()).await?
            {
                progress(Progress {
                    digest: diff_id.clone(),
                    size: plain.size,
                    sent: plain.size,
                    state: BlobState::Exists,
                });
                return Ok((diff_id.clone(), descriptor.clone(), false));
            }
            let packed = transfer.pack(plain, diff_id, draft.compression, compressing, beside).await?;
            draft.cache.remember(diff_id, draft.compression, &packed)?;
            Ok::<_, Error>((diff_id.clone(), packed.descriptor(draft.compression), true))
        }
    });
    let sent: Vec<(String, Descriptor, bool)> = iter(sending).buffer_unordered(parallel).try_collect().await?;
    let present = sent.iter().map(|(_, descriptor, _)| descriptor.digest.clone()).collect();
    let uploaded = sent.iter().filter(|(.., is_new)| *is_new).count();
    let descriptors: HashMap<String, Descriptor> = sent.into_iter().map(|(id, of, _)| (id, of)).collect();
    let image = draft.recalled(&|diff_id| descriptors.get(diff_id).cloned());
    let image = image.ok_or_else(|| Error::other("a layer was neither found nor sent"))?;
    Ok(Settled { image, present, uploaded })
}

fn plain(layer: &DraftLayer) -> Option<(&DraftLayer, &PlainLayer)> {
    match &layer.content {
        LayerContent::Plain(plain) => Some((layer, plain)),
        LayerContent::Ready(_) => None,
    }
}

async fn has(transfer: &Transfer<'_>, descriptor: &Descriptor, known: Option<&HashSet<String>>) -> Result<bool> {
    match known {
        Some(known) => Ok(known.contains(&descriptor.digest)),
        None => transfer.exists(descriptor).await,
    }
}
