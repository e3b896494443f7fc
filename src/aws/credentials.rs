//! Credentials are resolved once for all clients: a `credential_process` may be slow, or ask a person for a code.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, Result, SharedCredentialsProvider, future};
use tokio::sync::Mutex;

/// Credentials with less time left than this are resolved anew.
const ENOUGH: Duration = Duration::from_secs(5 * 60);
/// What does not say when it expires may have been replaced after this long.
const UNKNOWN: Duration = Duration::from_secs(15 * 60);

/// The SDK's own cache is out of reach for calls that are made without it.
pub(super) struct Cached {
    provider: SharedCredentialsProvider,
    /// With the time until which they are good.
    at_hand: Mutex<Option<(Credentials, SystemTime)>>,
}

impl Cached {
    pub(super) fn new(provider: SharedCredentialsProvider) -> Self {
        Cached { provider, at_hand: Mutex::default() }
    }

    /// Those of this key are not given out again: AWS says that they have expired.
    pub(super) fn forget(&self, key_id: &str) {
        // Held by somebody who resolves them anew already.
        let Ok(mut at_hand) = self.at_hand.try_lock() else { return };
        at_hand.take_if(|(credentials, _)| credentials.access_key_id() == key_id);
    }

    async fn resolved(&self) -> Result {
        // Held meanwhile, so that calls side by side resolve them once.
        let mut at_hand = self.at_hand.lock().await;
        let now = SystemTime::now();
        if let Some((credentials, until)) = &*at_hand
            && now < *until
        {
            return Ok(credentials.clone());
        }
        let new = self.provider.provide_credentials().await?;
        let until = new.expiry().map_or(now + UNKNOWN, |expiry| expiry.checked_sub(ENOUGH).unwrap_or(now));
        *at_hand = Some((new.clone(), until));
        Ok(new)
    }
}

/// [`Cached`] as the SDK takes it; clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Shared(pub(super) Arc<Cached>);

impl ProvideCredentials for Shared {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.0.resolved())
    }
}

impl fmt::Debug for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cached")
    }
}
