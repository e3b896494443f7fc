//! From an image that an engine holds to its digest in the repository. The engine gives it out only when a layer or the
//! config is missing there, and only until all that is missing has come.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Destination, available};
use crate::deploy::event::{BlobState, Event};
use crate::error::{Error, Result};
use crate::image::draft::LayerContent;
use crate::image::engine::Held;
use crate::image::engine::overlay2::NotAsKept;
use crate::image::saved::{Found, Layer, Sought};
use crate::image::{Blob, BlobSource, Built, Descriptor, Draft, Image, manifest};
use crate::registry::{self, PushOptions};

/// An image, and digests that the repository has.
type Ready = (Image, HashSet<String>);

impl Destination<'_> {
    /// The image, whose layers are in the repository then, and the digests that are known to be there.
    pub(in crate::deploy) async fn settle_held(
        &self,
        held: &Held,
        tags: &[String],
        deployed: Option<&str>,
    ) -> Result<Ready> {
        let path = self.repository.path();
        let diff_ids: Vec<&str> = held.diff_ids.iter().map(String::as_str).collect();
        let recall = async |earlier: &[String]| {
            let (cache, compression) = (&held.cache, held.compression);
            registry::recall_layers(&self.client, path, &diff_ids, cache, compression, earlier).await
        };
        let mut known = recall(&[]).await?;
        let mut config = held.config();
        if let Some(config) = &config
            && let Some(image) = of_layers(held, |id| known.get(id).map(in_registry), config.clone())
            && self.is_there(&image.digest, tags).await?
        {
            return Ok((image, HashSet::new()));
        }
        // Docker's containerd store knows an image by its manifest, or by an index around it: where that is, all of it is.
        if let Some(manifest) = held.cache.manifest_of(&held.id, &held.platform, held.compression)
            && let Some(image) = registry::image(&self.client, path, &manifest, &held.platform).await?
        {
            return Ok(self.present_in_full(image));
        }
        // A manifest's digest is asked for only where it is no config's: some registries fail when it is.
        let mut of_registry = HashSet::new();
        if config.is_none() {
            let there = registry::config(&self.client, path, &held.id).await?.filter(|text| held.is_config(text));
            if let Some(there) = there {
                held.cache.keep_config(&there)?;
                of_registry.insert(held.id.clone());
                config = Some(there);
            } else if let Some(image) = registry::image(&self.client, path, &held.id, &held.platform).await? {
                return Ok(self.present_in_full(image));
            }
        }
        if !diff_ids.iter().all(|diff_id| known.contains_key(*diff_id)) {
            known = recall(&self.earlier(tags, deployed).await).await?;
        }
        let mut present = self.present(&known).await?;
        present.extend(of_registry);
        if let Some(config) = &config
            && let Some(image) = of_layers(held, |id| found(held, &known, &present, id), config.clone())
        {
            self.tell_present(image.blobs.iter(), &present);
            return Ok((image, present));
        }
        let Some(draft) = held.unpacked(|id| found(held, &known, &present, id)).await else {
            return self.settle_saved(held, known, present, tags).await;
        };
        match self.settle_unpacked(held, &draft, &known, &present).await {
            Err(error) if NotAsKept::is_cause_of(&error) => self.set_aside(held, &draft, error).await?,
            settled => return settled,
        }
        // What was sent until then is known by its digest.
        known.extend(recall(&[]).await?);
        present.extend(self.present(&known).await?);
        let saved = self.settle_saved(held, known, present, tags).await;
        saved.map_err(|error| {
            error.hint("docker's copy of the image may be damaged: remove it, then build or pull it again")
        })
    }

    fn present_in_full(&self, image: Image) -> Ready {
        let present = image.blobs.iter().map(|blob| blob.descriptor.digest.clone()).collect();
        self.tell_present(image.blobs.iter(), &present);
        (image, present)
    }

    fn tell_present<'b>(&self, blobs: impl Iterator<Item = &'b Blob>, present: &HashSet<String>) {
        for blob in blobs.filter(|blob| present.contains(&blob.descriptor.digest)) {
            let (digest, size) = (blob.descriptor.digest.clone(), blob.descriptor.size);
            self.events.emit(Event::Blob { digest, size, sent: size, state: BlobState::Exists });
        }
    }

    /// Which of these layers the repository has.
    async fn present(&self, known: &HashMap<String, Descriptor>) -> Result<HashSet<String>> {
        match self.repository.ecr_name() {
            Some(name) => {
                let asked = known.values().map(|descriptor| descriptor.digest.clone()).collect();
                available(name, asked, self.clients).await
            }
            None => registry::present(&self.client, self.repository.path(), known.values()).await,
        }
    }

    /// From where docker keeps the layers on this machine.
    async fn settle_unpacked(
        &self,
        held: &Held,
        draft: &Draft,
        known: &HashMap<String, Descriptor>,
        present: &HashSet<String>,
    ) -> Result<Ready> {
        held.cache.keep_config(&draft.config)?;
        let ready = draft.layers.iter().filter_map(|layer| match &layer.content {
            LayerContent::Ready(blob) => Some(blob),
            LayerContent::Plain(_) => None,
        });
        self.tell_present(ready, present);
        let found_in = self.elsewhere(known.values().map(|descriptor| descriptor.digest.as_str()));
        let options = PushOptions { known: Some(present.clone()), found_in, ..Default::default() };
        let path = self.repository.path();
        let settled = registry::settle(&self.client, path, draft, known, &options, &self.progress()).await?;
        Ok((settled.image, present.union(&settled.present).cloned().collect()))
    }

    /// Tells why the layers are not taken from docker's folders after all.
    ///
    /// # Errors
    /// When docker does not have the image any more.
    async fn set_aside(&self, held: &Held, draft: &Draft, error: Error) -> Result<()> {
        for layer in draft.layers.iter().filter(|layer| matches!(layer.content, LayerContent::Plain(_))) {
            let (digest, state) = (layer.diff_id.clone(), BlobState::Abandoned);
            self.events.emit(Event::Blob { digest, size: 0, sent: 0, state });
        }
        held.confirm().await?;
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        self.events.warn(format!("{error}{cause}"), Some("docker is asked for the image itself".to_owned()));
        Ok(())
    }

    async fn settle_saved(
        &self,
        held: &Held,
        known: HashMap<String, Descriptor>,
        mut present: HashSet<String>,
        tags: &[String],
    ) -> Result<Ready> {
        let mut layers: HashMap<String, Blob> =
            held.diff_ids.iter().filter_map(|id| Some((id.clone(), found(held, &known, &present, id)?))).collect();
        self.tell_present(layers.values(), &present);
        let sought = Sought {
            config: Some(held.id.clone()),
            diff_ids: held.diff_ids.clone(),
            missing: held.diff_ids.iter().filter(|id| !layers.contains_key(*id)).cloned().collect(),
            // by both of their names
            passed: layers.iter().flat_map(|(id, blob)| [id.clone(), blob.descriptor.digest.clone()]).collect(),
        };
        let (blobs, to_send) = mpsc::unbounded_channel();
        let (came, mut coming) = mpsc::unbounded_channel();
        let on_layer = move |layer: Layer| {
            // whoever is gone has said why
            let _ = blobs.send(layer.blob.clone());
            let _ = came.send(layer);
        };
        let found_in = self.elsewhere(known.values().map(|descriptor| descriptor.digest.as_str()));
        let options = PushOptions { found_in, ..Default::default() };
        let (path, progress) = (self.repository.path(), self.progress());
        let sending = registry::send_as_they_come(&self.client, path, to_send, &options, &progress);
        let (saved, sent) = tokio::try_join!(held.save(sought, on_layer), sending)?;
        present.extend(sent);
        while let Ok(layer) = coming.try_recv() {
            layers.insert(layer.diff_id, layer.blob);
        }
        match saved {
            Found::Enough(config) => {
                let image = of_layers(held, |id| layers.get(id).cloned(), config);
                let image = image.ok_or_else(|| Error::other("a layer was neither found nor sent"))?;
                Ok((image, present))
            }
            // The id is not the config's: the image is what the archive says.
            Found::All(saved) => {
                let platform = held.platform.clone();
                let image = tokio::task::spawn_blocking(move || saved.image(Some(&platform), &layers)).await;
                let image =
                    image.map_err(|error| Error::build_or_push("reading the image was broken off").cause(error));
                let (image, present) = match image?? {
                    Built::Draft(draft) => {
                        let known = registry::recall(&self.client, path, &draft, &[]).await?;
                        let settled = self.settle(&draft, known, tags, None).await?;
                        present.extend(settled.present);
                        (settled.image, present)
                    }
                    Built::Image(image) => (image, present),
                    _ => return Err(Error::other("an archive held no image")),
                };
                held.cache.note_manifest(&held.id, &held.platform, held.compression, &image.digest)?;
                Ok((image, present))
            }
        }
    }
}

/// A layer that is in the repository, or lies in the cache since a run that was broken off.
fn found(held: &Held, known: &HashMap<String, Descriptor>, present: &HashSet<String>, diff_id: &str) -> Option<Blob> {
    match known.get(diff_id) {
        Some(descriptor) if present.contains(&descriptor.digest) => Some(in_registry(descriptor)),
        _ => held.kept(diff_id),
    }
}

fn in_registry(descriptor: &Descriptor) -> Blob {
    Blob { descriptor: descriptor.clone(), source: BlobSource::InRegistry }
}

fn of_layers(held: &Held, layer: impl Fn(&str) -> Option<Blob>, config: Bytes) -> Option<Image> {
    let layers = held.diff_ids.iter().map(|id| layer(id));
    Some(manifest::write(layers.collect::<Option<Vec<Blob>>>()?, config, held.platform.clone()))
}
