//! Blobs in: an upload's bytes go to disk and through the hash as they come, whatever their size.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Response, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use super::{CONTENT_DIGEST, Outcome, Refusal, empty, parameter};
use crate::lab::Lab;
use crate::lab::ecr::{SMALL_PART, SMALLEST_PART, Taken, Unavailable, Upload, is_digest};

/// How the specification says that chunks have to be of a size.
const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// `POST`: a session; with `?digest=` the whole blob; with `?mount=` a blob of another repository, if it is there.
pub async fn begin(lab: &Arc<Lab>, name: &str, query: &str, request: Request) -> Outcome {
    let known = lab.read(|state| state.ecr.repositories.contains_key(name));
    if !known {
        return Err(Refusal::no_repository(lab, name));
    }
    if let Some(digest) = parameter(query, "mount")
        && lab.write(|state| state.ecr.mount(name, &digest, parameter(query, "from").as_deref()))
    {
        return Ok(created(name, &digest));
    }
    let digest = parameter(query, "digest");
    if let Some(digest) = &digest {
        check_digest(digest)?;
    }
    let id = lab.uploads.begin(name).map_err(|error| Refusal::disk(&error))?;
    match digest {
        Some(digest) => {
            let received = receive_all(lab, name, &id, &digest, request, Cut::Discards).await;
            // Nobody else knows its id.
            if let (Err(_), Ok(left)) = (&received, lab.uploads.take(&id, name)) {
                lab.uploads.discard(left);
            }
            received
        }
        None => {
            let location = location(request.headers(), name, &id);
            let headers = [
                (header::LOCATION, location),
                (header::RANGE, "0-0".to_owned()),
                (UPLOAD_ID, id),
                (CHUNK_MIN_LENGTH, SMALLEST_PART.to_string()),
            ];
            Ok(empty(StatusCode::ACCEPTED, &headers))
        }
    }
}

pub fn status(lab: &Lab, name: &str, id: &str, headers: &HeaderMap) -> Outcome {
    let upload = take(lab, name, id)?;
    let headers = progress(name, &upload, headers);
    Ok(empty(StatusCode::NO_CONTENT, &headers))
}

pub async fn append(lab: &Arc<Lab>, name: &str, id: &str, request: Request) -> Outcome {
    let headers = request.headers().clone();
    let upload = receive(lab, name, id, request, Cut::Keeps).await?;
    let headers = progress(name, &upload, &headers);
    Ok(empty(StatusCode::ACCEPTED, &headers))
}

pub async fn finish(lab: &Arc<Lab>, name: &str, id: &str, query: &str, request: Request) -> Outcome {
    let digest = parameter(query, "digest")
        .ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "the digest parameter is missing"))?;
    check_digest(&digest)?;
    receive_all(lab, name, id, &digest, request, Cut::Keeps).await
}

pub fn cancel(lab: &Lab, name: &str, id: &str) -> Outcome {
    lab.uploads.discard(take(lab, name, id)?);
    Ok(empty(StatusCode::NO_CONTENT, &[]))
}

async fn receive_all(lab: &Arc<Lab>, name: &str, id: &str, digest: &str, request: Request, cut: Cut) -> Outcome {
    let upload = receive(lab, name, id, request, cut).await?;
    if upload.has_small_part() {
        lab.uploads.discard(upload);
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", SMALL_PART));
    }
    let announced = digest.to_owned();
    let hashed = tokio::task::spawn_blocking(move || upload.digest_like(&announced).map(|found| (upload, found))).await;
    let (upload, found) = hashed
        .unwrap_or_else(|_| Err(std::io::Error::other("the hash failed")))
        .map_err(|error| Refusal::disk(&error))?;
    if found != digest {
        lab.uploads.discard(upload);
        let message = format!("provided digest {digest} did not match uploaded content, which is {found}");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message));
    }
    let stored = lab.write(|state| upload.store(digest, &mut state.ecr, &lab.settings.data, &lab.uploads));
    if let Err(error) = stored {
        lab.uploads.discard(upload);
        let gone = error.kind() == std::io::ErrorKind::NotFound;
        return Err(if gone { Refusal::no_repository(lab, name) } else { Refusal::disk(&error) });
    }
    Ok(created(name, digest))
}

/// What becomes of an upload whose client goes away: it keeps what came, or ends where nobody can go on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    Keeps,
    Discards,
}

/// Appends the request's body.
async fn receive(lab: &Arc<Lab>, name: &str, id: &str, request: Request, on_cut: Cut) -> Result<Taken, Refusal> {
    let upload = take(lab, name, id)?;
    check_range(name, &upload, request.headers())?;
    let (sender, receiver) = mpsc::channel(8);
    let owner = lab.clone();
    let writer = tokio::task::spawn_blocking(move || write(&owner, upload, receiver, on_cut));
    let mut body = request.into_body();
    let mut cut = false;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            cut = true;
            break;
        };
        if let Ok(bytes) = frame.into_data()
            && sender.send(Part::Bytes(bytes)).await.is_err()
        {
            break;
        }
    }
    if !cut {
        // Without it the writer keeps what came for another request.
        let _ = sender.send(Part::End).await;
    }
    drop(sender);
    match writer.await {
        Ok(Ok(Some(upload))) => Ok(upload),
        Ok(Ok(None)) => {
            Err(Refusal::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", "the request's body was cut short"))
        }
        Ok(Err(error)) => Err(Refusal::disk(&error)),
        Err(_) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the upload's writer failed")),
    }
}

