//! CONTRACT: what deploy calls of the registry client; replaced at the merge.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use secrecy::SecretString;

use crate::error::{Error, Result};
use crate::image::Image;

// CONTRACT
#[derive(Debug, Clone)]
pub struct Credential {
    pub username: String,
    pub password: SecretString,
}

// CONTRACT
pub type CredentialSource = Arc<dyn Fn() -> BoxFuture<'static, Result<Credential>> + Send + Sync>;

// CONTRACT
#[derive(Clone)]
pub struct Client;

impl Client {
    // CONTRACT
    pub fn new(_base_url: &str, _credentials: Option<CredentialSource>) -> Result<Self> {
        Ok(Client)
    }
}

// CONTRACT
#[derive(Debug, Clone, Copy)]
pub enum State {
    Checking,
    Exists,
    Mounted,
    Uploading,
    Pushed,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct Progress {
    pub digest: String,
    pub size: u64,
    pub sent: u64,
    pub state: State,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct Pushed {
    pub digest: String,
    pub size: u64,
}

// CONTRACT
pub async fn push(
    _client: &Client,
    _repository: &str,
    _image: &Image,
    _tags: &[String],
    _known: Option<HashSet<String>>,
    _progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<Pushed> {
    Err(Error::build_or_push("replaced at the merge"))
}
