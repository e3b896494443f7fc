//! What a probe runs in place of a program: a server on port 80 and a client that finds it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use super::identity;
use crate::lab::runtime::spec::Level;

/// Exits 0 when this level does what it promises; says on standard error what it does not.
pub fn run(level: Level) -> ! {
    match attempt(level) {
        Ok(()) => identity::exit(0),
        Err(problem) => {
            let _ = std::io::stderr().write_all(problem.as_bytes());
            identity::exit(1)
        }
    }
}

fn attempt(level: Level) -> Result<(), String> {
    if level != Level::Process {
        std::fs::write("/.probe", "").map_err(|error| format!("writing in the root: {error}"))?;
        std::fs::remove_file("/.probe").map_err(|error| format!("removing in the root: {error}"))?;
    }
    let listener = TcpListener::bind(("0.0.0.0", 80)).map_err(|error| format!("bind: {error}"))?;
    let bound = listener.local_addr().map_err(|error| error.to_string())?;
    if !level.has_network() && (bound.port() == 80 || !bound.ip().is_loopback()) {
        return Err(format!("the supervisor left {bound} as it was"));
    }
    let mut client = TcpStream::connect(("127.0.0.1", 80)).map_err(|error| format!("connect: {error}"))?;
    let (mut server, _) = listener.accept().map_err(|error| format!("accept: {error}"))?;
    client.write_all(b"?").map_err(|error| error.to_string())?;
    server.read_exact(&mut [0]).map_err(|error| error.to_string())
}
