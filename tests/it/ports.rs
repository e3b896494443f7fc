//! Ports for what binds them later.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// A port that nothing listens on, on any loopback address. Below those that the system hands out, and given once in
/// this process, it stays free until its test takes it.
pub fn free_port() -> u16 {
    const FIRST: u16 = 10_000;
    const COUNT: u16 = 20_000;
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Other runs of these tests on this machine begin elsewhere.
    let start = (std::process::id() % 200) as u16 * 100;
    loop {
        let port = FIRST + (start + TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return port;
        }
    }
}