enum Part {
    Bytes(Bytes),
    End,
}

fn write(lab: &Lab, mut upload: Taken, mut parts: mpsc::Receiver<Part>, on_cut: Cut) -> std::io::Result<Option<Taken>> {
    let mut written = upload.writer();
    while let Ok(file) = &mut written {
        match parts.blocking_recv() {
            Some(Part::Bytes(bytes)) => {
                if let Err(error) = upload.write(file, &bytes) {
                    written = Err(error);
                }
            }
            Some(Part::End) => {
                upload.end_part();
                return Ok(Some(upload));
            }
            None if on_cut == Cut::Keeps => return Ok(None),
            None => {
                lab.uploads.discard(upload);
                return Ok(None);
            }
        }
    }
    // What is on disk and what was hashed may now differ.
    lab.uploads.discard(upload);
    written.map(|_| None)
}

fn take(lab: &Lab, name: &str, id: &str) -> Result<Taken, Refusal> {
    if !lab.read(|state| state.ecr.repositories.contains_key(name)) {
        return Err(Refusal::no_repository(lab, name));
    }
    lab.uploads.take(id, name).map_err(|unavailable| match unavailable {
        Unavailable::Unknown => {
            Refusal::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
        }
        Unavailable::Busy => Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOOMANYREQUESTS",
            "another request is still writing to this upload",
        ),
    })
}

fn check_digest(digest: &str) -> Result<(), Refusal> {
    if is_digest(digest) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::BAD_REQUEST,
        "DIGEST_INVALID",
        format!("{digest} is not a digest that the registry knows"),
    ))
}

/// Refuses a chunk that does not begin where the upload ends, or is not as long as its `Content-Range` says.
fn check_range(name: &str, upload: &Upload, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(announced) = headers.get(header::CONTENT_RANGE) else { return Ok(()) };
    let message = match announced.to_str().ok().and_then(range_of) {
        Some((first, last)) if first == upload.size => {
            let length =
                headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
            if length.is_none_or(|length| length == last - first + 1) {
                return Ok(());
            }
            let message = "provided length did not match content length";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", message));
        }
        Some((first, _)) => format!("First byte of the layer part is {first} instead of {}", upload.size),
        None => "the Content-Range is not two numbers with a hyphen between".to_owned(),
    };
    let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message);
    Err(progress(name, upload, headers)
        .iter()
        .fold(refusal, |refusal, (name, value)| refusal.with(name.clone(), value)))
}

/// The first and the last byte of a `Content-Range`: `first-last`, also with `bytes ` before it, as HTTP has it.
fn range_of(text: &str) -> Option<(u64, u64)> {
    let range = text.trim_start_matches("bytes").trim().split('/').next()?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < u64::MAX).then_some((first, last))
}

fn progress(name: &str, upload: &Upload, request: &HeaderMap) -> Vec<(HeaderName, String)> {
    let location = location(request, name, &upload.id);
    vec![(header::LOCATION, location), (header::RANGE, range(upload)), (UPLOAD_ID, upload.id.clone())]
}

fn range(upload: &Upload) -> String {
    format!("0-{}", upload.size.saturating_sub(1))
}

/// Absolute, as ECR's are. The `Host` has been checked before.
fn location(headers: &HeaderMap, name: &str, id: &str) -> String {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    host.map_or_else(String::new, |host| format!("http://{host}")) + &format!("/v2/{name}/blobs/uploads/{id}")
}

fn created(name: &str, digest: &str) -> Response<Body> {
    let headers = [(header::LOCATION, format!("/v2/{name}/blobs/{digest}")), (CONTENT_DIGEST, digest.to_owned())];
    empty(StatusCode::CREATED, &headers)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::lab::clock::Clock;
    use crate::lab::runtime::Runtime;
    use crate::lab::{Settings, state::State};

    /// The client goes away when all was sent and not all is written.
    #[test]
    fn an_upload_is_free_again_when_its_request_is_dropped() {
        let threads = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build();
        threads.unwrap().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let settings = Settings {
                data: folder.path().to_owned(),
                address: ([127, 0, 0, 1], 4566).into(),
                region: "us-west-2".to_owned(),
                account_id: "000000000000".to_owned(),
            };
            let mut state = State::default();
            state.ecr.repositories.insert("there".to_owned(), Default::default());
            let lab = Arc::new(Lab::new(settings, Clock::default(), Runtime::disabled(), state));
            let id = lab.uploads.begin("there").unwrap();
            let (go, wait) = std::sync::mpsc::channel::<()>();
            let held_up = tokio::task::spawn_blocking(move || wait.recv());
            let request = Request::new(Body::from("hello"));
            assert!(append(&lab, "there", &id, request).now_or_never().is_none(), "the writer has no thread yet");
            assert_eq!(lab.uploads.take(&id, "there").err(), Some(Unavailable::Busy));
            go.send(()).unwrap();
            held_up.await.unwrap().unwrap();
            // the only thread does one after the other
            tokio::task::spawn_blocking(|| {}).await.unwrap();
            let upload = lab.uploads.take(&id, "there").expect("it can be had");
            assert_eq!((upload.size, upload.digest()), (5, crate::lab::ecr::digest_of(b"hello")));
        });
    }
}
