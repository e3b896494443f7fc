//! CONTRACT: what deploy calls of the images' module; replaced at the merge.

use bytes::Bytes;

use crate::error::Result;

// CONTRACT
#[derive(Debug, Clone)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct Blob {
    pub descriptor: Descriptor,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct Image {
    pub manifest: Bytes,
    pub media_type: String,
    pub digest: String,
    pub config: Bytes,
    pub blobs: Vec<Blob>,
    pub platform: String,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct EcrHost {
    pub account_id: String,
    pub region: String,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct Reference {
    pub registry: String,
    pub repository: String,
}

impl std::str::FromStr for Reference {
    type Err = crate::error::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (registry, repository) = text.split_once('/').unwrap_or(("docker.io", text));
        Ok(Reference { registry: registry.to_owned(), repository: repository.to_owned() })
    }
}

impl Reference {
    // CONTRACT
    pub fn ecr(&self) -> Option<EcrHost> {
        let (account_id, rest) = self.registry.split_once(".dkr.ecr.")?;
        Some(EcrHost { account_id: account_id.to_owned(), region: rest.split('.').next()?.to_owned() })
    }
}

// CONTRACT
pub async fn open(_path: &std::path::Path) -> Result<Image> {
    Err(crate::error::Error::build_or_push("replaced at the merge"))
}
