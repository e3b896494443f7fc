//! Connections on which nothing moves, and what a load balancer makes of the client's headers.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::web::{Web, send};
use super::{Front, Running, Targets, elb, lab};

fn set(front: &Front, key: &str, value: &str) {
    let attributes = json!([{ "Key": key, "Value": value }]);
    let input = json!({ "LoadBalancerArn": front.load_balancer, "Attributes": attributes });
    elb(&front.lab, "ModifyLoadBalancerAttributes", input);
}

/// A target that passes its health checks, and says a part of its answers or all of it, slowly.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            let asked = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let (head, parts) = match asked.split(' ').nth(1).unwrap_or_default() {
                "/stall" => ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", 1),
                "/slow" => ("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", 4),
                "/upgrade" => ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 1),
                _ => ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0),
            };
            let _ = stream.write_all(head.as_bytes()).await;
            for _ in 0..parts {
                sleep(Duration::from_millis(500)).await;
                let _ = stream.write_all(b"x").await;
            }
            // whatever comes, and no end
            while parts == 1 && stream.read(&mut buffer).await.unwrap_or(0) > 0 {}
        });
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_ends_with_the_idle_timeout() {
    let front = Front::new(lab(), "application", json!({}));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let targets = Targets::default();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), listener.local_addr().unwrap());
    tokio::spawn(serve(listener));
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;
    set(&front, "idle_timeout.timeout_seconds", "1");
    // (what the client says, what the answer ends with)
    let table = [
        ("", ""),
        ("GET / HTTP/1.1\r\nHost: h\r\n", ""),
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\n"),
        ("GET /stall HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\nx"),
        ("GET /slow HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "\r\n\r\nxxxx"),
        ("GET /upgrade HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "\r\n\r\nx"),
    ];
    let rows = table.map(async |(says, ends)| {
        let mut client = TcpStream::connect(front.address).await.unwrap();
        client.write_all(says.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        let read = timeout(Duration::from_secs(20), client.read_to_end(&mut heard)).await;
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert!(read.is_ok(), "{says:?} is waited for without an end: {heard}");
        assert!(heard.ends_with(ends) && heard.is_empty() == ends.is_empty(), "{says:?}: {heard}");
    });
    futures_util::future::join_all(rows).await;
    running.stop().await;
}

#[tokio::test]
async fn the_clients_forwarded_for_is_kept_as_the_load_balancer_is_told() {
    let web = Web::start("web").await;
    let front = Front::new(lab(), "application", json!({ "HealthCheckPath": "/healthz" }));
    let targets = Targets::default();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), web.address);
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;
    let lines = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2, 192.0.2.3\r\n";
    // (mode, what the client says, what arrives)
    let table = [
        ("append", "", "127.0.0.1"),
        ("append", lines, "192.0.2.1, 192.0.2.2, 192.0.2.3, 127.0.0.1"),
        ("preserve", lines, "192.0.2.1\nx-forwarded-for: 192.0.2.2, 192.0.2.3"),
        ("preserve", "", ""),
        ("remove", lines, ""),
    ];
    for (mode, says, arrives) in table {
        set(&front, "routing.http.xff_header_processing.mode", mode);
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{says}\r\n");
        let answer = send(front.address, &request).await.unwrap();
        let found: Vec<&str> = answer.lines().filter(|line| line.starts_with("x-forwarded-for: ")).collect();
        let found = found.join("\n");
        let found = found.strip_prefix("x-forwarded-for: ").unwrap_or_default();
        assert_eq!(found, arrives, "{mode} of {says:?}");
    }
    // AWS bounds their bytes, not their number.
    let many: String = (0..300).map(|at| format!("X-{at}: 1\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{many}\r\n");
    assert!(send(front.address, &request).await.unwrap().starts_with("HTTP/1.1 200 "));
    running.stop().await;
    web.stop().await;
}
