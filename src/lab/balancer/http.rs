//! Application load balancers: each request goes by the rules, and to any target.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::connections::{NoTarget, OpenConnection, Prefer, in_service};
use super::idle::{Heard, Heeded, Noted, lock, unless_silent};
use super::route::{self, Asked};
use super::{Balancer, simulated, sticky, tcp};
use crate::lab::api::random_hex;
use crate::lab::elbv2::{Action, LoadBalancer};

type Body = BoxBody<Bytes, hyper::Error>;

/// What AWS's idle timeout is unless it is set.
const IDLE: Duration = Duration::from_secs(60);
/// AWS bounds the headers' bytes, not their number.
const MOST_HEADERS: usize = 1000;

/// Headers that speak of one connection and not of the request.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Serves one client's connection, with keep-alive, until it ends; `closing` lets the request at hand finish.
pub(super) async fn serve(
    balancer: Arc<Balancer>,
    client: TcpStream,
    listener_arn: String,
    peer: SocketAddr,
    closing: CancellationToken,
) {
    let listener_arn: Arc<str> = listener_arn.into();
    let heard = Heard::new();
    let service = service_fn(|request| {
        let (balancer, listener_arn, heard) = (Arc::clone(&balancer), Arc::clone(&listener_arn), Arc::clone(&heard));
        async move {
            heard.asks(true);
            let response = respond(&balancer, &listener_arn, peer, request).await;
            heard.asks(false);
            Ok::<_, Infallible>(response)
        }
    });
    let client = TokioIo::new(Heeded { stream: client, heard: Arc::clone(&heard) });
    let connection =
        hyper::server::conn::http1::Builder::new().max_headers(MOST_HEADERS).serve_connection(client, service);
    let served = async {
        let mut connection = pin!(connection.with_upgrades());
        tokio::select! {
            _ = connection.as_mut() => return,
            () = closing.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    };
    let idle = || {
        balancer.lab.read(|state| {
            let listener = state.elbv2.listener(&listener_arn);
            let load_balancer = listener.and_then(|listener| state.elbv2.load_balancer(&listener.load_balancer_arn));
            load_balancer.map_or(IDLE, idle_timeout)
        })
    };
    tokio::select! {
        () = served => {}
        () = heard.silence(idle) => {}
    }
}

fn idle_timeout(of: &LoadBalancer) -> Duration {
    let seconds = of.attributes.get("idle_timeout.timeout_seconds").and_then(|text| text.parse().ok());
    seconds.map_or(IDLE, Duration::from_secs)
}

struct Decision {
    action: Action,
    listener_port: u16,
    idle_timeout: Duration,
    /// What becomes of X-Forwarded-For.
    forwarded_for: Option<String>,
}

async fn respond(
    balancer: &Balancer,
    listener_arn: &str,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    let host = host.or_else(|| request.uri().authority().map(ToString::to_string)).unwrap_or_default();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let asked = Asked {
        method: &method,
        host: &host,
        path: uri.path(),
        query: uri.query().unwrap_or_default(),
        headers: request.headers(),
        peer: peer.ip(),
    };
    let decision = balancer.lab.read(|state| {
        let listener = state.elbv2.listener(listener_arn)?;
        let load_balancer = state.elbv2.load_balancer(&listener.load_balancer_arn)?;
        Some(Decision {
            action: route::choose(&listener.rules, &asked)?.clone(),
            listener_port: listener.port,
            idle_timeout: idle_timeout(load_balancer),
            forwarded_for: load_balancer.attributes.get("routing.http.xff_header_processing.mode").cloned(),
        })
    });
    let Some(decision) = decision else { return error_page(StatusCode::SERVICE_UNAVAILABLE) };
    match &decision.action {
        Action::Forward { groups, sticky } => {
            let now = balancer.lab.clock.now();
            let turn = || balancer.lab.sockets.connections.turn(listener_arn);
            let had = sticky.and_then(|_| sticky::group(request.headers(), groups, now));
            let Some(group) = had.or_else(|| route::weighted(groups, turn)) else {
                return error_page(StatusCode::SERVICE_UNAVAILABLE);
            };
            let mut response = forward(balancer, group, &decision, peer, request).await;
            if let Some(seconds) = sticky {
                sticky::bind_group(response.headers_mut(), group, *seconds, now);
            }
            response
        }
        Action::FixedResponse { status, content_type, body } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::OK);
            let content_type = content_type.as_deref().unwrap_or("text/plain");
            own_answer(status, content_type, body.clone().unwrap_or_default())
        }
        Action::Redirect { status, .. } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::FOUND);
            let location = route::location(&decision.action, &asked, decision.listener_port).unwrap_or_default();
            let mut response = own_answer(status, "text/html", page(status));
            if let Ok(location) = HeaderValue::from_str(&location) {
                response.headers_mut().insert(header::LOCATION, location);
            }
            response
        }
    }
}

