//! An image that an engine holds: what the engine tells of it, and its bytes only when something of them is missing.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

use super::builders::{Builder, Engine};
use super::overlay2::{self, Store};
use super::process::{self, Reading};
use super::socket;
use crate::error::{Error, Kind, Result};
use crate::image::draft::{DraftLayer, LayerContent, PlainLayer};
use crate::image::saved::{self, Found, Layer, Sought};
use crate::image::{Blob, BlobCache, BlobSource, Built, Compression, Draft, Open, Platform, digest, manifest};

/// What an engine says of an image is no longer.
const MAX_TEXT: u64 = 8 << 20;

#[derive(Debug, Clone)]
pub struct Held {
    pub engine: Engine,
    /// The digest of the image's config; with docker's containerd store that of its manifest or index.
    pub id: String,
    /// Lowest layer first.
    pub diff_ids: Vec<String>,
    pub platform: Platform,
    /// The config, where the engine tells it byte for byte.
    config: Option<Bytes>,
    folder: PathBuf,
    store: Option<Store>,
    pub cache: BlobCache,
    pub compression: Compression,
}

impl Held {
    /// The image config, if it is known without asking the engine for the whole image.
    pub fn config(&self) -> Option<Bytes> {
        self.config.clone().or_else(|| self.cache.config(&self.id)).filter(|config| self.is_config(config))
    }

    /// Whether this is the image's config, and not some manifest that has its id for a digest.
    pub fn is_config(&self, text: &[u8]) -> bool {
        digest::of(text) == self.id && crate::image::config::diff_ids(text).is_ok_and(|ids| ids == self.diff_ids)
    }

    /// What errors call it.
    pub fn name(&self) -> String {
        let id = digest::hex_of(&self.id).map_or(self.id.as_str(), |hex| &hex[..12]);
        format!("the image {id} that {} gave", self.engine.builder)
    }

    /// The image with the layers that `there` does not have as docker keeps them on this machine: without the daemon, each
    /// beside the other. `None` where that may not be read.
    pub async fn unpacked(&self, there: impl Fn(&str) -> Option<Blob>) -> Option<Draft> {
        let store = self.store.clone()?;
        let chain_ids = overlay2::chain_ids(&self.diff_ids);
        let layers = self.diff_ids.iter().zip(chain_ids).map(|(diff_id, chain_id)| {
            let (store, diff_id, there) = (store.clone(), diff_id.clone(), there(diff_id));
            // Its size only its notes tell: they are read beside each other.
            tokio::task::spawn_blocking(move || {
                let content = match there {
                    Some(blob) => LayerContent::Ready(blob),
                    None => LayerContent::Plain(PlainLayer::Unpacked(store.layer(&chain_id, &diff_id)?.into())),
                };
                Ok::<_, io::Error>(DraftLayer { diff_id, content })
            })
        });
        let layers: Vec<_> = layers.collect();
        let read = async {
            let config = match self.config() {
                Some(config) => config,
                None => store.config(&self.id)?,
            };
            if !self.is_config(&config) {
                return Err(io::Error::other("another config than docker tells of"));
            }
            let layers = futures_util::future::try_join_all(layers).await?.into_iter().collect::<io::Result<_>>()?;
            Ok((config, layers))
        };
        let (config, layers) =
            read.await.inspect_err(|error| tracing::debug!(%error, "docker's folders are of no use")).ok()?;
        let (platform, compression, cache) = (self.platform.clone(), self.compression, self.cache.clone());
        Some(Draft { config, layers, platform, compression, cache })
    }

    /// Whether the engine has it still.
    ///
    /// # Errors
    /// `BuildOrPush` when it has not, or does not answer.
    pub async fn confirm(&self) -> Result<()> {
        let (platform, cache) = (Some(self.platform.clone()), self.cache.clone());
        let open = Open { platform, cache, compression: self.compression };
        let again = hold(&self.engine, &self.id, &self.folder, &open).await;
        again.map(drop).map_err(|error| {
            error.with_kind(Kind::BuildOrPush).hint(
                "it was there when the push began: build or pull it again; layers that were sent are not sent again",
            )
        })
    }

