//! One blob from registry to registry: never on disk, a piece at a time, verified on the way.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{Stream, try_unfold};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Body, Method, Response};
use url::Url;

use super::Scope;
use super::body::Meter;
use super::client::{Client, read_chunk};
use super::retry::{Failure, Refusal, persist};
use super::upload::{OCTETS, Transfer};
use crate::error::{Error, Result};
use crate::image::Descriptor;
use crate::image::digest::Hasher;

/// A repository that images come from.
#[derive(Clone)]
pub struct Origin {
    pub client: Client,
    pub repository: String,
}

impl fmt::Debug for Origin {
    // Its client knows credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({}/{})", self.client.host(), self.repository)
    }
}

impl Origin {
    /// The blob from its beginning.
    async fn open(&self, descriptor: &Descriptor) -> Result<Response> {
        let url = self.client.url(&format!("/v2/{}/blobs/{}", self.repository, descriptor.digest))?;
        let scope = Scope::Pull(self.repository.clone());
        let response = persist(&self.client, &scope, None, async || {
            let response = self.client.get(&url, &scope, None).await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let refusal = Refusal::read(response, &self.client).await;
            Err(refusal.into_failure(&self.client, &format!("give the blob {}", descriptor.digest)))
        });
        response.await
    }
}

impl Transfer<'_> {
    /// Sends the blob as it comes from the origin. Whichever side breaks, all of it begins anew: a new session, and the blob
    /// from its beginning.
    pub(super) async fn relay(&self, descriptor: &Descriptor, session: &Url) -> Result<Response, Failure> {
        let origin = self.origin.ok_or_else(|| Error::other("a blob is to come from a registry that nobody named"))?;
        let response = origin.open(descriptor).await?;
        let meter = Arc::new(Meter::default());
        let trouble = Arc::default();
        let flow = Flow {
            client: origin.client.clone(),
            response,
            hasher: Some(Hasher::new()),
            left: descriptor.size,
            digest: descriptor.digest.clone(),
            meter: Arc::clone(&meter),
            trouble: Arc::clone(&trouble),
        };
        let headers =
            HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(descriptor.size)), (CONTENT_TYPE, OCTETS)]);
        let body = Some(Body::wrap_stream(flow.stream()));
        let request = self.client.request(Method::PUT, session, &self.scope, headers, body, None);
        let sent = self.watched(request, descriptor, &meter).await;
        // What the origin did comes first: the other side only saw a body that broke off.
        let trouble = trouble.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        match trouble {
            Some(error) => Err(Failure::again(error)),
            None => sent,
        }
    }
}

struct Flow {
    client: Client,
    response: Response,
    hasher: Option<Hasher>,
    left: u64,
    digest: String,
    meter: Arc<Meter>,
    trouble: Arc<Mutex<Option<Error>>>,
}

impl Flow {
    /// Exactly as many bytes as the blob has. The last piece is held back until the digest is right.
    fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        try_unfold(self, |mut flow| async move {
            let chunk = flow.next().await.map_err(|error| {
                let said = io::Error::other(error.to_string());
                *flow.trouble.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(error);
                said
            })?;
            Ok(chunk.map(|chunk| (chunk, flow)))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        let chunk = match read_chunk(&self.client, &mut self.response).await {
            Ok(chunk) => chunk.unwrap_or_default(),
            Err(Failure::Again { error, .. } | Failure::Denied { error, .. } | Failure::Final(error)) => {
                return Err(error);
            }
        };
        let read = chunk.len() as u64;
        if read == 0 || read > self.left {
            return Err(self.damaged("has another size than its manifest says"));
        }
        self.left -= read;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&chunk);
        }
        if self.left == 0 && self.hasher.take().map(Hasher::finish).as_ref() != Some(&self.digest) {
            return Err(self.damaged("came damaged"));
        }
        self.meter.add(chunk.len());
        Ok(Some(chunk))
    }

    fn damaged(&self, how: &str) -> Error {
        Error::build_or_push(format!("the blob `{}` of {} {how}", self.digest, self.client.host()))
    }
}
