//! Requests that are signed and sent without an SDK: the crates of these services are heavy for the few reads that a
//! deploy makes of them.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_types::service_config::ServiceConfigKey;
use backon::{ExponentialBuilder, Retryable};

use super::connect::Timeouts;
use super::failure::{Failure, Reach};
use super::retry::{ATTEMPTS, MOST_PAUSE, THROTTLED_ATTEMPTS, Weather};
use crate::transport;

/// How a service is called and signed for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service {
    /// As a [`Failure`] names it.
    pub name: &'static str,
    /// Its id in AWS's configuration files and in `AWS_ENDPOINT_URL_<ID>`.
    pub id: &'static str,
    /// In the signature's scope, and the first part of its host.
    pub scope: &'static str,
    /// One for all regions of a partition.
    pub global: bool,
}

/// The connections of all of these services: to this machine and its neighbours without a proxy, and to others.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<[OnceLock<reqwest::Client>; 2]>);

#[derive(Clone)]
pub(super) struct Signed {
    service: Service,
    /// Where one is set, that is it for every region.
    endpoint: Option<String>,
    region: String,
    credentials: Option<SharedCredentialsProvider>,
    connections: Connections,
    timeouts: Timeouts,
    weather: Weather,
}

/// An answer: its HTTP status and its text.
pub(super) type Answer = (u16, String);

impl Signed {
    pub(super) fn new(
        service: Service,
        config: &SdkConfig,
        (region, endpoint): (&str, Option<&str>),
        connections: &Connections,
        (timeouts, weather): (Timeouts, &Weather),
    ) -> Self {
        let key =
            ServiceConfigKey::builder().service_id(service.id).env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
        let configured = config.service_config().zip(key.ok()).and_then(|(service, key)| service.load_config(key));
        let endpoint = endpoint.map(str::to_owned).or(configured).or_else(|| config.endpoint_url().map(str::to_owned));
        let (region, connections, weather) = (region.to_owned(), connections.clone(), weather.clone());
        Signed { service, endpoint, region, credentials: config.credentials_provider(), connections, timeouts, weather }
    }

    /// The same service in another region.
    pub(super) fn in_region(&self, region: &str) -> Self {
        Signed { region: region.to_owned(), ..self.clone() }
    }

