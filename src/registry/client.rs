//! One registry: its address, its HTTP clients, and single requests to it.

use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use reqwest::{Body, Certificate, Method, Response, StatusCode, redirect};
use url::Url;

use super::auth::{Auth, Realms, Ticket};
use super::retry::{Failure, Refusal, persist};
use super::{CredentialSource, Patience, Scope};
use crate::error::{Error, Result};
use crate::image::{Reference, reference};
use crate::transport;

const MAX_REDIRECTS: usize = 5;

/// Error bodies and token replies are read this far.
const MAX_TEXT: usize = 64 << 10;

/// A client of one registry. Cheap to clone; clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    base: Url,
    http: reqwest::Client,
    /// For other hosts, that a redirect or location names. It never carries a credential.
    elsewhere: OnceLock<reqwest::Client>,
    auth: Auth,
    patience: Patience,
}

/// Makes ring the process's TLS provider, unless there is one. Costs nothing when called again.
pub fn use_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

impl Client {
    /// A client of the registry at `base_url`, `https://…` or, on this machine, `http://…`.
    ///
    /// # Errors
    /// `Input` when the URL is no such address.
    pub fn new(base_url: &str, credentials: Option<CredentialSource>) -> Result<Self> {
        Client::with_patience(base_url, credentials, Patience::default())
    }

    /// A client of the registry that `reference` names.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn of(reference: &Reference, credentials: Option<CredentialSource>) -> Result<Self> {
        Client::new(&reference.base_url(), credentials)
    }

    /// # Errors
    /// As [`Client::new`].
    pub fn with_patience(base_url: &str, credentials: Option<CredentialSource>, patience: Patience) -> Result<Self> {
        Client::with_auth(base_url, Auth::new(credentials, Realms::Own), patience)
    }

    pub(super) fn with_auth(base_url: &str, auth: Auth, patience: Patience) -> Result<Self> {
        let wrong = || Error::input(format!("`{base_url}` is not the address of a registry"));
        let base = Url::parse(base_url).map_err(|error| wrong().cause(error))?;
        let host = base.host_str().ok_or_else(wrong)?;
        let loopback = reference::is_loopback(host);
        if !(base.scheme() == "https" || (base.scheme() == "http" && loopback)) {
            return Err(wrong().hint("registries speak https; only those on this machine may speak http"));
        }
        let http = http_client(&patience, base.scheme() == "http", loopback)?;
        Ok(Client { inner: Arc::new(Inner { base, http, elsewhere: OnceLock::new(), auth, patience }) })
    }

    /// Asks whether this is a registry that lets us in.
    ///
    /// # Errors
    /// `BuildOrPush` when it is not or does not.
    pub async fn ping(&self) -> Result<()> {
        let url = self.url("/v2/")?;
        persist(self, &Scope::Registry, None, async || {
            let response = self.get(&url, &Scope::Registry, None).await?;
            if response.status().is_success() {
                return Ok(());
            }
            Err(Refusal::read(response, self).await.into_failure(self, "answer as a registry"))
        })
        .await
    }

    /// The registry's host and port, as errors name it.
    pub fn host(&self) -> String {
        let host = self.inner.base.host_str().unwrap_or_default();
        self.inner.base.port().map_or(host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// Whether there is a credential for it.
    pub fn has_login(&self) -> bool {
        self.inner.auth.has_source()
    }

    pub(super) fn base(&self) -> &Url {
        &self.inner.base
    }

    pub(super) fn auth(&self) -> &Auth {
        &self.inner.auth
    }

    pub(super) fn patience(&self) -> &Patience {
        &self.inner.patience
    }

    pub(super) fn url(&self, path: &str) -> Result<Url> {
        self.inner.base.join(path).map_err(|error| Error::other(format!("`{path}` is no path")).cause(error))
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.inner.base.origin()
    }

    /// The HTTP client for a URL. Nothing goes unencrypted that would not have gone so to the registry.
    pub(super) fn http_for(&self, url: &Url) -> Result<&reqwest::Client> {
        if self.is_own(url) {
            return Ok(&self.inner.http);
        }
        if url.scheme() != "https" && !(url.scheme() == "http" && self.inner.base.scheme() == "http") {
            let place = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
            return Err(Error::build_or_push(format!(
                "the registry {} points to {place}, which is not encrypted",
                self.host()
            ))
            .hint("is a proxy in front of the registry set up for https?"));
        }
        if let Some(client) = self.inner.elsewhere.get() {
            return Ok(client);
        }
        let loopback = url.host_str().is_some_and(reference::is_loopback);
        let client = http_client(&self.inner.patience, false, loopback)?;
        Ok(self.inner.elsewhere.get_or_init(|| client))
    }

    /// Where a `Location` header points.
    pub(super) fn location(&self, response: &Response) -> Result<Url> {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        let found = location.and_then(|location| response.url().join(location).ok());
        found.ok_or_else(|| Error::build_or_push(format!("the registry {} did not say where to continue", self.host())))
    }

    /// One request, whose body is `None` or can be sent once. The credential goes along only to the registry itself.
    /// Answers of any status but 401 and 403 are the caller's.
    pub(super) async fn request(
        &self,
        method: Method,
        url: &Url,
        scope: &Scope,
        headers: HeaderMap,
        body: Option<Body>,
        limit: Option<Duration>,
    ) -> Result<Response, Failure> {
        let http = self.http_for(url)?;
        let ticket = if self.is_own(url) { self.ticket(scope).await? } else { Ticket::none() };
        let mut request = http.request(method, url.clone()).headers(headers);
        if let Some(header) = ticket.header.clone() {
            request = request.header(AUTHORIZATION, header);
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        if let Some(limit) = limit {
            request = request.timeout(limit);
        }
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) && self.is_own(url) {
            let texts = response.headers().get_all(WWW_AUTHENTICATE).iter();
            let challenges = texts.filter_map(|text| text.to_str().ok().map(str::to_owned)).collect();
            let error = Refusal::read(response, self).await.error(self, "let us in");
            return Err(Failure::Denied { error, ticket, challenges });
        }
        Ok(response)
    }

    /// A request without a body, of which only the head counts.
    pub(super) async fn head(
        &self,
        url: &Url,
        scope: &Scope,
        accept: Option<&'static str>,
    ) -> Result<Response, Failure> {
        self.request(Method::HEAD, url, scope, accept_header(accept), None, Some(self.patience().stall)).await
    }

    /// A GET that follows redirects. The body is to be read with [`read_chunk`], which watches for stalls.
    pub(super) async fn get(
        &self,
        url: &Url,
        scope: &Scope,
        accept: Option<&'static str>,
    ) -> Result<Response, Failure> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.request(Method::GET, &url, scope, accept_header(accept), None, None);
            let response = match tokio::time::timeout(self.patience().stall, answer).await {
                Ok(response) => response?,
                Err(_) => return Err(Failure::again(self.stalled())),
            };
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = self.location(&response)?;
        }
        Err(Failure::Final(Error::build_or_push(format!("the registry {} redirects without end", self.host()))))
    }

    /// A POST without a body.
    pub(super) async fn post(&self, url: &Url, scope: &Scope) -> Result<Response, Failure> {
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
        self.request(Method::POST, url, scope, headers, None, Some(self.patience().stall)).await
    }

    pub(super) fn unreachable(&self, error: reqwest::Error) -> Failure {
        let connecting = error.is_connect();
        let what = if connecting { "cannot reach the registry" } else { "the connection broke to the registry" };
        let way = transport::proxy_of(self.inner.base.as_str());
        let way = way.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"));
        // Upload locations hold signatures.
        let cause = transport::causes(&error.without_url());
        let failure = Error::build_or_push(format!("{what} {}{way}", self.host()));
        match transport::hint(&cause) {
            Some(hint) if connecting && transport::is_final(&cause) => Failure::Final(failure.cause(cause).hint(hint)),
            Some(hint) => Failure::again(failure.cause(cause).hint(hint)),
            None => Failure::again(failure.cause(cause)),
        }
    }

    pub(super) fn stalled(&self) -> Error {
        let seconds = self.patience().stall.as_secs_f32();
        Error::build_or_push(format!("nothing moved for {seconds} s to or from the registry {}", self.host()))
    }
}

