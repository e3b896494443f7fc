//! From layers as they are to an image: what the repository has is only named, the rest is compressed on its way there.

use std::collections::{HashMap, HashSet};

use futures_util::stream::{StreamExt, TryStreamExt, iter};
use tokio::sync::Semaphore;

use super::client::Client;
use super::gate::{Gate, places};
use super::packing;
use super::pull::earlier_layers;
use super::upload::{Packing, Transfer};
use super::{BlobState, Progress, PushOptions, Scope};
use crate::error::{Error, Result};
use crate::image::cache::Compressed;
use crate::image::draft::{Draft, DraftLayer, LayerContent, PlainLayer};
use crate::image::{BlobCache, Compression, Descriptor, Image};

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
    let plain = draft.layers.iter().filter(|layer| matches!(layer.content, LayerContent::Plain(_)));
    let diff_ids: Vec<&str> = plain.map(|layer| layer.diff_id.as_str()).collect();
    recall_layers(client, repository, &diff_ids, &draft.cache, draft.compression, references).await
}

/// The same, for layers of these diffIDs.
pub async fn recall_layers(
    client: &Client,
    repository: &str,
    diff_ids: &[&str],
    cache: &BlobCache,
    compression: Compression,
    references: &[String],
) -> Result<HashMap<String, Descriptor>> {
    let own =
        |diff_id: &&str| Some(((*diff_id).to_owned(), cache.recall(diff_id, compression)?.descriptor(compression)));
    let mut known: HashMap<String, Descriptor> = diff_ids.iter().filter_map(own).collect();
    for reference in references {
        if diff_ids.iter().all(|diff_id| known.contains_key(*diff_id)) {
            break;
        }
        let earlier = earlier_layers(client, repository, reference, compression).await?;
        for (diff_id, descriptor) in earlier {
            known.entry(diff_id).or_insert(descriptor);
        }
    }
    Ok(known)
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
    let scope = Scope::Push(repository.to_owned());
    let tell = |digest: &str, size: u64, state: BlobState| {
        let sent = if state == BlobState::Checking { 0 } else { size };
        progress(Progress { digest: digest.to_owned(), size, sent, state });
    };
    // One name from first to last: the diffID. What it is compressed to has another, which is not told; nor is that it is
    // there, before its size there is known.
    let diff_ids: HashSet<&str> = draft.layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    let on_its_way = |of: Progress| match of.state {
        BlobState::Uploading if diff_ids.contains(&*of.digest) && of.sent < of.size => {
            progress(Progress { state: BlobState::Compressing, ..of });
        }
        BlobState::Uploading if diff_ids.contains(&*of.digest) => progress(of),
        _ => {}
    };
    let transfer = Transfer {
        client,
        repository,
        scope,
        gate: Gate::new(options.parallel),
        mount_from: &options.mount_from,
        found_in: &options.found_in,
        origin: None,
        progress: &on_its_way,
    };
    let compressing = Semaphore::new(packing::AT_ONCE);
    let mut seen = HashSet::new();
    let mut layers: Vec<(&DraftLayer, &PlainLayer)> = draft.layers.iter().filter_map(plain).collect();
    layers.retain(|(layer, _)| seen.insert(&layer.diff_id));
    layers.sort_by_key(|(_, plain)| std::cmp::Reverse(plain.size()));
    let beside = layers.len().min(packing::AT_ONCE);
    layers.iter().for_each(|(layer, plain)| tell(&layer.diff_id, plain.size(), BlobState::Checking));
    let tell = &tell;
    let sending = layers.into_iter().map(|(layer, plain)| {
        let (transfer, compressing, diff_id) = (&transfer, &compressing, &layer.diff_id);
        async move {
            if let Some(descriptor) = known.get(diff_id)
                && has(transfer, descriptor, options.known.as_ref()).await?
            {
                tell(diff_id, descriptor.size, BlobState::Exists);
                return Ok((diff_id.clone(), descriptor.clone(), false));
            }
            let compression = draft.compression;
            let found = |packed: &Compressed| draft.cache.remember(diff_id, compression, packed);
            let known = known.get(diff_id);
            let packing = Packing { layer: plain, diff_id, compression, known, compressing, beside, found: &found };
            let (packed, state) = transfer.pack(packing).await?;
            tell(diff_id, packed.size, state);
            Ok::<_, Error>((diff_id.clone(), packed.descriptor(compression), state == BlobState::Pushed))
        }
    });
    let sent: Vec<(String, Descriptor, bool)> =
        iter(sending).buffer_unordered(places(options.parallel)).try_collect().await?;
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