    pub(super) fn name(&self) -> &'static str {
        self.service.name
    }

    /// Endpoint, and the region to sign for.
    fn place(&self) -> (String, String) {
        let (own, suffix) = partition(&self.region);
        let region = if self.service.global { own } else { self.region.as_str() };
        let url = self.endpoint.clone().unwrap_or_else(|| match (self.service.global, region) {
            (true, "us-east-1") => format!("https://{}.{suffix}", self.service.scope),
            (true, "us-gov-west-1") => format!("https://{}.us-gov.{suffix}", self.service.scope),
            _ => format!("https://{}.{region}.{suffix}", self.service.scope),
        });
        (url, region.to_owned())
    }

    /// Sends what changes nothing, again where it was throttled or where its answer got lost. `read` makes a reply or a
    /// failure of the answer.
    pub(super) async fn ask<T>(
        &self,
        operation: &'static str,
        headers: &[(&'static str, &str)],
        body: &str,
        read: impl Fn(Answer) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(MOST_PAUSE)
            .with_max_times(THROTTLED_ATTEMPTS as usize)
            .with_jitter();
        let key_id = Mutex::new(String::new());
        let (mut other, mut renewed) = (0, false);
        let again = |failure: &Failure| {
            if failure.is_expired() && !std::mem::replace(&mut renewed, true) {
                self.weather.expired(&key_id.lock().unwrap_or_else(PoisonError::into_inner));
                return true;
            }
            if failure.is_throttled() {
                self.weather.throttled(self.service.scope);
                return true;
            }
            if failure.reach == Reach::Unknown && failure.status.is_none() {
                self.weather.silent();
            }
            other += 1;
            failure.reach == Reach::Unknown && !failure.is_unsupported() && other < ATTEMPTS
        };
        let send = || async { read(self.send(operation, headers, body, &key_id).await?) };
        send.retry(backoff).when(again).await
    }

    async fn send(
        &self,
        operation: &'static str,
        headers: &[(&'static str, &str)],
        body: &str,
        key_id: &Mutex<String>,
    ) -> Result<Answer, Failure> {
        let failure = |code: Option<&str>, message: String, reach: Reach| Failure {
            service: self.service.name,
            operation,
            code: code.map(str::to_owned),
            message,
            status: None,
            reach,
        };
        let not_sent = |message: String| failure(None, message, Reach::NotSent);
        let no_credentials = |message: String| failure(Some("NoCredentials"), message, Reach::NotSent);
        let Some(provider) = &self.credentials else {
            return Err(no_credentials("no credentials provider".into()));
        };
        let credentials = provider.provide_credentials().await.map_err(|error| no_credentials(error.to_string()))?;
        credentials.access_key_id().clone_into(&mut key_id.lock().unwrap_or_else(PoisonError::into_inner));
        let identity = credentials.into();
        let (endpoint, region) = self.place();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&region)
            .name(self.service.scope)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| not_sent(error.to_string()))?
            .into();
        let url = url::Url::parse(&endpoint).map_err(|error| not_sent(format!("{endpoint}: {error}")))?;
        let request =
            SignableRequest::new("POST", url.as_str(), headers.iter().copied(), SignableBody::Bytes(body.as_bytes()))
                .map_err(|error| not_sent(error.to_string()))?;
        let (signed, _) = sign(request, &params).map_err(|error| not_sent(error.to_string()))?.into_parts();
        let client = self.connections.to(&url, self.timeouts).map_err(not_sent)?;
        let mut request = client.post(url).body(body.to_owned());
        for (name, value) in headers.iter().copied().chain(signed.headers()) {
            request = request.header(name, value);
        }
        let lost = |error: reqwest::Error| {
            let reach = if error.is_connect() { Reach::NotSent } else { Reach::Unknown };
            failure(None, transport::causes(&error.without_url()), reach)
        };
        let response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        Ok((status, response.text().await.map_err(lost)?))
    }
}

impl Connections {
    fn to(&self, url: &url::Url, timeouts: Timeouts) -> Result<&reqwest::Client, String> {
        let direct = url.scheme() == "http" || url.host_str().is_some_and(transport::is_near);
        let at_hand = &self.0[usize::from(direct)];
        if let Some(client) = at_hand.get() {
            return Ok(client);
        }
        let mut built = reqwest::Client::builder().connect_timeout(timeouts.connect).timeout(timeouts.attempt);
        if direct {
            built = built.no_proxy();
        }
        if url.scheme() == "https" {
            let named = transport::named().map_err(|error| error.to_string())?;
            let certificates = named.bundle.iter().chain(&named.file).map(|der| reqwest::Certificate::from_der(der));
            built = built.tls_certs_merge(certificates.filter_map(Result::ok));
        }
        let client = built.build().map_err(|error| transport::causes(&error))?;
        Ok(at_hand.get_or_init(|| client))
    }
}

/// What a service says when it refuses: whose fault it is, its status tells.
pub(super) fn refused(
    service: &'static str,
    operation: &'static str,
    (status, code): (u16, Option<&str>),
    message: Option<&str>,
) -> Failure {
    Failure {
        service,
        operation,
        code: code.map(str::to_owned),
        message: message.map_or_else(|| "no reason given".to_owned(), str::to_owned),
        status: Some(status),
        reach: if status >= 500 { Reach::Unknown } else { Reach::Refused },
    }
}

/// The region of a partition's global services, and what its hosts end in.
/// <https://docs.aws.amazon.com/general/latest/gr/iam-service.html>
fn partition(region: &str) -> (&'static str, &'static str) {
    let partitions = [
        ("cn-", "cn-north-1", "amazonaws.com.cn"),
        ("us-gov-", "us-gov-west-1", "amazonaws.com"),
        ("us-isob-", "us-isob-east-1", "sc2s.sgov.gov"),
        ("us-iso-", "us-iso-east-1", "c2s.ic.gov"),
        ("eusc-", "eusc-de-east-1", "amazonaws.eu"),
    ];
    let found = partitions.into_iter().find(|(prefix, ..)| region.starts_with(prefix));
    found.map_or(("us-east-1", "amazonaws.com"), |(_, global, suffix)| (global, suffix))
}

#[cfg(test)]
mod tests {
    use super::{Connections, Service, Signed, Weather};
    use crate::aws::connect::Timeouts;

    #[test]
    fn each_service_is_where_aws_has_it() {
        let service = |scope: &'static str, global: bool| Service { name: "X", id: "X", scope, global };
        for (scope, global, region, url, signs) in [
            ("ssm", false, "eu-west-1", "https://ssm.eu-west-1.amazonaws.com", "eu-west-1"),
            ("ec2", false, "cn-north-1", "https://ec2.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("iam", true, "eu-west-1", "https://iam.amazonaws.com", "us-east-1"),
            ("iam", true, "cn-northwest-1", "https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
            ("iam", true, "us-gov-east-1", "https://iam.us-gov.amazonaws.com", "us-gov-west-1"),
            ("iam", true, "us-iso-west-1", "https://iam.us-iso-east-1.c2s.ic.gov", "us-iso-east-1"),
        ] {
            let config = aws_config::SdkConfig::builder().build();
            let made = |endpoint| {
                let place = (region, endpoint);
                let (connections, how) = (Connections::default(), (Timeouts::default(), &Weather::default()));
                Signed::new(service(scope, global), &config, place, &connections, how).place()
            };
            assert_eq!(made(None), (url.to_owned(), signs.to_owned()));
            assert_eq!(made(Some("http://x")), ("http://x".to_owned(), signs.to_owned()));
        }
    }
}
