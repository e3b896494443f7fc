//! The way to AWS and to registries: certificates and proxies, with the real program and real TLS.

mod proxies;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// What the fake of ECR lends.
const PASSWORD: &str = "the-password-of-ecr";

/// An image that is pushed to where nobody asks for a login.
const SCRATCH: &str = "{ repository: REGISTRY/hello, tags: [v1], build: { layers: [{ from: td.json.hbs, to: /a }] } }";

/// Somebody who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Authority {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let key = KeyPair::generate().unwrap();
        // Another authority is another name.
        parameters.distinguished_name.push(DnType::OrganizationalUnitName, hex::encode(&key.public_key_raw()[..16]));
        let pem = parameters.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(parameters, key), pem }
    }

    /// A server's, for these names; `until` is the year in which it ends.
    pub fn certify(&self, names: &[&str], until: i32) -> ServerConfig {
        let names = names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        versions.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap()
    }
}

/// Speaks TLS in front of a server that does not.
pub struct TlsFront {
    pub address: SocketAddr,
    accepting: AbortHandle,
}

impl TlsFront {
    pub async fn start(config: ServerConfig, behind: SocketAddr) -> TlsFront {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if let (Ok(mut near), Ok(mut far)) =
                        (acceptor.accept(stream).await, TcpStream::connect(behind).await)
                    {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        TlsFront { address, accepting: accepting.abort_handle() }
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Of all of AWS, the operation that lends ECR's password.
async fn fake_ecr() -> (SocketAddr, AbortHandle) {
    let token = BASE64_STANDARD.encode(format!("AWS:{PASSWORD}"));
    let reply = json!({ "authorizationData": [{
        "authorizationToken": token, "expiresAt": 4_000_000_000u64,
        "proxyEndpoint": "https://123456789012.dkr.ecr.us-east-1.amazonaws.com",
    }] });
    let router = Router::new().route("/", post(move || async move { reply.to_string() }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, serving.abort_handle())
}
