//! From the members of a stream to the one image among them.

use std::collections::HashMap;
use std::io;

use bytes::Bytes;

use super::{Layer, Member, Saved, want};
use crate::error::{Error, Result};
use crate::image::archive::{DockerImage, docker_images};
use crate::image::draft::{DraftLayer, LayerContent};
use crate::image::index::listed;
use crate::image::layout::{self, Located};
use crate::image::{Blob, BlobSource, Built, Descriptor, Draft, Image, Platform, config, digest, manifest};

pub(super) fn no_image(name: &str) -> Error {
    Error::input(format!("{name} is not an archive of an image"))
        .hint("`docker save NAME`, `podman save NAME` and `skopeo copy … oci-archive:FILE` write them")
}

impl Saved {
    /// The one image, for `wanted`. `known` are the layers that were passed over, by diffID.
    ///
    /// # Errors
    /// `Input` when there is no image, none for the platform, or several; `BuildOrPush` when something of it is missing.
    pub fn image(self, wanted: Option<&Platform>, known: &HashMap<String, Blob>) -> Result<Built> {
        let is_layout = self.members.contains_key("index.json") && self.members.contains_key("oci-layout");
        let built = match self.members.contains_key("manifest.json") {
            // Docker's own list is preferred where it names layers as they are: the layout beside it had none of them
            // in Docker 25.0, and its manifest is no one's once they are compressed.
            true => match self.docker(known, !is_layout)? {
                Some(draft) => Built::Draft(draft),
                None => self.layout(wanted, known)?,
            },
            false if is_layout => self.layout(wanted, known)?,
            false => return Err(no_image(&self.name)),
        };
        match &built {
            Built::Image(image) => image.blobs.iter().for_each(want),
            Built::Draft(draft) => draft.layers.iter().for_each(|layer| match &layer.content {
                LayerContent::Ready(blob) => want(blob),
                LayerContent::Plain(_) => {}
            }),
            Built::Held(_) | Built::Index(_) | Built::Platforms(_) => {}
        }
        match wanted {
            Some(wanted) if !built.is_for(wanted) => Err(Error::input(format!(
                "{} holds an image for {}, and {wanted} is wanted",
                self.name,
                listed(&built.platforms())
            ))
            .hint(manifest::OTHER_PLATFORM)),
            _ => Ok(built),
        }
    }

    /// What `manifest.json` lists. `None` when it is not one image of layers as they are, unless it has to be.
    fn docker(&self, known: &HashMap<String, Blob>, has_to_be: bool) -> Result<Option<Draft>> {
        let images = docker_images(&self.read_document("manifest.json")?, &self.name)?;
        let image = match DockerImage::only(images, &self.name) {
            Err(_) if !has_to_be => return Ok(None),
            only => only?,
        };
        let config = self.read_document(&image.config)?;
        let diff_ids = config::diff_ids(&config)?;
        if diff_ids.len() != image.layers.len() {
            return Err(Error::build_or_push(format!(
                "{} holds {} layers, and its config lists {}",
                self.name,
                image.layers.len(),
                diff_ids.len()
            )));
        }
        let mut layers = Vec::new();
        for (name, diff_id) in image.layers.iter().zip(diff_ids) {
            let blob = match self.find(name) {
                Some(Member::Plain(Layer { diff_id: found, blob }, _)) if *found == diff_id => blob.clone(),
                Some(Member::Plain(Layer { diff_id: found, .. }, _)) => return Err(self.damaged(&diff_id, found)),
                Some(Member::Passed(digest, _)) if *digest == diff_id => match known.get(&diff_id) {
                    Some(blob) => blob.clone(),
                    None => return Err(self.lacks(name)),
                },
                Some(_) if !has_to_be => return Ok(None),
                Some(Member::Packed(descriptor, source)) => self.verified(descriptor, source, &diff_id)?,
                _ => return Err(self.lacks(name)),
            };
            layers.push(DraftLayer { diff_id, content: LayerContent::Ready(blob) });
        }
        let platform = manifest::platform_of(&config)?;
        Ok(Some(self.draft(config, layers, platform)))
    }

