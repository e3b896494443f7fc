//! CONTRACT: replaced by the deploy branch at the merge.

use secrecy::SecretString;

use crate::error::{Error, Result};

// CONTRACT
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub region: Option<String>,
    pub profile: Option<String>,
    pub endpoint_url: Option<String>,
    pub static_credentials: Option<(String, SecretString)>,
}

// CONTRACT
#[derive(Debug, Clone)]
pub struct Clients {
    pub region: String,
}

// CONTRACT
pub async fn connect(settings: &Settings) -> Result<Clients> {
    let region = settings.region.clone().ok_or_else(|| Error::preflight("no region"))?;
    Ok(Clients { region })
}
