//! The supervisor of the levels without a network namespace: what a container binds is moved to a free loopback
//! port, so that two tasks can listen on the same container port, and nothing is reachable from elsewhere.
//!
//! The address is rewritten in the memory of the process that waits in `bind` or `connect`. That serves programs that
//! mean well: another thread could change it back before the kernel reads it, so this is no wall around hostile ones.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use super::seccomp::{self, Notification};

/// `sockaddr_in6` up to its address.
const ADDRESS_END: usize = 24;

/// A task's ports: container port to where it really is.
#[derive(Default)]
pub struct Ports(HashMap<u16, SocketAddr>);

impl Ports {
    pub fn address(&self, port: u16) -> Option<SocketAddr> {
        self.0.get(&port).copied()
    }

    /// Answers one question of the kernel's; an error when the process that asked is gone.
    pub fn serve(&mut self, listener: &OwnedFd) -> io::Result<()> {
        let Some(asked) = seccomp::receive(listener)? else { return Ok(()) };
        let answer = self.rewrite(&asked, listener).err().map(|error| {
            // what we cannot see we do not let through: it might bind beyond loopback
            error.raw_os_error().unwrap_or(libc::EACCES)
        });
        asked.answer(listener, answer);
        Ok(())
    }

    fn rewrite(&mut self, asked: &Notification, listener: &OwnedFd) -> io::Result<()> {
        let mut bytes = [0; ADDRESS_END];
        let length = (asked.length as usize).min(ADDRESS_END);
        if length < 8 {
            return Ok(());
        }
        let memory = asked.memory()?;
        if !asked.is_waiting(listener) {
            return Ok(());
        }
        let read = memory.read_at(&mut bytes[..length], asked.address)?;
        let Some(wanted) = decode(&bytes[..read]) else { return Ok(()) };
        let real = if asked.is_bind { self.bind(wanted)? } else { self.connect(wanted) };
        if real == wanted {
            return Ok(());
        }
        write(&memory, asked.address, real)
    }

    fn bind(&mut self, wanted: SocketAddr) -> io::Result<SocketAddr> {
        let port = wanted.port();
        // a program that binds again finds its own address rewritten
        let ours = self.0.values().any(|real| real.port() == port);
        let taken = self.0.get(&port).copied();
        let real_port = match taken {
            _ if port == 0 || ours => port,
            Some(real) => real.port(),
            None => free_port()?,
        };
        let real = match wanted {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, real_port)),
            // Most sockets for any IPv6 address are for IPv4, too, and are best reached so; but next to an IPv4
            // socket of the same port it can only be one for IPv6 alone.
            SocketAddr::V6(wanted) if wanted.ip().is_loopback() || taken.is_some_and(|real| real.is_ipv4()) => {
                SocketAddr::from((Ipv6Addr::LOCALHOST, real_port))
            }
            SocketAddr::V6(_) => SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), real_port)),
        };
        if port != 0 && !ours {
            let reached = match real {
                SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some() => (Ipv4Addr::LOCALHOST, real_port).into(),
                real => real,
            };
            self.0.entry(port).or_insert(reached);
        }
        Ok(real)
    }

    // Containers of one task reach each other on localhost.
    fn connect(&self, wanted: SocketAddr) -> SocketAddr {
        let ip = wanted.ip().to_canonical();
        match self.0.get(&wanted.port()) {
            Some(real) if ip.is_loopback() || ip.is_unspecified() => SocketAddr::new(wanted.ip(), real.port()),
            _ => wanted,
        }
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// `None` for addresses that are not the Internet's.
fn decode(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    match family {
        libc::AF_INET => Some((<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?, port).into()),
        libc::AF_INET6 => Some((<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?, port).into()),
        _ => None,
    }
}

fn write(memory: &File, address: u64, real: SocketAddr) -> io::Result<()> {
    memory.write_all_at(&real.port().to_be_bytes(), address + 2)?;
    match real {
        SocketAddr::V4(real) => memory.write_all_at(&real.ip().octets(), address + 4),
        SocketAddr::V6(real) => memory.write_all_at(&real.ip().octets(), address + 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bound_moves_to_loopback() {
        let mut ports = Ports::default();
        // first bind of each row decides the port; what comes back is always loopback
        for (wanted, expected_ip, reached) in [
            ("0.0.0.0:80", "127.0.0.1", "127.0.0.1"),
            ("[::]:80", "::1", "127.0.0.1"),
            ("[::]:81", "::ffff:127.0.0.1", "127.0.0.1"),
            ("[::1]:82", "::1", "::1"),
            ("10.1.2.3:83", "127.0.0.1", "127.0.0.1"),
        ] {
            let wanted: SocketAddr = wanted.parse().unwrap();
            let real = ports.bind(wanted).unwrap();
            assert_eq!(real.ip().to_string(), expected_ip, "{wanted}");
            assert_ne!(real.port(), wanted.port());
            let address = ports.address(wanted.port()).unwrap();
            assert_eq!((address.ip().to_string().as_str(), address.port()), (reached, real.port()), "{wanted}");
            assert_eq!(ports.bind(wanted).unwrap().port(), real.port(), "again");
            assert_eq!(ports.bind(real).unwrap().port(), real.port(), "with its rewritten address");
        }
        assert_eq!(ports.bind("0.0.0.0:0".parse().unwrap()).unwrap(), "127.0.0.1:0".parse().unwrap());
        assert_eq!(ports.address(0), None);
    }

    #[test]
    fn only_loopback_connections_to_known_ports_move() {
        let mut ports = Ports::default();
        let real = ports.bind("0.0.0.0:80".parse().unwrap()).unwrap();
        for (wanted, expected) in [
            ("127.0.0.1:80", format!("127.0.0.1:{}", real.port())),
            ("[::1]:80", format!("[::1]:{}", real.port())),
            ("127.0.0.1:81", "127.0.0.1:81".to_owned()),
            ("192.0.2.1:80", "192.0.2.1:80".to_owned()),
        ] {
            assert_eq!(ports.connect(wanted.parse().unwrap()), expected.parse().unwrap());
        }
    }
}
