//! Keeps web pages out: a page can make a browser send requests here, under a name it chose (DNS rebinding) or
//! from its own origin.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header;

use super::Front;

/// `Err` is what the caller is told.
pub fn check(front: &Front, request: &Request) -> Result<(), &'static str> {
    let port = front.address.port();
    let hosts = request.headers().get_all(header::HOST).into_iter().map(|host| host.to_str().unwrap_or_default());
    let mut names = hosts.chain(request.uri().authority().map(|authority| authority.as_str())).peekable();
    if names.peek().is_none() || !names.all(|name| is_ours(name, port)) {
        return Err("the lab answers to loopback names only: 127.0.0.1, localhost or [::1], with its port\n");
    }
    let origins = request.headers().get_all(header::ORIGIN).into_iter();
    let foreign = |origin: &str| !origin.strip_prefix("http://").is_some_and(|host| is_ours(host, port));
    if origins.map(|origin| origin.to_str().unwrap_or_default()).any(foreign) {
        return Err("the lab takes no requests from other web pages\n");
    }
    Ok(())
}

/// Whether `host:port` is a name that only this machine can have given us.
fn is_ours(authority: &str, port: u16) -> bool {
    let (host, given) = match authority.rsplit_once(':') {
        Some((host, given)) if !given.contains(']') => (host, given.parse().ok()),
        _ => (authority, Some(80)),
    };
    if given != Some(port) {
        return false;
    }
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => literal == "::1",
        None => {
            host.eq_ignore_ascii_case("localhost")
                || matches!(host.parse(), Ok(IpAddr::V4(address)) if address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_loopback_names_with_our_port_are_ours() {
        let table = [
            ("127.0.0.1:4580", true),
            ("127.64.0.9:4580", true),
            ("localhost:4580", true),
            ("LocalHost:4580", true),
            ("[::1]:4580", true),
            ("127.0.0.1:4581", false),
            ("127.0.0.1", false),
            ("localhost", false),
            ("[::1]", false),
            ("[::2]:4580", false),
            ("::1:4580", false),
            ("127.0.0.1.nip.io:4580", false),
            ("localhost.:4580", false),
            ("localhost.example:4580", false),
            ("10.0.0.1:4580", false),
            ("0.0.0.0:4580", false),
            ("0x7f.1:4580", false),
            ("2130706433:4580", false),
            ("a@127.0.0.1:4580", false),
            ("127.0.0.1:04580x", false),
            ("", false),
        ];
        for (authority, ours) in table {
            assert_eq!(is_ours(authority, 4580), ours, "{authority}");
        }
        assert!(is_ours("localhost", 80) && is_ours("[::1]", 80));
    }
}