fn http_client(patience: &Patience, plain: bool, loopback: bool) -> Result<reqwest::Client> {
    use_ring();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("steady/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .http1_only()
        .tcp_nodelay(true)
        .connect_timeout(patience.connect)
        .pool_max_idle_per_host(16);
    if plain {
        // Reading the system's certificates takes longer than a deploy of nothing.
        builder = builder.tls_certs_only([]);
    } else {
        let named = transport::named()?;
        let certificates = named.bundle.iter().chain(&named.file).map(|der| Certificate::from_der(der));
        builder = builder.tls_certs_merge(certificates.filter_map(std::result::Result::ok));
    }
    if loopback {
        builder = builder.no_proxy();
    }
    builder.build().map_err(|error| {
        Error::other("cannot set up TLS").cause(error).hint(
            "are the system's certificates (`ca-certificates`) installed? SSL_CERT_FILE and SSL_CERT_DIR name others",
        )
    })
}

fn accept_header(accept: Option<&'static str>) -> HeaderMap {
    accept.map(|accept| (ACCEPT, HeaderValue::from_static(accept))).into_iter().collect()
}

/// The next piece of a body, or `None` at its end.
pub(super) async fn read_chunk(client: &Client, response: &mut Response) -> Result<Option<Bytes>, Failure> {
    match tokio::time::timeout(client.patience().stall, response.chunk()).await {
        Ok(chunk) => chunk.map_err(|error| client.unreachable(error)),
        Err(_) => Err(Failure::again(client.stalled())),
    }
}

/// A small body as text; what is too long, late or broken is left out.
pub(super) async fn text_of(mut response: Response, limit: Duration) -> String {
    let mut text = BytesMut::new();
    while let Ok(Ok(Some(chunk))) = tokio::time::timeout(limit, response.chunk()).await {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_TEXT {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