    /// What `index.json` leads to: as it is when its layers are compressed, so that it keeps its digest.
    fn layout(&self, wanted: Option<&Platform>, known: &HashMap<String, Blob>) -> Result<Built> {
        let member = |digest: &str| self.find(&format!("blobs/sha256/{}", digest::hex_of(digest)?));
        let locate = |descriptor: &Descriptor| {
            let (path, size) = match member(&descriptor.digest)? {
                Member::Document(path, size) => (path.clone(), *size),
                Member::Packed(descriptor, _) => (Default::default(), descriptor.size),
                Member::Plain(_, size) | Member::Passed(_, size) => (Default::default(), *size),
                Member::Link(_) => return None,
            };
            Some(Located { path, offset: 0, size })
        };
        let index = self.read_document("index.json")?;
        let mut image = layout::resolve(&index, &locate, wanted, &self.name)?;
        let count = image.layers().len();
        let mut plain = false;
        for blob in &mut image.blobs[..count] {
            match member(&blob.descriptor.digest) {
                Some(Member::Packed(_, source)) => blob.source = source.clone(),
                // Compressed, it is there; as it is, only what it was compressed to.
                Some(Member::Passed(digest, _)) => {
                    // or here, since a run that was broken off
                    let here = known.values().find(|blob| blob.descriptor.digest == *digest);
                    blob.source = here.map_or(BlobSource::InRegistry, |blob| blob.source.clone());
                    plain |= known.contains_key(digest);
                }
                Some(Member::Plain(..)) => plain = true,
                _ => return Err(self.lacks(&blob.descriptor.digest)),
            }
        }
        if !plain {
            return Ok(Built::Image(image));
        }
        let diff_ids = config::diff_ids(&image.config)?;
        if diff_ids.len() != count {
            return Err(Error::build_or_push(format!("the config of {} lists another number of layers", self.name)));
        }
        self.of_plain(image, diff_ids, known).map(Built::Draft)
    }

    fn of_plain(&self, image: Image, diff_ids: Vec<String>, known: &HashMap<String, Blob>) -> Result<Draft> {
        let layers = image.layers().iter().zip(diff_ids).map(|(blob, diff_id)| {
            let name = format!("blobs/sha256/{}", digest::hex_of(&blob.descriptor.digest).unwrap_or_default());
            let blob = match (self.find(&name), known.get(&diff_id)) {
                (Some(Member::Plain(layer, _)), _) if layer.diff_id == diff_id => layer.blob.clone(),
                (Some(Member::Plain(layer, _)), _) => return Err(self.damaged(&diff_id, &layer.diff_id)),
                (Some(Member::Passed(digest, _)), Some(known)) if *digest == diff_id => known.clone(),
                _ => {
                    let media_type = manifest::oci_layer_type(&blob.descriptor.media_type).to_owned();
                    Blob { descriptor: Descriptor { media_type, ..blob.descriptor.clone() }, ..blob.clone() }
                }
            };
            Ok(DraftLayer { diff_id, content: LayerContent::Ready(blob) })
        });
        let layers = layers.collect::<Result<Vec<DraftLayer>>>()?;
        Ok(self.draft(image.config.clone(), layers, image.platform))
    }

    fn draft(&self, config: Bytes, layers: Vec<DraftLayer>, platform: Platform) -> Draft {
        let (compression, cache) = (self.compression, self.cache.clone());
        Draft { config, layers, platform, compression, cache }
    }

    /// A layer that came compressed where its name says nothing of its content.
    fn verified(&self, descriptor: &Descriptor, source: &BlobSource, diff_id: &str) -> Result<Blob> {
        let BlobSource::Spooled(spool) = source else { return Err(self.lacks(diff_id)) };
        let unpacked = || -> io::Result<String> {
            let mut content = digest::Hasher::new();
            let file = io::BufReader::new(std::fs::File::open(spool.path())?);
            match descriptor.media_type == manifest::LAYER_GZIP {
                true => io::copy(&mut flate2::bufread::MultiGzDecoder::new(file), &mut content)?,
                false => io::copy(&mut zstd::stream::read::Decoder::with_buffer(file)?, &mut content)?,
            };
            Ok(content.finish())
        };
        let found = unpacked()
            .map_err(|error| Error::build_or_push(format!("a layer of {} is damaged", self.name)).cause(error))?;
        if found != diff_id {
            return Err(self.damaged(diff_id, &found));
        }
        Ok(Blob { descriptor: descriptor.clone(), source: source.clone() })
    }

    fn damaged(&self, diff_id: &str, found: &str) -> Error {
        Error::build_or_push(format!("a layer of {} is damaged", self.name))
            .hint(format!("its content is `{found}`, and the image's config says `{diff_id}`: make the image again"))
    }
}
