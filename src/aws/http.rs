//! The SDK's way to AWS: whose certificates, which proxy.

use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig, tls};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::connect::Settings;
use crate::error::{Error, Result};
use crate::transport;

/// # Errors
/// `Preflight` when the certificates that the environment names cannot be read.
pub(super) fn client(settings: &Settings) -> Result<SharedHttpClient> {
    let plain = settings.endpoint_url.as_deref().is_some_and(|url| url.starts_with("http://"));
    if plain && settings.static_credentials.is_some() {
        // A lab: no certificates to load, and never through a proxy.
        return Ok(Builder::new().build_with_connector_fn(|timeouts, components| {
            let mut builder = Connector::builder();
            builder.set_connector_settings(timeouts.cloned());
            builder.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
            builder.build_http()
        }));
    }
    let mut trusted = tls::TrustStore::default();
    for der in transport::named()?.bundle {
        let text = BASE64_STANDARD.encode(&der);
        trusted.add_pem_certificate(format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"));
    }
    let context = tls::TlsContext::builder().with_trust_store(trusted).build();
    let context = context.map_err(|error| Error::other("cannot set up TLS").cause(error))?;
    let direct = secure(&context, ProxyConfig::disabled());
    let proxied = if transport::has_proxy() { secure(&context, ProxyConfig::from_env()) } else { direct.clone() };
    Ok(SharedHttpClient::new(ByHost { proxied, direct }))
}

fn secure(context: &tls::TlsContext, proxies: ProxyConfig) -> SharedHttpClient {
    let context = context.clone();
    Builder::new().build_with_connector_fn(move |timeouts, components| {
        let mut builder = Connector::builder().proxy_config(proxies.clone());
        builder.set_connector_settings(timeouts.cloned());
        builder.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        builder.tls_provider(tls::Provider::rustls(CryptoMode::Ring)).tls_context(context.clone()).build()
    })
}

/// What is near goes through no proxy, whether `NO_PROXY` says so or not: another machine has no business with the
/// credentials that this one is lent, and does not reach this one's loopback.
#[derive(Debug, Clone)]
struct ByHost {
    proxied: SharedHttpClient,
    direct: SharedHttpClient,
}

impl HttpClient for ByHost {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connectors {
            proxied: self.proxied.http_connector(settings, components),
            direct: self.direct.http_connector(settings, components),
        })
    }
}

#[derive(Debug)]
struct Connectors {
    proxied: SharedHttpConnector,
    direct: SharedHttpConnector,
}

impl HttpConnector for Connectors {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let near = request.uri().parse::<hyper::Uri>().is_ok_and(|uri| uri.host().is_some_and(transport::is_near));
        let answer = if near { self.direct.call(request) } else { self.proxied.call(request) };
        HttpConnectorFuture::new(async move {
            answer.await.map_err(|error| match transport::is_final(&transport::causes(&error)) {
                // which is not retried
                true => ConnectorError::user(error.into()),
                false => error,
            })
        })
    }
}
