//! From settings to clients. Region, credentials and endpoints come from aws-config, except where the settings name
//! them: these beat everything in the environment and in profiles.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OnceCell;

use super::credentials::{Cached, Shared};
use super::failure::Failure;
use super::http;
use super::json::{self, Json};
use super::query::{self, Ec2, Iam};
use super::retry::{self, Weather};
use super::signed::{Connections, Service, Signed};
use crate::error::{Error, Kind, Result};

/// Where and as whom to call. What is `None` comes from aws-config: environment, profiles, SSO, roles.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub region: Option<String>,
    pub profile: Option<String>,
    /// Beats `AWS_ENDPOINT_URL` and all of `AWS_ENDPOINT_URL_<SERVICE>`.
    pub endpoint_url: Option<String>,
    /// Access key id and secret. With these neither environment nor profile files are read.
    pub static_credentials: Option<(String, SecretString)>,
    /// What leads other programs to the same AWS, where settings beat the environment that they inherit.
    pub variables: Variables,
}

/// Environment variables for programs that are started beside us, and those that they must not inherit.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    pub set: Vec<(String, SecretString)>,
    pub unset: Vec<String>,
}

impl Variables {
    fn put(&mut self, name: &str, value: &str) {
        if !self.set.iter().any(|(known, _)| known == name) {
            self.set.push((name.to_owned(), SecretString::from(value.to_owned())));
        }
    }
}

/// Where public ECR lends its tokens, whatever region one works in.
/// <https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html>
pub const PUBLIC_REGION: &str = "us-east-1";

/// How long one attempt may take. The SDK itself waits for ever on a socket that hangs.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    pub connect: Duration,
    pub attempt: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts { connect: Duration::from_secs(5), attempt: Duration::from_secs(20) }
    }
}

/// Who the credentials belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub account_id: String,
    pub arn: String,
}

/// One client a service, all over one connection pool. Cheap to clone.
#[derive(Clone)]
pub struct Clients {
    pub region: String,
    /// The one endpoint for all services, where one was set.
    pub endpoint_url: Option<String>,
    pub ecs: aws_sdk_ecs::Client,
    /// Sends each request once: for operations that have no client token.
    pub ecs_once: aws_sdk_ecs::Client,
    pub ecr: aws_sdk_ecr::Client,
    /// Public ECR, which has one region for all.
    pub ecr_public: aws_sdk_ecrpublic::Client,
    pub elbv2: aws_sdk_elasticloadbalancingv2::Client,
    pub logs: aws_sdk_cloudwatchlogs::Client,
    pub service_discovery: aws_sdk_servicediscovery::Client,
    pub sts: aws_sdk_sts::Client,
    pub ec2: Ec2,
    pub iam: Iam,
    pub(super) ssm: Json,
    pub(super) secrets_manager: Json,
    pub(super) cloudwatch: Json,
    pub variables: Variables,
    identity: std::sync::Arc<OnceCell<Identity>>,
    weather: Weather,
}

// Debug of SDK types prints tokens.
impl std::fmt::Debug for Clients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clients")
            .field("region", &self.region)
            .field("endpoint_url", &self.endpoint_url)
            .finish_non_exhaustive()
    }
}

impl Clients {
    /// The caller's account and ARN (`sts:GetCallerIdentity`), asked once.
    pub async fn identity(&self) -> Result<Identity, Failure> {
        let asked = self.identity.get_or_try_init(|| async {
            let reply = self
                .sts
                .get_caller_identity()
                .send()
                .await
                .map_err(|error| Failure::from_sdk("STS", "GetCallerIdentity", error))?;
            Ok(Identity {
                account_id: reply.account().unwrap_or_default().to_owned(),
                arn: reply.arn().unwrap_or_default().to_owned(),
            })
        });
        asked.await.cloned()
    }
}

impl Clients {
    /// Who is told, once each, that AWS throttles calls or leaves them unanswered; they are tried again.
    pub fn on_trouble(&self, hear: impl Fn(&str) + Send + Sync + 'static) {
        self.weather.listen(Box::new(hear));
    }

    /// The same, but for ECR, which is asked in another region.
    pub fn with_ecr_in(&self, region: &str) -> Clients {
        let config = self.ecr.config().to_builder().region(Region::new(region.to_owned())).build();
        Clients { ecr: aws_sdk_ecr::Client::from_conf(config), ..self.clone() }
    }

    /// The same, but for logs, parameters and secrets, which are asked for in another region.
    pub fn with_stores_in(&self, region: &str) -> Clients {
        let config = self.logs.config().to_builder().region(Region::new(region.to_owned())).build();
        Clients {
            logs: aws_sdk_cloudwatchlogs::Client::from_conf(config),
            ssm: self.ssm.in_region(region),
            secrets_manager: self.secrets_manager.in_region(region),
            ..self.clone()
        }
    }
}

