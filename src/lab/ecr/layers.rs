//! Layers by ECR's own API: what docker-less clients use in place of `/v2/`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::token::layer_url_query;
use super::{SMALL_PART, Taken, Unavailable, invalid, is_digest, repository, required, required_list};
use crate::lab::Lab;
use crate::lab::api::{ApiError, ApiResult};

const PART_SIZE: u64 = 20 * 1024 * 1024;
const URL_LIFE_MS: i64 = 3_600_000;

pub fn check_availability(lab: &Lab, input: &Value) -> ApiResult {
    let digests = required_list(input, "layerDigests", 100)?;
    lab.read(|state| {
        let repository = repository(&state.ecr, &lab.settings, input)?;
        let (mut layers, mut failures) = (Vec::new(), Vec::new());
        for digest in digests.iter().filter_map(Value::as_str) {
            match repository.blobs.get(digest) {
                Some(size) => layers.push(json!({
                    "layerDigest": digest,
                    "layerAvailability": "AVAILABLE",
                    "layerSize": size,
                    "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                })),
                None if is_digest(digest) => {
                    layers.push(json!({ "layerDigest": digest, "layerAvailability": "UNAVAILABLE" }));
                }
                None => failures.push(json!({
                    "layerDigest": digest,
                    "failureCode": "InvalidLayerDigest",
                    "failureReason": "Invalid request parameters: layer digest should satisfy the regex \
                                      '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'",
                })),
            }
        }
        Ok(json!({ "layers": layers, "failures": failures }))
    })
}

pub fn initiate(lab: &Lab, input: &Value) -> ApiResult {
    let name = lab.read(|state| Ok::<_, ApiError>(repository(&state.ecr, &lab.settings, input)?.name.clone()))?;
    let id = lab.uploads.begin(&name).map_err(disk_error)?;
    Ok(json!({ "uploadId": id, "partSize": PART_SIZE }))
}

pub fn upload_part(lab: &Lab, input: &Value) -> ApiResult {
    let (first, last) = (number(input, "partFirstByte")?, number(input, "partLastByte")?);
    let part = BASE64
        .decode(required(input, "layerPartBlob")?)
        .map_err(|_| invalid("layerPartBlob", "Member must be base64"))?;
    let (name, mut upload) = take(lab, input)?;
    let refusal = if first != upload.size {
        Some(format!("First byte of the layer part is {first} instead of {}", upload.size))
    } else if last.wrapping_sub(first).wrapping_add(1) != part.len() as u64 {
        Some(format!("The layer part has {} bytes instead of those from {first} to {last}", part.len()))
    } else {
        None
    };
    let written = if let Some(message) = refusal {
        Err(ApiError::new("InvalidLayerPartException", message)
            .member("registryId", lab.settings.account_id.as_str())
            .member("repositoryName", name.as_str())
            .member("uploadId", upload.id.as_str())
            .member("lastValidByteReceived", upload.size.saturating_sub(1)))
    } else {
        upload.writer().and_then(|mut file| upload.write(&mut file, &part)).map_err(disk_error)
    };
    upload.end_part();
    let id = upload.id.clone();
    if let Err(error) = written {
        if error.status == 500 {
            // what is on disk and what was hashed may now differ
            lab.uploads.discard(upload);
        }
        return Err(error);
    }
    Ok(json!({
        "registryId": lab.settings.account_id, "repositoryName": name, "uploadId": id, "lastByteReceived": last,
    }))
}

pub fn complete(lab: &Lab, input: &Value) -> ApiResult {
    let expected = required_list(input, "layerDigests", 100)?;
    let (name, upload) = take(lab, input)?;
    let announced = expected.iter().filter_map(Value::as_str).next().unwrap_or_default();
    let digest = upload.digest_like(announced).map_err(disk_error)?;
    let refused = if upload.has_small_part() {
        Some(ApiError::new("LayerPartTooSmallException", SMALL_PART))
    } else if upload.size == 0 {
        Some(ApiError::new("EmptyUploadException", "the upload has no parts"))
    } else if !expected.iter().any(|one| one == digest.as_str()) {
        let wanted = expected.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
        let message = format!("Layer digest '{digest}' does not match the digests '[{wanted}]' of the request");
        Some(ApiError::new("InvalidLayerException", message))
    } else {
        None
    };
    if let Some(refused) = refused {
        return Err(refused);
    }
    let known = lab.write(|state| {
        let known = state.ecr.repositories.get(&name).is_some_and(|repository| repository.blobs.contains_key(&digest));
        upload.store(&digest, &mut state.ecr, &lab.settings.data, &lab.uploads).map(|()| known)
    });
    if known.map_err(disk_error)? {
        return Err(ApiError::new(
            "LayerAlreadyExistsException",
            format!("The layer with digest '{digest}' already exists in the repository with name '{name}'"),
        ));
    }
    let id = &upload.id;
    Ok(json!({
        "registryId": lab.settings.account_id, "repositoryName": name, "uploadId": id, "layerDigest": digest,
    }))
}

pub fn download_url(lab: &Lab, input: &Value) -> ApiResult {
    let digest = required(input, "layerDigest")?;
    lab.read(|state| {
        let repository = repository(&state.ecr, &lab.settings, input)?;
        let (name, id) = (&repository.name, &lab.settings.account_id);
        if !repository.blobs.contains_key(digest) {
            return Err(ApiError::new(
                "LayersNotFoundException",
                format!(
                    "The layers with digests '[{digest}]' do not exist in the repository with name '{name}' in the \
                     registry with id '{id}'"
                ),
            ));
        }
        let query = layer_url_query(lab, name, digest, lab.clock.now() + URL_LIFE_MS);
        let url = format!("http://{}/v2/{name}/blobs/{digest}?{query}", lab.settings.address);
        Ok(json!({ "downloadUrl": url, "layerDigest": digest }))
    })
}

fn take(lab: &Lab, input: &Value) -> Result<(String, Taken), ApiError> {
    let name = lab.read(|state| Ok::<_, ApiError>(repository(&state.ecr, &lab.settings, input)?.name.clone()))?;
    let id = required(input, "uploadId")?;
    match lab.uploads.take(id, &name) {
        Ok(upload) => Ok((name, upload)),
        Err(Unavailable::Busy) => Err(ApiError::new("InvalidLayerPartException", "another part is being written")),
        Err(Unavailable::Unknown) => {
            let account = &lab.settings.account_id;
            Err(ApiError::new(
                "UploadNotFoundException",
                format!(
                    "The layer upload with uploadId '{id}' does not exist in the repository with name '{name}' in the \
                     registry with id '{account}'"
                ),
            ))
        }
    }
}

fn number(input: &Value, parameter: &str) -> Result<u64, ApiError> {
    input.get(parameter).and_then(Value::as_u64).ok_or_else(|| invalid(parameter, "Member must not be null"))
}

fn disk_error(error: std::io::Error) -> ApiError {
    ApiError { status: 500, ..ApiError::new("ServerException", error.to_string()) }
}
