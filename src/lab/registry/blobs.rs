//! Blobs out: streamed, whole or in part.

use std::io::{ErrorKind, SeekFrom};

use axum::body::Body;
use axum::http::{HeaderMap, Method, StatusCode, header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{CONTENT_DIGEST, Outcome, Refusal, empty};
use crate::lab::Lab;
use crate::lab::ecr::{blob_path, is_digest};

const BLOCK: usize = 256 * 1024;

pub async fn get(lab: &Lab, name: &str, digest: &str, method: &Method, headers: &HeaderMap) -> Outcome {
    let size = lab.read(|state| {
        let repository = state.ecr.repositories.get(name).ok_or_else(|| Refusal::no_repository(lab, name))?;
        if !is_digest(digest) {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", format!("{digest} is not a digest")));
        }
        let blob = repository.blobs.get(digest).copied();
        // A manifest is a blob as well, as it is in other registries.
        let blob = blob.or_else(|| repository.images.get(digest).map(|image| image.manifest_size));
        blob.ok_or_else(|| unknown(name, digest))
    })?;
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (first, end) = match wanted.and_then(single_range) {
        None => (0, size),
        Some(range) => range.within(size).ok_or_else(|| {
            Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", "the blob is shorter than that")
                .with(header::CONTENT_RANGE, &format!("bytes */{size}"))
        })?,
    };
    let mut headers = vec![
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, (end - first).to_string()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, format!("\"{digest}\"")),
        (CONTENT_DIGEST, digest.to_owned()),
    ];
    let partial = end - first < size;
    if partial {
        headers.push((header::CONTENT_RANGE, format!("bytes {first}-{}/{size}", end - 1)));
    }
    let mut response = empty(if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK }, &headers);
    if method == Method::GET {
        let path = blob_path(&lab.settings.data, digest);
        let mut file = tokio::fs::File::open(path).await.map_err(|error| match error.kind() {
            // deleted a moment ago
            ErrorKind::NotFound => unknown(name, digest),
            _ => Refusal::disk(&error),
        })?;
        file.seek(SeekFrom::Start(first)).await.map_err(|error| Refusal::disk(&error))?;
        *response.body_mut() = Body::from_stream(ReaderStream::with_capacity(file.take(end - first), BLOCK));
    }
    Ok(response)
}

fn unknown(name: &str, digest: &str) -> Refusal {
    let message = format!("blob unknown to registry: {name} has no {digest}");
    Refusal::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", message).about([json!({ "digest": digest })])
}

/// One `bytes=` range. Anything else is answered with the whole blob, as HTTP allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    From(u64, Option<u64>),
    Last(u64),
}

impl Range {
    /// First byte and the one after the last.
    fn within(self, size: u64) -> Option<(u64, u64)> {
        match self {
            Range::From(first, last) => {
                let end = last.map_or(size, |last| last.saturating_add(1).min(size));
                (first < end).then_some((first, end))
            }
            Range::Last(count) => (count > 0 && size > 0).then_some((size.saturating_sub(count), size)),
        }
    }
}

fn single_range(header: &str) -> Option<Range> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    match (first, last) {
        ("", last) => Some(Range::Last(last.parse().ok()?)),
        (first, "") => Some(Range::From(first.parse().ok()?, None)),
        (first, last) => Some(Range::From(first.parse().ok()?, Some(last.parse().ok()?))),
    }
}
