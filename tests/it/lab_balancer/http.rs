//! Application load balancers over real sockets: headers, rules, errors, rolling updates, upgrades.

use std::sync::atomic::Ordering;

use insta::assert_snapshot;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::web::{KeepAlive, Web, get, send};
use super::{Front, Running, Targets, elb, lab, text};

async fn front_with(web: &Web) -> (Front, Running) {
    let front = Front::new(lab(), "application", json!({ "HealthCheckPath": "/healthz" }));
    let targets = Targets::default();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), web.address);
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;
    (front, running)
}

#[tokio::test]
async fn a_request_arrives_with_the_headers_that_aws_adds() {
    let web = Web::start("web").await;
    let (front, running) = front_with(&web).await;
    let request = "POST /a?b=c HTTP/1.1\r\nHost: www.example.com\r\nX-Forwarded-For: 203.0.113.7\r\nKeep-Alive: 5\r\n\
                   Content-Length: 5\r\nConnection: close, x-private\r\nX-Private: 1\r\n\r\nhello";
    let answer = send(front.address, request).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let body = body.replace(&front.address.port().to_string(), "[port]");
    let trace = body.lines().find(|line| line.starts_with("x-amzn-trace-id")).unwrap().to_owned();
    assert!(
        trace.starts_with("x-amzn-trace-id: Root=1-") && trace.len() == "x-amzn-trace-id: Root=1-".len() + 33,
        "{trace}"
    );
    assert_snapshot!(body.replace(&trace, "[trace]"), @r"
    web POST /a?b=c
    connection: close
    content-length: 5
    host: www.example.com
    [trace]
    x-forwarded-for: 203.0.113.7, 127.0.0.1
    x-forwarded-port: [port]
    x-forwarded-proto: http

    hello
    ");
    running.stop().await;
    web.stop().await;
}

#[tokio::test]
async fn a_client_keeps_its_connection_over_requests() {
    let web = Web::start("web").await;
    let (front, running) = front_with(&web).await;
    let mut client = KeepAlive::new(front.address);
    for _ in 0..20 {
        assert!(client.get("/").await.unwrap().starts_with("HTTP/1.1 200"));
    }
    assert_eq!((client.reconnects, web.requests.load(Ordering::Relaxed)), (0, 20));
    running.stop().await;
    web.stop().await;
}

#[tokio::test]
async fn rules_choose_and_answer() {
    let web = Web::start("web").await;
    let (front, running) = front_with(&web).await;
    let fixed = |status: &str, body: &str| json!([{ "Type": "fixed-response", "FixedResponseConfig": { "StatusCode": status, "ContentType": "text/plain", "MessageBody": body } }]);
    let redirect = json!([{ "Type": "redirect", "RedirectConfig": { "Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301" } }]);
    let rules = [
        ("10", json!([{ "Field": "host-header", "Values": ["*.Example.com"] }]), fixed("200", "by host")),
        (
            "20",
            json!([{ "Field": "path-pattern", "PathPatternConfig": { "Values": ["/api/*", "/?"] } }]),
            fixed("404", "by path"),
        ),
        (
            "30",
            json!([{ "Field": "http-request-method", "HttpRequestMethodConfig": { "Values": ["DELETE"] } }]),
            fixed("405", "by method"),
        ),
        ("40", json!([{ "Field": "path-pattern", "Values": ["/old/*"] }]), redirect),
    ];
    for (priority, conditions, actions) in rules {
        elb(
            &front.lab,
            "CreateRule",
            json!({ "ListenerArn": front.listener, "Priority": priority, "Conditions": conditions, "Actions": actions }),
        );
    }
    // (request line, host, status, what the answer holds)
    let table = [
        ("GET / HTTP/1.1", "www.example.com:8080", "200", "by host"),
        ("GET / HTTP/1.1", "example.com", "200", "web GET /"),
        ("GET /api/x HTTP/1.1", "h", "404", "by path"),
        ("GET /API/x HTTP/1.1", "h", "200", "web GET /API/x"),
        ("GET /x HTTP/1.1", "h", "404", "by path"),
        ("GET /xy HTTP/1.1", "h", "200", "web GET /xy"),
        ("DELETE /xy HTTP/1.1", "h", "405", "by method"),
        ("GET /old/page?q=1 HTTP/1.1", "h:80", "301", "location: https://h:443/old/page?q=1"),
    ];
    for (line, host, status, holds) in table {
        let answer =
            send(front.address, &format!("{line}\r\nHost: {host}\r\nConnection: close\r\n\r\n")).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(holds),
            "{line} {host}: {answer}"
        );
    }
    running.stop().await;
    web.stop().await;
}

