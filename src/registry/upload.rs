//! One blob into a repository: exists, mounted, or POST and one streaming PUT. A failed upload begins anew with a
//! new POST; a session that broke is never continued.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Response, StatusCode};
use tokio::sync::Semaphore;
use url::Url;

use super::body::{self, Meter};
use super::client::Client;
use super::gate::Gate;
use super::packing::{self, Spoiled};
use super::relay::Origin;
use super::retry::{Failure, Refusal, persist};
use super::{BlobState, Progress, Scope};
use crate::error::{Error, Result};
use crate::image::cache::Compressed;
use crate::image::draft::PlainLayer;
use crate::image::{Blob, BlobSource, Compression, Descriptor};

/// How often progress is told and stalls are looked for.
const TICK: Duration = Duration::from_millis(100);

pub(super) const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// A layer up to this size is compressed in memory before it is sent.
const SMALL: u64 = 1 << 20;

/// A registry that has every byte may take this many times longer than a stall to store them.
const COMMIT_PATIENCE: u32 = 5;

/// What one push's transfers have in common.
pub(super) struct Transfer<'a> {
    pub(super) client: &'a Client,
    pub(super) repository: &'a str,
    pub(super) scope: Scope,
    pub(super) gate: Gate,
    /// Repositories of the same registry that may have the blob.
    pub(super) mount_from: &'a [String],
    /// Where blobs are that are in another registry.
    pub(super) origin: Option<&'a Origin>,
    /// By digest, a repository of the same registry that is known to have it.
    pub(super) found_in: &'a HashMap<String, String>,
    pub(super) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

/// A layer that is compressed on its way.
pub(super) struct Packing<'a> {
    pub(super) layer: &'a PlainLayer,
    pub(super) diff_id: &'a str,
    pub(super) compression: Compression,
    /// What it was compressed to before.
    pub(super) known: Option<&'a Descriptor>,
    /// Who may use the processors.
    pub(super) compressing: &'a Semaphore,
    /// How many layers are compressed at once.
    pub(super) beside: usize,
    /// Told what it is compressed to, before the registry has it.
    pub(super) found: &'a (dyn Fn(&Compressed) -> Result<()> + Send + Sync),
}

