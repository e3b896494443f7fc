//! What is tried again, and how often: other trouble five times, throttling for minutes and with a word about it, and
//! credentials that AWS says have expired once, resolved anew.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef, InterceptorContext,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::retries::classifiers::{ClassifyRetry, RetryAction, RetryClassifierPriority};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};

use super::credentials::Cached;

/// Attempts of a call that fails for another reason than throttling.
pub(super) const ATTEMPTS: u32 = 5;
/// So often more a call is tried that is throttled: some three minutes, with the pauses between them.
pub(super) const THROTTLED_ATTEMPTS: u32 = 45;
/// The first of a throttled call, which may be doubled so often.
const THROTTLED_PAUSE: Duration = Duration::from_millis(200);
pub(super) const MOST_PAUSE: Duration = Duration::from_secs(8);

/// What all clients have learnt of how AWS answers. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Weather(Arc<Inner>);

type Hear = Box<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct Inner {
    told_throttling: AtomicBool,
    told_silence: AtomicBool,
    hear: Mutex<Option<Hear>>,
    credentials: OnceLock<Arc<Cached>>,
}

impl fmt::Debug for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Weather")
    }
}

impl Weather {
    /// Whose credentials are resolved anew when AWS says that they have expired.
    pub(super) fn renews(&self, credentials: Arc<Cached>) {
        let _ = self.0.credentials.set(credentials);
    }

    /// Who is told, once, that calls are throttled.
    pub(super) fn listen(&self, hear: Hear) {
        *self.0.hear.lock().unwrap_or_else(PoisonError::into_inner) = Some(hear);
    }

    /// An attempt came to nothing in its time.
    pub(super) fn silent(&self) {
        self.tell(&self.0.told_silence, "AWS does not answer in time; asking again");
    }

    /// AWS says that the credentials of this key have expired.
    pub(super) fn expired(&self, key_id: &str) {
        if let Some(credentials) = self.0.credentials.get() {
            credentials.forget(key_id);
        }
    }

    pub(super) fn throttled(&self, service: &str) {
        self.tell(&self.0.told_throttling, &format!("{service} throttles this account's calls; retrying"));
    }

    fn tell(&self, told: &AtomicBool, message: &str) {
        let hear = self.0.hear.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hear) = hear.as_ref()
            && !told.swap(true, Ordering::Relaxed)
        {
            hear(message);
        }
    }
}

pub(super) fn config() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS).with_max_backoff(MOST_PAUSE)
}

/// What is known of one call meanwhile.
#[derive(Debug, Clone, Default)]
struct Call {
    key_id: String,
    service: String,
    throttled: u32,
    renewed: bool,
}

impl Storable for Call {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for Weather {
    fn name(&self) -> &'static str {
        "Weather"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // AWS4-HMAC-SHA256 Credential=KEYID/20250101/us-west-2/ecs/aws4_request, ...
        let authorization = context.request().headers().get("authorization").unwrap_or_default();
        let credential = authorization.split("Credential=").nth(1).unwrap_or_default();
        let mut scope = credential.split(',').next().unwrap_or_default().split('/').map(str::to_owned);
        let (key_id, service) = (scope.next().unwrap_or_default(), scope.nth(2).unwrap_or_default());
        let call = config.load::<Call>().cloned().unwrap_or_default();
        config.interceptor_state().store_put(Call { key_id, service, ..call });
        Ok(())
    }

    /// The strategy asks for the configuration after each attempt: one that was throttled does not count.
    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(Err(error)) = context.output_or_error()
            && (error.is_timeout_error() || error.as_connector_error().is_some_and(|error| error.is_timeout()))
        {
            self.silent();
        }
        let Some(response) = context.response().filter(|response| !response.status().is_success()) else {
            return Ok(());
        };
        let mut call = config.load::<Call>().cloned().unwrap_or_default();
        // What is sent once is waited out, and told, by who sends it.
        let once = config.load::<RetryConfig>().is_none_or(|config| config.max_attempts() == 1);
        if is_expired(response) {
            self.expired(&call.key_id);
            // The same once more is hopeless.
            if std::mem::replace(&mut call.renewed, true) {
                config.interceptor_state().store_put(RetryConfig::disabled());
            }
        } else if !once && is_throttled(response) {
            call.throttled += 1;
            self.throttled(&call.service);
            let more = call.throttled.min(THROTTLED_ATTEMPTS);
            let throttled = self::config().with_max_attempts(ATTEMPTS + more).with_initial_backoff(THROTTLED_PAUSE);
            config.interceptor_state().store_put(throttled);
        } else if call.throttled > 0 {
            config.interceptor_state().store_put(self::config().with_max_attempts(ATTEMPTS + call.throttled));
        }
        config.interceptor_state().store_put(call);
        Ok(())
    }
}

impl ClassifyRetry for Weather {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let expired = context.response().is_some_and(is_expired);
        match expired && self.0.credentials.get().is_some() {
            true => RetryAction::client_error(),
            false => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "Weather"
    }

    // the last word
    fn priority(&self) -> RetryClassifierPriority {
        RetryClassifierPriority::run_after(RetryClassifierPriority::transient_error_classifier())
    }
}

fn is_expired(response: &HttpResponse) -> bool {
    says(response, &["ExpiredToken", "RequestExpired"])
}

fn is_throttled(response: &HttpResponse) -> bool {
    response.status().as_u16() == 429
        || says(response, &["Throttl", "RequestLimitExceeded", "TooManyRequests", "SlowDown"])
}

fn says(response: &HttpResponse, codes: &[&str]) -> bool {
    let body = String::from_utf8_lossy(response.body().bytes().unwrap_or_default());
    !response.status().is_success() && codes.iter().any(|code| body.contains(code))
}