#[tokio::test]
async fn weights_share_requests_out() {
    let web = Web::start("one").await;
    let (front, running) = front_with(&web).await;
    let vpc = front.lab.read(|state| state.ec2.vpc_id.clone());
    let other = json!({ "Name": "other", "Protocol": "HTTP", "Port": "80", "VpcId": vpc, "TargetType": "ip" });
    let other = text(&elb(&front.lab, "CreateTargetGroup", other), "/TargetGroups/0/TargetGroupArn");
    let groups = json!([{ "TargetGroupArn": front.group, "Weight": "3" }, { "TargetGroupArn": other, "Weight": "1" }]);
    let actions = json!([{ "Type": "forward", "ForwardConfig": { "TargetGroups": groups } }]);
    elb(&front.lab, "ModifyListener", json!({ "ListenerArn": front.listener, "DefaultActions": actions }));
    let mut answered = 0;
    for _ in 0..8 {
        let answer = get(front.address, "/").await.unwrap();
        // The second group has no targets.
        assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 503"), "{answer}");
        answered += usize::from(answer.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(answered, 6);
    running.stop().await;
    web.stop().await;
}

#[tokio::test]
async fn the_balancer_s_own_answers_are_aws_s() {
    let front = Front::new(lab(), "application", json!({}));
    let targets = Targets::default();
    let running = Running::start(&front.lab, &targets);
    let answer = get(front.address, "/").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("server: awselb/2.0"), "{answer}");
    assert!(answer.contains("<center><h1>503 Service Temporarily Unavailable</h1></center>"), "{answer}");

    // One that hangs up in the middle of a request.
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), rude.local_addr().unwrap());
    front.register("10.0.0.1");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = rude.accept().await {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            if String::from_utf8_lossy(&buffer[..read]).contains("ELB-HealthChecker") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
            if String::from_utf8_lossy(&buffer[..read]).contains("/slow") {
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_secs(30)).await;
                    drop(stream);
                });
            }
        }
    });
    front.until_health("10.0.0.1", "healthy").await;
    let answer = get(front.address, "/").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway"), "{answer}");
    let idle = json!([{ "Key": "idle_timeout.timeout_seconds", "Value": "1" }]);
    elb(
        &front.lab,
        "ModifyLoadBalancerAttributes",
        json!({ "LoadBalancerArn": front.load_balancer, "Attributes": idle }),
    );
    let answer = get(front.address, "/slow").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("504 Gateway Time-out"), "{answer}");
    running.stop().await;
}

#[tokio::test]
async fn an_upgraded_connection_is_passed_through() {
    let front = Front::new(lab(), "application", json!({}));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let targets = Targets::default();
    targets.lock().unwrap().insert("10.0.0.1".to_owned(), listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                let read = stream.read(&mut buffer).await.unwrap_or(0);
                if !String::from_utf8_lossy(&buffer[..read]).contains("upgrade: shout") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                    return;
                }
                stream
                    .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n")
                    .await
                    .unwrap();
                let read = stream.read(&mut buffer).await.unwrap();
                let loud = String::from_utf8_lossy(&buffer[..read]).to_uppercase();
                stream.write_all(loud.as_bytes()).await.unwrap();
            });
        }
    });
    let running = Running::start(&front.lab, &targets);
    front.register("10.0.0.1");
    front.until_health("10.0.0.1", "healthy").await;
    let mut client = TcpStream::connect(front.address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n").await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    client.write_all(b"hello").await.unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "HELLO");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_loses_no_request() {
    let (asked, failures) = super::tcp::roll_under_load("application").await;
    assert!(failures.is_empty(), "{} of {asked} failed: {failures:#?}", failures.len());
    assert!(asked >= 180, "{asked} requests say little");
}

#[tokio::test]
async fn only_silence_counts_towards_the_idle_timeout() {
    let web = Web::start("web").await;
    let (front, running) = front_with(&web).await;
    let idle = json!([{ "Key": "idle_timeout.timeout_seconds", "Value": "1" }]);
    let input = json!({ "LoadBalancerArn": front.load_balancer, "Attributes": idle });
    elb(&front.lab, "ModifyLoadBalancerAttributes", input);
    // (how many of the four parts are sent, status)
    for (parts, status) in [(4, "200"), (3, "408")] {
        let mut client = TcpStream::connect(front.address).await.unwrap();
        client
            .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        for _ in 0..parts {
            tokio::time::sleep(std::time::Duration::from_millis(400)).await;
            client.write_all(b"x").await.unwrap();
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{parts}: {answer}");
    }
    running.stop().await;
    web.stop().await;
}