    /// Has the engine give out the image, until all that is sought was there. Each missing layer goes to `on_layer` as
    /// soon as it is compressed.
    ///
    /// # Errors
    /// `BuildOrPush` when the engine fails, or what it gives is damaged.
    pub async fn save(&self, sought: Sought, on_layer: impl FnMut(Layer) + Send + 'static) -> Result<Found> {
        let reads = self.reads(sought, on_layer);
        let found = match self.api().await {
            Some(given) => given.read(|mut body| reads(&mut body)).await?,
            None => {
                let save = self.engine.save(&self.id, &self.folder);
                process::read(&save, |mut pipe| reads(&mut pipe)).await.map_err(|error| {
                    match self.diff_ids.is_empty() {
                        true => {
                            error.hint("the image has no layer: give it a file; engines may not save it without one")
                        }
                        false => error,
                    }
                })?
            }
        };
        if let Found::Enough(config) = &found {
            self.cache.keep_config(config)?;
        }
        Ok(found)
    }

    async fn api(&self) -> Option<socket::Given> {
        let endpoint = self.engine.endpoint(&self.folder)?;
        socket::get(&socket::socket(&endpoint).await?, &self.id).await
    }

    fn reads<F: FnMut(Layer) + Send + 'static>(
        &self,
        sought: Sought,
        mut on_layer: F,
    ) -> impl FnOnce(&mut dyn Read) -> Result<Reading<Found>> + Send + use<F> {
        let (name, cache, compression) = (self.name(), self.cache.clone(), self.compression);
        move |from| {
            let mut from = ToItsEnd { from, ended: false };
            match saved::read(&mut from, &name, &sought, &cache, compression, &mut on_layer) {
                Ok(found @ Found::Enough(_)) => Ok(Reading::Enough(found)),
                // the engine's own word why there was no more
                other if from.ended => Ok(Reading::ToTheEnd(other)),
                // read on, so that the engine does not fail because nobody listens
                Ok(found) => Ok(Reading::ToTheEnd(
                    io::copy(&mut from, &mut io::sink()).map(|_| found).map_err(|error| cache.failed(error)),
                )),
                Err(error) => Err(error),
            }
        }
    }

    /// The image with all its layers here.
    ///
    /// # Errors
    /// As [`Held::save`], and `Input` when there is no image for the platform.
    pub async fn fetched(&self) -> Result<Built> {
        let Found::All(saved) = self.save(Sought::default(), |_| {}).await? else {
            return Err(Error::other("a whole image was asked for, and a part of it came"));
        };
        let platform = self.platform.clone();
        let image = tokio::task::spawn_blocking(move || saved.image(Some(&platform), &HashMap::new())).await;
        image.map_err(|error| Error::build_or_push("reading the engine's image was broken off").cause(error))?
    }

    /// A layer that lies in the cache since a run that was broken off.
    pub fn kept(&self, diff_id: &str) -> Option<Blob> {
        let (compressed, path) = self.cache.compressed(diff_id, self.compression)?;
        Some(Blob { descriptor: compressed.descriptor(self.compression), source: BlobSource::Cached(path) })
    }
}

