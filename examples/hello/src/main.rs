//! A small static web server: one page, `/healthz`, one JSON log line a request, graceful on SIGTERM.
//!
//! Environment: `PORT` (8080), `RELEASE`, `IMAGE_DIGEST`; to rehearse failures `FAIL=start` (exits 1) and
//! `FAIL=health` (`/healthz` answers 500). `hello wait` sleeps for `SLEEP_TIME` seconds instead of serving.

mod page;
mod serve;

use std::env;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

fn main() -> ExitCode {
    let failure = env::var("FAIL").unwrap_or_default();
    if failure == "start" {
        serve::log("error", &[("message", "FAIL=start: refusing to start")]);
        return ExitCode::FAILURE;
    }
    let mut signals = match Signals::new([SIGTERM, SIGINT]) {
        Ok(signals) => signals,
        Err(error) => return fail(&format!("cannot listen for signals: {error}")),
    };
    if env::args().nth(1).as_deref() == Some("wait") {
        let seconds = env::var("SLEEP_TIME").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(3600);
        thread::spawn(move || {
            thread::sleep(Duration::from_secs(seconds));
            std::process::exit(0);
        });
        serve::log("info", &[("message", "waiting"), ("seconds", &seconds.to_string())]);
        signals.forever().next();
        serve::log("info", &[("message", "asked to stop")]);
        return ExitCode::SUCCESS;
    }

    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let page = match page::load() {
        Ok(page) => page,
        Err(error) => return fail(&format!("cannot read {}: {error}", page::PATH)),
    };
    let listener = match TcpListener::bind(format!("0.0.0.0:{port}")) {
        Ok(listener) => listener,
        Err(error) => return fail(&format!("cannot listen on port {port}: {error}")),
    };
    let server = Arc::new(serve::Server::new(page, failure != "health"));
    serve::log("info", &[("message", "listening"), ("port", &port)]);

    let stopping = Arc::clone(&server);
    thread::spawn(move || {
        signals.forever().next();
        serve::log("info", &[("message", "asked to stop: finishing requests")]);
        stopping.finish();
        serve::log("info", &[("message", "stopped")]);
        std::process::exit(0);
    });
    for connection in listener.incoming().flatten() {
        let server = Arc::clone(&server);
        thread::spawn(move || server.connection(connection));
    }
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    serve::log("error", &[("message", message)]);
    ExitCode::FAILURE
}
