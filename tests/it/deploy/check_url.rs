//! The last proof, at a path and at a whole URL, and behind a certificate for another name.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use steadystate::deploy::check_url::check;

use crate::aws::server::{Reply, Server};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_path_is_the_load_balancer_s_and_a_url_is_taken_as_it_is() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::start(|_, _| Reply::Json(json!({}))).await;
    let behind_a_rule = format!("{}/shop/", server.url);
    for (url, wanted, expected) in [
        (Some(&server.url), "/healthz?deep=1", format!("{}/healthz?deep=1", server.url)),
        (Some(&behind_a_rule), "/shop/healthz", format!("{}/shop/healthz", server.url)),
        (Some(&behind_a_rule), "//nowhere.invalid", format!("{}//nowhere.invalid", server.url)),
        (None, &*format!("{}/healthz", server.url), format!("{}/healthz", server.url)),
    ] {
        assert_eq!(check(url.map(String::as_str), wanted, MINUTE).await.expect(wanted), expected);
    }
    let error = check(None, "/", MINUTE).await.expect_err("no URL");
    assert!(error.to_string().contains("has no load balancer"), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_name_says_where_to_check() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (address, server) = tls("shop.example.com");
    let started = Instant::now();
    let error = check(Some(&format!("https://{address}")), "/healthz", MINUTE).await.expect_err("untrusted");
    assert!(started.elapsed() < MINUTE, "no waiting helps");
    assert!(error.to_string().contains("invalid peer certificate"), "the whole chain: {error}");
    assert!(error.hints()[0].contains("check_url: https://YOUR-DOMAIN/healthz"), "{:?}", error.hints());
    server.join().expect("one connection");

    let (address, server) = tls("shop.example.com");
    let error = check(None, &format!("https://{address}/"), Duration::ZERO).await.expect_err("untrusted");
    assert!(error.hints()[0].contains("certificate name this host"), "{:?}", error.hints());
    server.join().expect("one connection");
}

/// Shakes one hand, with a certificate that nobody signed but itself.
fn tls(name: &str) -> (SocketAddr, JoinHandle<()>) {
    let (certificate, key) = certificate(name);
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key);
    let config = Arc::new(config.expect("certificate and key fit"));
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut connection = rustls::ServerConnection::new(config).expect("a connection");
        while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
    });
    (address, server)
}

fn certificate(name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key.as_ref(), &random).expect("the key");
    let der = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = match content.len() {
            short @ 0..128 => vec![short as u8],
            middle @ 128..256 => vec![0x81, middle as u8],
            long => vec![0x82, (long >> 8) as u8, long as u8],
        };
        [&[tag][..], &length, &content].concat()
    };
    let (sequence, set, oid, bits) = (0x30, 0x31, 0x06, 0x03);
    let ecdsa_with_sha256 = der(sequence, &[&der(oid, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]])]);
    let common_name = der(sequence, &[&der(oid, &[&[0x55, 4, 3]]), &der(0x0c, &[name.as_bytes()])]);
    let who = der(sequence, &[&der(set, &[&common_name])]);
    let validity = der(sequence, &[&der(0x17, &[b"250101000000Z"]), &der(0x17, &[b"491231235959Z"])]);
    let curve =
        [der(oid, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]]), der(oid, &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]])];
    let public = der(sequence, &[&der(sequence, &[&curve.concat()]), &der(bits, &[&[0], pair.public_key().as_ref()])]);
    let names = der(sequence, &[&der(0x82, &[name.as_bytes()])]);
    let extension = der(sequence, &[&der(oid, &[&[0x55, 0x1d, 0x11]]), &der(0x04, &[&names])]);
    let extensions = der(0xa3, &[&der(sequence, &[&extension])]);
    let version = der(0xa0, &[&der(2, &[&[2]])]);
    let signed =
        der(sequence, &[&version, &der(2, &[&[1]]), &ecdsa_with_sha256, &who, &validity, &who, &public, &extensions]);
    let signature = pair.sign(&random, &signed).expect("signed");
    let whole = der(sequence, &[&signed, &ecdsa_with_sha256, &der(bits, &[&[0], signature.as_ref()])]);
    (whole.into(), PrivatePkcs8KeyDer::from(key.as_ref().to_vec()).into())
}