/// What an engine knows of the image that it calls `name`.
///
/// # Errors
/// `Preflight` when it does not answer or has no such image; `Input` when that is for another platform; `BuildOrPush` when it does not say.
pub async fn hold(engine: &Engine, name: &str, folder: &Path, open: &Open) -> Result<Held> {
    let read = |pipe: io::PipeReader| {
        let mut text = Vec::new();
        let read = pipe.take(MAX_TEXT).read_to_end(&mut text);
        Ok(Reading::ToTheEnd(read.map(|_| text).map_err(|error| Error::build_or_push("cannot read it").cause(error))))
    };
    let builder = engine.builder;
    let said =
        process::read(&engine.inspect(name, folder), read).await.map_err(|error| absent(error, builder, name))?;
    let unclear = || {
        Error::build_or_push(format!("{builder} does not say what it knows of the image `{name}`")).hint(format!(
            "`{builder} image inspect {name}` must say its `Id` and `RootFS.Layers`; is this an old {builder}?"
        ))
    };
    let told: Value = serde_json::from_slice(&said).map_err(|error| unclear().cause(error))?;
    let told = if told.is_array() { &told[0] } else { &told };
    let about = Told::read(told, builder).ok_or_else(unclear)?;
    if let Some(wanted) = open.platform.as_ref().filter(|wanted| !about.several && !about.platform.matches(wanted)) {
        let error = format!("{builder}'s image `{name}` is for {}, and {wanted} is wanted", about.platform);
        return Err(Error::input(error).hint(manifest::OTHER_PLATFORM));
    }
    let platform = if about.several { open.platform.clone().unwrap_or(about.platform) } else { about.platform };
    Ok(Held {
        engine: engine.clone(),
        id: about.id,
        diff_ids: about.diff_ids,
        platform,
        config: about.config,
        folder: folder.to_owned(),
        store: (builder == Builder::Docker).then(|| Store::of(told)).flatten(),
        cache: open.cache.clone(),
        compression: open.compression,
    })
}

struct ToItsEnd<'r> {
    from: &'r mut dyn Read,
    ended: bool,
}

impl Read for ToItsEnd<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.ended |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

struct Told {
    id: String,
    diff_ids: Vec<String>,
    platform: Platform,
    config: Option<Bytes>,
    /// An index, in docker's containerd store: what else is told is of the platform of this machine.
    several: bool,
}

impl Told {
    fn read(told: &Value, builder: Builder) -> Option<Told> {
        let (id, layers, platform, config) = match builder {
            Builder::Buildah => {
                let config = told["Config"].as_str().map(|text| Bytes::from(text.to_owned()));
                (&told["FromImageID"], &told["OCIv1"]["rootfs"]["diff_ids"], &told["OCIv1"], config)
            }
            _ => (&told["Id"], &told["RootFS"]["Layers"], told, None),
        };
        // podman and buildah leave the algorithm out
        let id = id.as_str().map(|id| format!("sha256:{}", id.trim_start_matches("sha256:")))?;
        let text = |name: &str, other: &str| {
            let text = platform[name].as_str().or(platform[other].as_str());
            text.filter(|text| !text.is_empty())
        };
        let platform = Platform::new(
            text("Os", "os").unwrap_or("linux"),
            text("Architecture", "architecture").unwrap_or("amd64"),
            text("Variant", "variant"),
        );
        // An image without layers has none listed.
        let diff_ids: Vec<String> = match layers {
            Value::Null => Vec::new(),
            layers => layers.as_array()?.iter().map(|id| id.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        };
        let sound = digest::is_valid(&id) && diff_ids.iter().all(|id| digest::is_valid(id));
        let several = told["Descriptor"]["mediaType"].as_str().is_some_and(manifest::is_index);
        sound.then_some(Told { id, diff_ids, platform, config, several })
    }
}

fn absent(error: Error, builder: Builder, name: &str) -> Error {
    let said = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default().to_ascii_lowercase();
    let unknown = ["no such image", "no such object", "image not known", "not found"];
    match unknown.iter().any(|words| said.contains(words)) && !said.contains("executable") {
        true => Error::preflight(format!("{builder} has no image `{name}`"))
            .cause(said)
            .hint(format!("`{builder} images` lists those that it has")),
        false => Error::preflight(format!("{builder} does not say whether it has the image `{name}`"))
            .cause(error)
            .hint(format!("is {builder} installed, and does `{builder} info` answer?")),
    }
}