/// Clients with the timeouts that fit AWS and the lab alike.
pub async fn connect(settings: &Settings) -> Result<Clients> {
    connect_with(settings, Timeouts::default()).await
}

pub async fn connect_with(settings: &Settings, timeouts: Timeouts) -> Result<Clients> {
    // Without a default provider, reqwest panics; a second install is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = http::client(settings)?;
    let weather = Weather::default();
    let config = match &settings.static_credentials {
        Some((id, secret)) => fixed(settings, id, secret, http, timeouts),
        None => from_environment(settings, http, timeouts, &weather).await,
    };
    let region = config.region().map(|region| region.as_ref().to_owned()).filter(|region| !region.is_empty());
    let Some(region) = region else {
        return Err(Error::preflight("no AWS region is set")
            .hint("give --region, set AWS_REGION, or add `region:` to steady.yaml or to the profile"));
    };
    let endpoint = settings.endpoint_url.as_deref();
    let mut variables = settings.variables.clone();
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        variables.put(name, &region);
    }
    for (name, value) in [("AWS_PROFILE", settings.profile.as_deref()), ("AWS_ENDPOINT_URL", endpoint)] {
        value.into_iter().for_each(|value| variables.put(name, value));
    }
    // Set on each service's own config: only there it beats AWS_ENDPOINT_URL_<SERVICE>.
    macro_rules! client {
        ($sdk:ident) => {
            $sdk::Client::from_conf(with_endpoint!($sdk).build())
        };
    }
    macro_rules! with_endpoint {
        ($sdk:ident) => {{
            let builder =
                $sdk::config::Builder::from(&config).retry_classifier(weather.clone()).interceptor(weather.clone());
            match endpoint {
                Some(endpoint) => builder.endpoint_url(endpoint),
                None => builder,
            }
        }};
    }
    let connections = Connections::default();
    let signed = |service: Service| {
        Signed::new(service, &config, (region.as_str(), endpoint), &connections, (timeouts, &weather))
    };
    Ok(Clients {
        ecs: client!(aws_sdk_ecs),
        ecs_once: aws_sdk_ecs::Client::from_conf(
            with_endpoint!(aws_sdk_ecs).retry_config(RetryConfig::disabled()).build(),
        ),
        ecr: client!(aws_sdk_ecr),
        ecr_public: aws_sdk_ecrpublic::Client::from_conf(
            with_endpoint!(aws_sdk_ecrpublic).region(Region::new(PUBLIC_REGION)).build(),
        ),
        elbv2: client!(aws_sdk_elasticloadbalancingv2),
        logs: client!(aws_sdk_cloudwatchlogs),
        service_discovery: client!(aws_sdk_servicediscovery),
        sts: client!(aws_sdk_sts),
        ec2: Ec2(signed(query::EC2)),
        iam: Iam(signed(query::IAM)),
        ssm: Json::new(json::SSM, signed),
        secrets_manager: Json::new(json::SECRETS_MANAGER, signed),
        cloudwatch: Json::new(json::CLOUDWATCH, signed),
        endpoint_url: endpoint.or(config.endpoint_url()).map(str::to_owned),
        region,
        variables,
        identity: std::sync::Arc::default(),
        weather,
    })
}

/// Reads neither environment nor files, so that nothing there can lead a lab's calls elsewhere.
fn fixed(
    settings: &Settings,
    id: &str,
    secret: &SecretString,
    http: SharedHttpClient,
    timeouts: Timeouts,
) -> SdkConfig {
    let credentials = Credentials::new(id, secret.expose_secret(), None, None, "settings");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(settings.region.clone().map(Region::new))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .identity_cache(aws_config::identity::IdentityCache::lazy().build())
        .http_client(http)
        .retry_config(retry::config())
        .timeout_config(timeout_config(timeouts))
        .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(aws_smithy_async::rt::sleep::TokioSleep::new()))
        .time_source(aws_smithy_async::time::SystemTimeSource::new())
        .build()
}

async fn from_environment(
    settings: &Settings,
    http: SharedHttpClient,
    timeouts: Timeouts,
    weather: &Weather,
) -> SdkConfig {
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(retry::config())
        // ours is, and can be told that what it has is of no use any more
        .identity_cache(aws_config::identity::IdentityCache::no_cache())
        .timeout_config(timeout_config(timeouts));
    if let Some(region) = &settings.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(endpoint) = &settings.endpoint_url {
        loader = loader.endpoint_url(endpoint);
    }
    let config = loader.load().await;
    let Some(provider) = config.credentials_provider() else { return config };
    let cached = std::sync::Arc::new(Cached::new(provider));
    weather.renews(cached.clone());
    config.into_builder().credentials_provider(SharedCredentialsProvider::new(Shared(cached))).build()
}

fn timeout_config(timeouts: Timeouts) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(timeouts.connect).operation_attempt_timeout(timeouts.attempt).build()
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error(Kind::Other)
    }
}
