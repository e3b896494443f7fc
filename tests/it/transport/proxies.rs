//! Through proxies, and around them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::AbortHandle;

use super::tls::said;
use super::{Authority, PASSWORD, SCRATCH, TlsFront, fake_ecr};
use crate::lab_front::TestLab;
use crate::registry::Fake;
use crate::site::{Ended, Site};

/// A proxy whose tunnels all lead to where a test wants them to.
struct Proxy {
    address: SocketAddr,
    /// The first lines of what it was asked, and its `Proxy-Authorization`.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    accepting: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Proxy {
    /// `way` says where a host is, or with which words a tunnel to it is refused.
    async fn start(way: impl Fn(&str) -> Result<SocketAddr, &'static str> + Send + Sync + 'static) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (log, way) = (asked.clone(), Arc::new(way));
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (log, way) = (log.clone(), way.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") && near.read_buf(&mut head).await.unwrap_or(0) > 0 {}
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let first = head.lines().next().unwrap_or_default().to_owned();
                    let login = head.lines().find(|line| line.to_lowercase().starts_with("proxy-auth"));
                    log.lock().unwrap().push((first.clone(), login.unwrap_or_default().to_owned()));
                    match way(first.split(' ').nth(1).unwrap_or_default()) {
                        Ok(target) => {
                            let mut far = TcpStream::connect(target).await.unwrap();
                            near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                        }
                        Err(refusal) => {
                            let _ = near
                                .write_all(format!("HTTP/1.1 {refusal}\r\ncontent-length: 0\r\n\r\n").as_bytes())
                                .await;
                        }
                    }
                });
            }
        });
        Proxy { address, asked, accepting: accepting.abort_handle() }
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }
}

async fn ended(mut command: Command) -> Ended {
    Ended::of(command.output().await.unwrap())
}

#[tokio::test]
async fn registries_and_aws_are_reached_through_the_proxy_that_the_environment_names() {
    let (authority, fake) = (Authority::new(), Fake::start().await);
    let registry = TlsFront::start(authority.certify(&["registry.example"], 2100), fake.address).await;
    let (aws, serving) = fake_ecr().await;
    let aws = TlsFront::start(authority.certify(&["api.ecr.us-east-1.amazonaws.com"], 2100), aws).await;
    let (to_registry, to_aws) = (registry.address, aws.address);
    let proxy = Proxy::start(move |host| match host {
        "registry.example:443" => Ok(to_registry),
        "api.ecr.us-east-1.amazonaws.com:443" => Ok(to_aws),
        _ => Err("404 Not Found"),
    })
    .await;
    let site = Site::new("", &SCRATCH.replace("REGISTRY", "registry.example"));
    site.write("ca.pem", &authority.pem);
    for variable in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        proxy.asked.lock().unwrap().clear();
        fake.forget();
        let through = |arguments: &[&str]| {
            let mut command = site.command(arguments);
            command.env(variable, format!("http://someone:pass%40word@{}", proxy.address));
            command.env("SSL_CERT_FILE", site.path("ca.pem"));
            command
        };
        let pushed = ended(through(&["push", "-o", "json"])).await;
        assert_eq!(Some(&pushed.result()["digest"]), fake.tag("v1").map(Into::into).as_ref(), "{variable}");
        let login = ended(through(&["login", "--password-stdout"])).await;
        assert_eq!((login.code, login.stdout.trim()), (Some(0), PASSWORD), "{variable}: {login:?}");
        let asked = proxy.asked();
        assert!(asked.iter().any(|(line, _)| line == "CONNECT registry.example:443 HTTP/1.1"), "{asked:?}");
        assert!(asked.iter().any(|(line, _)| line.starts_with("CONNECT api.ecr.us-east-1.")), "{asked:?}");
        // someone:pass@word
        assert!(asked.iter().all(|(_, login)| login.ends_with("Basic c29tZW9uZTpwYXNzQHdvcmQ=")), "{asked:?}");
    }
    serving.abort();
}

#[tokio::test]
async fn no_proxy_and_what_is_near_are_reached_directly() {
    let (authority, fake, lab) = (Authority::new(), Fake::start().await, TestLab::start().await);
    let registry = TlsFront::start(authority.certify(&["0.0.0.0"], 2100), fake.address).await;
    let proxy = Proxy::start(|_| Err("403 Forbidden")).await;
    let address = format!("http://{}", proxy.address);
    // Here the proxy would be taken if nobody named the host.
    let far = Site::new("", &SCRATCH.replace("REGISTRY", &format!("0.0.0.0:{}", registry.address.port())));
    far.write("ca.pem", &authority.pem);
    for no_proxy in ["NO_PROXY", "no_proxy"] {
        let mut command = far.command(&["push"]);
        command.env("HTTPS_PROXY", &address).env(no_proxy, "example.com,0.0.0.0");
        command.env("SSL_CERT_FILE", far.path("ca.pem"));
        let pushed = ended(command).await;
        assert_eq!(pushed.code, Some(0), "{pushed:?}");
    }
    // Loopback is near by itself: a registry there, and an AWS there, of which the push is told its registry.
    let near = Site::new("", &SCRATCH.replace("REGISTRY", &fake.address.to_string()));
    let at_lab = Site::new(&format!("http://{}", lab.host), &SCRATCH.replace("REGISTRY/hello", "hello, create: true"));
    for site in [&near, &at_lab] {
        let mut command = site.command(&["push"]);
        command.env("HTTP_PROXY", &address).env("HTTPS_PROXY", &address).env("ALL_PROXY", &address);
        let pushed = ended(command).await;
        assert_eq!(pushed.code, Some(0), "{pushed:?}");
    }
    assert_eq!(proxy.asked(), []);
    lab.end().await;
}

#[tokio::test]
async fn a_proxy_that_refuses_is_named_without_its_password() {
    let authority = Authority::new();
    let dead = format!("127.0.0.1:{}", crate::ports::free_port());
    for (answer, hint) in [
        (Some("407 Proxy Authentication Required"), "the proxy wants a login"),
        (Some("403 Forbidden"), "the proxy does not connect to that host"),
        (None, ""),
    ] {
        let proxy = Proxy::start(move |_| Err(answer.unwrap_or_default())).await;
        let address = if answer.is_some() { proxy.address.to_string() } else { dead.clone() };
        let site = Site::new("", &SCRATCH.replace("REGISTRY", "registry.example"));
        site.write("ca.pem", &authority.pem);
        // What is not there may come: it is tried again, for longer than a test has.
        let commands = [&["login", "--password-stdout"][..], &["push"]];
        for arguments in &commands[usize::from(!hint.contains("login"))..] {
            let mut command = site.command(arguments);
            command.env("HTTPS_PROXY", format!("http://someone:hunter2@{address}"));
            command.env("SSL_CERT_FILE", site.path("ca.pem"));
            let refused = ended(command).await;
            assert_eq!(refused.code, Some(4), "{refused:?}");
            assert!(said(&refused.stderr, hint), "{refused:?}");
            assert!(!refused.stderr.contains("hunter2") && !refused.stderr.contains("someone"), "{refused:?}");
            if arguments[..] == ["push"] {
                assert!(said(&refused.stderr, &format!("through the proxy http://{address}")), "{refused:?}");
            }
        }
    }
}
