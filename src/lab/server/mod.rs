//! The lab's one HTTP server: the AWS APIs at `/`, the registry at `/v2/`, the console at `/console/`, control at `/_lab/`.
//! Loopback only.

mod apis;
mod control;
mod guard;
mod rpc;
mod signature;
pub mod trouble;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use axum::serve::ListenerExt;
use futures_util::FutureExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::lifecycle::House;
use super::{console, registry};

pub use control::TOKEN_HEADER;

/// How long connections may go on after the lab was told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// What every request needs.
pub struct Front {
    pub house: House,
    pub address: SocketAddr,
    /// Whoever sends it may control this run of the lab.
    pub token: String,
    pub started_at: i64,
    pub stop: CancellationToken,
}

/// Serves until `shutdown` is done or the control endpoint says stop.
pub async fn serve(front: Arc<Front>, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let stop = front.stop.clone();
    let stalled = front.clone();
    let app = Router::new().fallback(answer).with_state(front);
    let listener = listener.tap_io(|stream| {
        // Without it small replies wait for an acknowledgement; the lab works all the same.
        let _ = stream.set_nodelay(true);
    });
    let told = stop.clone();
    let server = axum::serve(listener, app).with_graceful_shutdown(async move { told.cancelled().await });
    let server = tokio::spawn(server.into_future());
    tokio::select! {
        () = shutdown => stop.cancel(),
        () = stop.cancelled() => {}
    }
    stalled.house.current().lab.faults.clear(None);
    let abort = server.abort_handle();
    match tokio::time::timeout(DRAIN, server).await {
        Ok(Ok(served)) => served,
        Ok(Err(failed)) => Err(io::Error::other(failed)),
        Err(_) => {
            abort.abort();
            Ok(())
        }
    }
}

async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response<Body> {
    if let Err(why) = guard::check(&front, &request) {
        return plain(StatusCode::FORBIDDEN, why);
    }
    let path = request.uri().path();
    if path == "/v2" || path.starts_with("/v2/") {
        let instance = front.house.current();
        let Some(reply) = unless_it_fails(registry::handle(&instance.lab, request)).await else {
            return registry::failure(FAILED);
        };
        if reply.wrote
            && let Err(error) = tokio::task::spawn_blocking(move || instance.save()).await.map_err(Into::into).flatten()
        {
            return registry::failure(&format!("the lab cannot save its state: {error}"));
        }
        reply.response
    } else if path == "/console" || path.starts_with("/console/") {
        console::answer(&front, request).await
    } else if path.starts_with("/_lab/") {
        let answer = unless_it_fails(control::answer(&front, request)).await;
        answer.unwrap_or_else(|| plain(StatusCode::INTERNAL_SERVER_ERROR, FAILED))
    } else {
        // Its handlers are looked after one by one.
        apis::answer(&front, request).await
    }
}

const FAILED: &str = "the lab failed in this operation; its log says where";

/// `None` if it panics: that is one request's failure, and the connection's others go on.
async fn unless_it_fails<T>(answer: impl Future<Output = T>) -> Option<T> {
    AssertUnwindSafe(answer).catch_unwind().await.ok()
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::unless_it_fails;

    #[tokio::test]
    async fn a_panic_is_an_answer_that_is_not_there() {
        assert_eq!(unless_it_fails(async { 1 }).await, Some(1));
        let later = async {
            tokio::task::yield_now().await;
            panic!("this is the test's own panic")
        };
        assert_eq!(unless_it_fails::<()>(later).await, None);
    }
}