async fn forward(
    balancer: &Balancer,
    group: &str,
    decision: &Decision,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let mut client_upgrade = None;
    if request.headers().contains_key(header::UPGRADE) {
        client_upgrade = Some(hyper::upgrade::on(&mut request));
    }
    let (mut parts, body) = request.into_parts();
    prepare(&mut parts, decision, peer);
    // Only such a request can be sent once more when a target ends in the middle of it.
    let repeatable = body.is_end_stream() && [Method::GET, Method::HEAD, Method::OPTIONS].contains(&parts.method);
    let (body, upload) = Noted::new(body);
    let mut body = Some(body.boxed());
    let now = balancer.lab.clock.now();
    let (stickiness, had) = balancer
        .lab
        .read(|state| {
            let group = state.elbv2.target_group(group)?;
            let stickiness = sticky::OfTarget::of(group)?;
            let had = stickiness.target(&parts.headers, group, now);
            Some((stickiness, had))
        })
        .map_or((None, None), |(stickiness, had)| (Some(stickiness), had));
    let prefer = had.as_ref().map_or(Prefer::Any, |(target, port)| Prefer::Target(target, *port));
    let mut tried = Vec::new();
    loop {
        let (stream, connection) = match balancer.connect(group, &mut tried, prefer).await {
            Ok(connected) => connected,
            Err(NoTarget::NoneRegistered) => return error_page(StatusCode::SERVICE_UNAVAILABLE),
            Err(NoTarget::AllRefused) => return error_page(StatusCode::BAD_GATEWAY),
            Err(NoTarget::Simulated) => {
                let text = simulated::EXPLANATION.to_owned();
                return own_answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", text);
            }
        };
        let connection = Arc::new(connection);
        let request = Request::from_parts(parts.clone(), body.take().unwrap_or_else(empty));
        let exchanged = unless_silent(decision.idle_timeout, &upload, exchange(stream, &connection, request)).await;
        match exchanged {
            None if lock(&upload).is_awaited => return error_page(StatusCode::REQUEST_TIMEOUT),
            None => return error_page(StatusCode::GATEWAY_TIMEOUT),
            Some(Ok(response)) => {
                let key = connection.key.clone();
                let mut response = finish(response, client_upgrade, connection, decision.idle_timeout);
                if let Some(stickiness) = &stickiness {
                    stickiness.bind(response.headers_mut(), &key, now);
                }
                return response;
            }
            Some(Err(_)) if repeatable && !in_service(&balancer.lab, &connection.key) => {
                tried.push(connection.key.clone());
            }
            Some(Err(_)) => return error_page(StatusCode::BAD_GATEWAY),
        }
    }
}

/// Sends one request over a connection of its own: no target can close one that we were about to reuse.
async fn exchange(
    stream: TcpStream,
    connection: &Arc<OpenConnection>,
    request: Request<Body>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, driver) =
        hyper::client::conn::http1::Builder::new().max_headers(MOST_HEADERS).handshake(TokioIo::new(stream)).await?;
    let connection = Arc::clone(connection);
    tokio::spawn(async move {
        tokio::select! {
            _ = driver.with_upgrades() => {}
            () = connection.cut.cancelled() => {}
        }
    });
    sender.send_request(request).await
}

/// Makes the client's request the balancer's own.
fn prepare(parts: &mut Parts, decision: &Decision, peer: SocketAddr) {
    let upgrade = parts.headers.get(header::UPGRADE).cloned();
    strip(&mut parts.headers);
    let connection = if upgrade.is_some() { "upgrade" } else { "close" };
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
    if let Some(upgrade) = upgrade {
        parts.headers.insert(header::UPGRADE, upgrade);
    }
    let authority = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let (false, Some(host)) = (parts.headers.contains_key(header::HOST), authority) {
        parts.headers.insert(header::HOST, host);
    }
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = Uri::try_from(path).unwrap_or_default();
    parts.version = Version::HTTP_11;

    const FORWARDED_FOR: &str = "x-forwarded-for";
    let peer = peer.ip().to_string();
    let given = parts.headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let all = given.chain([peer.as_str()]).collect::<Vec<_>>().join(", ");
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            parts.headers.insert(name, value);
        }
    };
    if !matches!(decision.forwarded_for.as_deref(), Some("preserve" | "remove")) {
        set(FORWARDED_FOR, all);
    }
    set("x-forwarded-proto", "http".to_owned());
    set("x-forwarded-port", decision.listener_port.to_string());
    if decision.forwarded_for.as_deref() == Some("remove") {
        parts.headers.remove(FORWARDED_FOR);
    }
    if !parts.headers.contains_key("x-amzn-trace-id") {
        let trace = format!("Root=1-{}-{}", random_hex(8), random_hex(24));
        if let Ok(trace) = HeaderValue::from_str(&trace) {
            parts.headers.insert("x-amzn-trace-id", trace);
        }
    }
}

fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn finish(
    mut response: Response<Incoming>,
    client: Option<OnUpgrade>,
    connection: Arc<OpenConnection>,
    idle: Duration,
) -> Response<Body> {
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (response.status(), client) {
        let target = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            let (Ok(client), Ok(target)) = tokio::join!(client, target) else { return };
            let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
            tcp::relay(&mut client, &mut target, &connection, idle).await;
        });
        // Its connection headers are the client's to see: they agree to the upgrade.
        return response.map(BodyExt::boxed);
    }
    strip(response.headers_mut());
    response.map(BodyExt::boxed)
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed()
}

fn error_page(status: StatusCode) -> Response<Body> {
    own_answer(status, "text/html", page(status))
}

fn page(status: StatusCode) -> String {
    // AWS's pages call 503 and 504 by older names than the standard's.
    let reason = match status.as_u16() {
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => status.canonical_reason().unwrap_or_default(),
    };
    let title = format!("{} {reason}", status.as_u16());
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )
}

fn own_answer(status: StatusCode, content_type: &str, body: String) -> Response<Body> {
    let mut response = Response::new(Full::from(body).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::SERVER, HeaderValue::from_static("awselb/2.0"));
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}
