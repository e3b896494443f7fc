//! Certificates and proxies: whom the environment has us trust beside the system, which way it sends us, and what to do
//! when that does not work. One answer for AWS's APIs and for registries.

use std::path::PathBuf;
use std::sync::OnceLock;

use hyper_util::client::proxy::matcher::Matcher;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::error::{Error, Result};

/// AWS's own variable, which its CLI and SDKs know. What it names is trusted beside the system's certificates.
const BUNDLE: &str = "AWS_CA_BUNDLE";
/// OpenSSL's. What it names is trusted in place of the system's.
const FILE: &str = "SSL_CERT_FILE";

/// Certificate authorities that the environment names, in DER.
#[derive(Debug, Default)]
pub struct Named {
    /// Of `AWS_CA_BUNDLE`.
    pub bundle: Vec<CertificateDer<'static>>,
    /// Of `SSL_CERT_FILE`. Not every loader of the system's certificates heeds it (Apple's does not).
    pub file: Vec<CertificateDer<'static>>,
}

/// What `AWS_CA_BUNDLE` and `SSL_CERT_FILE` name.
///
/// # Errors
/// `Preflight` when one of them names no certificates: what was to be trusted would silently not be.
pub fn named() -> Result<Named> {
    Ok(Named { bundle: certificates(BUNDLE)?, file: certificates(FILE)? })
}

fn certificates(variable: &str) -> Result<Vec<CertificateDer<'static>>> {
    let Some(path) = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from) else {
        return Ok(Vec::new());
    };
    let shown = path.display();
    let text = std::fs::read(&path).map_err(|error| {
        Error::preflight(format!("cannot read the certificates of {variable}: {shown}"))
            .cause(error)
            .hint(format!("{variable} names a file in PEM format; unset it to trust what the system trusts"))
    })?;
    // Certificates that cannot be read are no use to anyone, and keep none of the others away: as the system's loaders do.
    let mut store = RootCertStore::empty();
    let all = CertificateDer::pem_slice_iter(&text).filter_map(std::result::Result::ok);
    let sound: Vec<_> = all.filter(|certificate| store.add(certificate.clone()).is_ok()).collect();
    if sound.is_empty() {
        return Err(Error::preflight(format!("{variable} names a file without certificates: {shown}"))
            .hint("it has to be in PEM format: `-----BEGIN CERTIFICATE-----`"));
    }
    Ok(sound)
}

/// Whether requests to this host never leave this machine or its link, and so go through no proxy: loopback, and where
/// EC2 and ECS lend credentials.
pub fn is_near(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    if host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost") {
        return true;
    }
    match host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(std::net::IpAddr::V6(address)) => address.is_loopback() || address.segments()[..3] == [0xfd00, 0xec2, 0],
        Err(_) => false,
    }
}

fn matcher() -> &'static Matcher {
    static MATCHER: OnceLock<Matcher> = OnceLock::new();
    MATCHER.get_or_init(Matcher::from_system)
}

/// The proxy that the environment names for a URL, without its credentials.
pub fn proxy_of(url: &str) -> Option<String> {
    let url: hyper::Uri = url.parse().ok()?;
    if is_near(url.host()?) {
        return None;
    }
    let proxy = matcher().intercept(&url)?;
    let (scheme, authority) = (proxy.uri().scheme_str()?, proxy.uri().authority()?.as_str());
    // An `@` in a password leaves some of it before the last one.
    let host = authority.rsplit('@').next()?;
    Some(format!("{scheme}://{host}"))
}

/// Whether anything at all goes through a proxy.
pub fn has_proxy() -> bool {
    proxy_of("https://proxied.invalid").is_some() || proxy_of("http://proxied.invalid").is_some()
}

/// What to do about a connection that did not come about, by the words of its causes. `None` when they say nothing special.
pub fn hint(causes: &str) -> Option<String> {
    let text = causes.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let hint = if has(&["causedasendentity"]) {
        "its certificate is an authority's own (`CA:TRUE`), which no server may show: sign one for the host with it, or make it \
         again with `-addext basicConstraints=critical,CA:FALSE`, and name the file in AWS_CA_BUNDLE"
    } else if has(&["unknownissuer", "badsignature", "unsupportedcertversion"]) {
        "nobody whom this machine trusts has signed its certificate: name a PEM file with its CA (or itself) in \
         AWS_CA_BUNDLE, which is trusted beside the system's, or in SSL_CERT_FILE, in place of them"
    } else if has(&["notvalidforname", "not valid for name", "no names that are valid"]) {
        "the certificate there is another host's: is the name right, and is it reached directly?"
    } else if has(&["certificate expired", "certificateexpired"]) {
        "its certificate has expired, or this machine's clock is wrong: whoever runs it has to renew it"
    } else if has(&["not valid yet", "notvalidyet"]) {
        "its certificate is not valid yet: is this machine's clock right?"
    } else if has(&["invalidcontenttype", "corrupt message"]) {
        "what answers there does not speak TLS: is the port right?"
    } else if has(&["no ca certificates were loaded"]) {
        "no certificates are installed to trust: install `ca-certificates`, or name a PEM file in SSL_CERT_FILE"
    } else if has(&["proxy authorization required", "proxy authentication required"]) {
        "the proxy wants a login: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT"
    } else if has(&["tunnel error: unsuccessful"]) {
        "the proxy does not connect to that host: have it allowed there, or name the host in NO_PROXY"
    } else if has(&["tunnel error"]) {
        "the proxy does not answer as one: check HTTPS_PROXY, or name the host in NO_PROXY"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// Whether trying again cannot help: a certificate that is refused is so the next time, and a proxy that wants a login wants
/// it then. One that refuses a tunnel may only be overburdened.
pub fn is_final(causes: &str) -> bool {
    hint(causes).is_some() && (!causes.contains("tunnel error") || causes.contains("authorization required"))
}

/// An error and its causes, outermost first.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text
}