impl Transfer<'_> {
    fn tell(&self, descriptor: &Descriptor, sent: u64, state: BlobState) {
        (self.progress)(Progress { digest: descriptor.digest.clone(), size: descriptor.size, sent, state });
    }

    /// Sees to it that the repository has the blob. `known` says whether it does, if someone has asked already.
    pub(super) async fn put(&self, blob: &Blob, known: Option<bool>) -> Result<BlobState> {
        let state = self.brought(blob, known).await?;
        blob.arrived();
        Ok(state)
    }

    async fn brought(&self, blob: &Blob, known: Option<bool>) -> Result<BlobState> {
        let _pass = self.gate.enter(blob.descriptor.size).await;
        let descriptor = &blob.descriptor;
        let exists = match known {
            Some(known) => known,
            None => {
                self.tell(descriptor, 0, BlobState::Checking);
                self.exists(descriptor).await?
            }
        };
        if exists {
            self.tell(descriptor, descriptor.size, BlobState::Exists);
            return Ok(BlobState::Exists);
        }
        // A mount that was declined is not asked for again.
        let mut mount = self.found_in.get(&descriptor.digest).or(self.mount_from.first());
        let mut unsure = false;
        let state = persist(self.client, &self.scope, Some(&self.gate), async || {
            // The answer that was lost may have been a yes.
            if unsure && self.exists(descriptor).await? {
                return Ok(BlobState::Pushed);
            }
            self.upload(blob, mount.take().map(String::as_str), &mut unsure).await
        })
        .await?;
        self.tell(descriptor, descriptor.size, state);
        Ok(state)
    }

    pub(super) async fn exists(&self, descriptor: &Descriptor) -> Result<bool> {
        let url = self.client.url(&format!("/v2/{}/blobs/{}", self.repository, descriptor.digest))?;
        persist(self.client, &self.scope, Some(&self.gate), async || {
            let response = self.client.head(&url, &self.scope, None).await?;
            let status = response.status();
            if status.is_success() || status.is_redirection() {
                return Ok(true);
            }
            let trouble = status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
            if trouble || status == StatusCode::TOO_MANY_REQUESTS {
                return Err(Refusal::read(response, self.client).await.into_failure(self.client, "look for a blob"));
            }
            Ok(false)
        })
        .await
    }

    /// `unsure` is set when the registry may have taken the blob, whatever this returns.
    async fn upload(&self, blob: &Blob, mount: Option<&str>, unsure: &mut bool) -> Result<BlobState, Failure> {
        let descriptor = &blob.descriptor;
        let Some(mut session) = self.begin(&descriptor.digest, mount).await? else {
            return Ok(BlobState::Mounted);
        };
        *unsure = true;
        session.query_pairs_mut().append_pair("digest", &descriptor.digest);
        self.tell(descriptor, 0, BlobState::Uploading);
        if matches!(blob.source, BlobSource::Elsewhere) {
            let response = self.relay(descriptor, &session).await?;
            self.committed(response, &descriptor.digest).await?;
            return Ok(BlobState::Pushed);
        }
        let meter = Arc::new(Meter::default());
        let response = self.send(blob, &session, &meter).await;
        if meter.changed() {
            return Err(changed(descriptor).into());
        }
        let response = response?;
        if is_taken(&response) {
            check_digest(self.client, &response, &descriptor.digest)?;
            return Ok(BlobState::Pushed);
        }
        let refusal = Refusal::read(response, self.client).await;
        match refusal.has("DIGEST_INVALID") && !body::is_sound(blob).await {
            true => Err(changed(descriptor).into()),
            false => Err(self.refused(refusal, &descriptor.digest)),
        }
    }

    /// Where an upload goes; `None` when the blob was mounted instead. A registry that does not mount lends a session,
    /// which is used; for any other answer the upload begins as if nobody had asked.
    async fn begin(&self, digest: &str, mount: Option<&str>) -> Result<Option<Url>, Failure> {
        let start = self.client.url(&format!("/v2/{}/blobs/uploads/", self.repository))?;
        if let Some(from) = mount {
            let mut asking = start.clone();
            asking.query_pairs_mut().append_pair("mount", digest).append_pair("from", from);
            let scope = Scope::Mount { to: self.repository.to_owned(), from: from.to_owned() };
            match self.client.post(&asking, &scope).await {
                Ok(response) if response.status() == StatusCode::CREATED => return Ok(None),
                Ok(response) if response.status() == StatusCode::ACCEPTED => {
                    return Ok(Some(self.client.location(&response)?));
                }
                _ => tracing::debug!(digest, from, "not mounted"),
            }
        }
        let response = self.client.post(&start, &self.scope).await?;
        match response.status() {
            StatusCode::ACCEPTED => Ok(Some(self.client.location(&response)?)),
            _ => {
                let refusal = Refusal::read(response, self.client).await;
                Err(refusal.into_failure(self.client, "start an upload"))
            }
        }
    }

    /// Sees to it that the registry took the blob.
    async fn committed(&self, response: Response, digest: &str) -> Result<(), Failure> {
        match is_taken(&response) {
            true => Ok(check_digest(self.client, &response, digest)?),
            false => Err(self.refused(Refusal::read(response, self.client).await, digest)),
        }
    }

    fn refused(&self, refusal: Refusal, what: &str) -> Failure {
        // The session is gone or out of step, or the bytes were damaged on the way: a new one may do.
        let anew = refusal.status == StatusCode::RANGE_NOT_SATISFIABLE
            || ["BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID", "SIZE_INVALID"]
                .iter()
                .any(|code| refusal.has(code));
        let doing = format!("take the blob {what}");
        match anew {
            true => Failure::again(refusal.error(self.client, &doing)),
            false => refusal.into_failure(self.client, &doing),
        }
    }

    /// Compresses a layer into the repository, and says what it was compressed to: to `found` as soon as that is known, and
    /// to the caller when the registry has it. `known` is what it was compressed to before.
    pub(super) async fn pack(&self, packing: Packing<'_>) -> Result<(Compressed, BlobState)> {
        let Packing { layer, diff_id, compression, .. } = packing;
        let name = Descriptor {
            media_type: compression.media_type().to_owned(),
            digest: diff_id.to_owned(),
            size: layer.size(),
        };
        if layer.size() <= SMALL {
            let turn = packing.compressing.acquire().await;
            let (packed, bytes) = packing::whole(layer, diff_id, compression).await?;
            drop(turn);
            (packing.found)(&packed)?;
            // It is known now, and goes in one request; nobody has it, as far as is known.
            let blob = Blob { descriptor: packed.descriptor(compression), source: BlobSource::Memory(bytes) };
            let state = self.put(&blob, Some(false)).await?;
            self.tell(&name, name.size, state);
            return Ok((packed, state));
        }
        let _pass = self.gate.enter(layer.size()).await;
        let _turn = packing.compressing.acquire().await;
        let mut mount = packing
            .known
            .and_then(|known| Some((known, self.found_in.get(&known.digest).or(self.mount_from.first())?)));
        let mut unsure = None;
        let (packed, state) = persist(self.client, &self.scope, Some(&self.gate), async || {
            // The answer that was lost may have been a yes.
            if let Some(packed) = &unsure
                && self.exists(&Compressed::descriptor(packed, compression)).await?
            {
                return Ok((packed.clone(), BlobState::Pushed));
            }
            let (digest, from) = match mount.take() {
                Some((known, from)) => (known.digest.as_str(), Some(from.as_str())),
                None => ("", None),
            };
            match (self.begin(digest, from).await?, packing.known) {
                (Some(session), _) => self.pack_once(&packing, &name, &session, &mut unsure).await,
                (None, Some(known)) => {
                    let mounted = Compressed { digest: known.digest.clone(), size: known.size };
                    Ok((mounted, BlobState::Mounted))
                }
                (None, None) => Err(Error::other("a blob was mounted that nobody asked for").into()),
            }
        })
        .await?;
        self.tell(&name, name.size, state);
        Ok((packed, state))
    }

    async fn pack_once(
        &self,
        packing: &Packing<'_>,
        name: &Descriptor,
        session: &Url,
        unsure: &mut Option<Compressed>,
    ) -> Result<(Compressed, BlobState), Failure> {
        self.tell(name, 0, BlobState::Uploading);
        let meter = Arc::new(Meter::default());
        let (stream, outcome) =
            packing::stream(packing.layer, packing.diff_id, packing.compression, packing.beside, Arc::clone(&meter));
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, OCTETS)]);
        let body = Some(Body::wrap_stream(stream));
        let request = self.client.request(Method::PATCH, session, &self.scope, headers, body, None);
        let response = match self.watched(request, name, &meter).await {
            // Early, it does not wait for the rest of the layer.
            Ok(response) if !response.status().is_success() => {
                return Err(self.refused(Refusal::read(response, self.client).await, &name.digest));
            }
            Ok(response) => Ok(response),
            Err(failure) => Err(failure),
        };
        // An answer need not mean that the registry reads the rest.
        let packed = match self.watched(async { Ok(outcome.await) }, name, &meter).await? {
            // Whatever the connection made of it.
            Ok(Err(Spoiled::Damaged(error))) => return Err(Failure::Final(error)),
            Ok(Ok(packed)) => Some(packed),
            Ok(Err(Spoiled::GivenUp)) | Err(_) => None,
        };
        let (response, packed) = (response?, packed.ok_or_else(|| Failure::again(self.client.stalled()))?);
        let mut session = self.client.location(&response)?;
        drop(response);
        // Before the registry is told: whoever is killed from here on knows what to ask for.
        (packing.found)(&packed)?;
        *unsure = Some(packed.clone());
        session.query_pairs_mut().append_pair("digest", &packed.digest);
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0")), (CONTENT_TYPE, OCTETS)]);
        let limit = Some(self.client.patience().stall * COMMIT_PATIENCE);
        let response = self.client.request(Method::PUT, &session, &self.scope, headers, None, limit).await?;
        self.committed(response, &packed.digest).await?;
        Ok((packed, BlobState::Pushed))
    }

    async fn send(&self, blob: &Blob, session: &Url, meter: &Arc<Meter>) -> Result<Response, Failure> {
        let descriptor = &blob.descriptor;
        let stream =
            body::stream(blob, Arc::clone(meter)).map_err(|error| Failure::Final(changed(descriptor).cause(error)))?;
        let headers =
            HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(descriptor.size)), (CONTENT_TYPE, OCTETS)]);
        let body = Some(Body::wrap_stream(stream));
        let request = self.client.request(Method::PUT, session, &self.scope, headers, body, None);
        self.watched(request, descriptor, meter).await
    }

    /// Tells how far an upload is, and gives it up when nothing moves.
    pub(super) async fn watched<T>(
        &self,
        request: impl Future<Output = Result<T, Failure>>,
        descriptor: &Descriptor,
        meter: &Meter,
    ) -> Result<T, Failure> {
        let mut request = std::pin::pin!(request);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let stall = self.client.patience().stall;
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            tokio::select! {
                response = &mut request => return response,
                _ = tick.tick() => {}
            }
            let sent = meter.sent();
            if sent != last {
                (last, moved) = (sent, Instant::now());
                self.tell(descriptor, sent, BlobState::Uploading);
            }
            let allowed = if sent == descriptor.size { stall * COMMIT_PATIENCE } else { stall };
            if moved.elapsed() > allowed {
                return Err(Failure::again(self.client.stalled()));
            }
        }
    }
}

fn is_taken(response: &Response) -> bool {
    [StatusCode::CREATED, StatusCode::NO_CONTENT].contains(&response.status())
}

/// Holds the digest that a registry says it stored to ours.
pub(super) fn check_digest(client: &Client, response: &Response, ours: &str) -> Result<()> {
    let theirs = response.headers().get("docker-content-digest").and_then(|digest| digest.to_str().ok());
    match theirs {
        Some(theirs) if theirs != ours => Err(Error::build_or_push(format!(
            "the registry {} stored another content than was sent: `{theirs}` in place of `{ours}`",
            client.host()
        ))
        .hint("nothing was deployed; something between here and the registry changes what passes")),
        _ => Ok(()),
    }
}

fn changed(descriptor: &Descriptor) -> Error {
    Error::build_or_push(format!("the blob `{}` changed on disk while it was pushed, or is damaged", descriptor.digest))
        .hint("run the same command again; it is made anew if steady made it")
}
