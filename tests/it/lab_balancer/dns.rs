//! What the lab's DNS answers, message by message. A client that nobody here wrote asks it in tests/interop.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use serde_json::{Value, json};
use steadystate::lab::discovery::{self, dns};
use steadystate::lab::{Lab, Settings};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::lab;

fn call(lab: &Lab, operation: &str, input: Value) -> Value {
    discovery::handle(lab, operation, input).unwrap_or_else(|error| panic!("{operation}: {error}"))
}

fn namespace(lab: &Lab, operation: &str, name: &str) -> String {
    let vpc = lab.read(|state| state.ec2.vpc_id.clone());
    let mut input = json!({"Name": name});
    if operation == "CreatePrivateDnsNamespace" {
        input["Vpc"] = json!(vpc);
    }
    let operation = call(lab, operation, input)["OperationId"].clone();
    let done = call(lab, "GetOperation", json!({"OperationId": operation}));
    done["Operation"]["Targets"]["NAMESPACE"].as_str().expect("a namespace").to_owned()
}

/// A service with records of these types and TTLs, and custom health checks; its id.
fn service(lab: &Lab, namespace: &str, name: &str, records: &[(&str, u32)], policy: &str) -> String {
    let records: Vec<Value> = records.iter().map(|(kind, ttl)| json!({"Type": kind, "TTL": ttl})).collect();
    let input = json!({
        "Name": name, "NamespaceId": namespace, "HealthCheckCustomConfig": {"FailureThreshold": 1},
        "DnsConfig": {"RoutingPolicy": policy, "DnsRecords": records},
    });
    call(lab, "CreateService", input)["Service"]["Id"].as_str().expect("an id").to_owned()
}

fn register(lab: &Lab, service: &str, id: &str, attributes: Value) {
    call(lab, "RegisterInstance", json!({"ServiceId": service, "InstanceId": id, "Attributes": attributes}));
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

fn asked(lab: &Lab, message: &Message) -> Message {
    let bytes = message.to_vec().expect("a message");
    let answer = lab.read(|state| dns::answer(&state.discovery, &bytes)).expect("an answer");
    let answer = Message::from_vec(&answer).expect("a message");
    assert_eq!((answer.metadata.id, answer.metadata.message_type), (4711, MessageType::Response));
    assert!(!answer.metadata.recursion_available);
    answer
}

/// `CODE name ttl TYPE data | …`, in their order when sorted.
fn ask(lab: &Lab, name: &str, kind: RecordType) -> String {
    let answer = asked(lab, &question(name, kind));
    let code = answer.metadata.response_code;
    let mut records: Vec<String> = answer
        .answers
        .iter()
        .map(|record| format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data))
        .collect();
    records.sort();
    let is_none = records.is_empty() && code != ResponseCode::Refused;
    assert_eq!(answer.authorities.len(), usize::from(is_none), "{name}: what is not there comes with the zone's SOA");
    assert_eq!(answer.metadata.authoritative, code != ResponseCode::Refused, "{name}");
    format!("{code:?} {}", records.join(" | ")).trim_end().to_owned()
}

#[test]
fn names_hold_what_their_instances_are_registered_with() {
    let lab = lab();
    let (private, public) = (
        namespace(&lab, "CreatePrivateDnsNamespace", "lab.local"),
        namespace(&lab, "CreatePublicDnsNamespace", "x.org"),
    );
    let inner = namespace(&lab, "CreatePrivateDnsNamespace", "inner.lab.local");
    let http = namespace(&lab, "CreateHttpNamespace", "http");
    let web = service(&lab, &private, "web", &[("A", 60), ("AAAA", 5)], "MULTIVALUE");
    register(&lab, &web, "one", json!({"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_IPV6": "fd00::1"}));
    let port = service(&lab, &private, "_http._tcp.api", &[("SRV", 10)], "MULTIVALUE");
    register(&lab, &port, "a", json!({"AWS_INSTANCE_IPV4": "10.0.0.2", "AWS_INSTANCE_PORT": "32768"}));
    register(&lab, &port, "b", json!({"AWS_INSTANCE_IPV4": "10.0.0.3", "AWS_INSTANCE_PORT": "32769"}));
    let moved = service(&lab, &public, "moved", &[("CNAME", 30)], "WEIGHTED");
    register(&lab, &moved, "one", json!({"AWS_INSTANCE_CNAME": "www.example.com"}));
    service(&lab, &inner, "empty", &[("A", 60)], "MULTIVALUE");
    let input = json!({"Name": "bare", "NamespaceId": http});
    let bare = call(&lab, "CreateService", input)["Service"]["Id"].as_str().expect("an id").to_owned();
    register(&lab, &bare, "one", json!({"AWS_INSTANCE_IPV4": "10.0.0.9"}));

    let srv = "_http._tcp.api.lab.local. 10 SRV 1 1";
    let both = format!("NoError {srv} 32768 a._http._tcp.api.lab.local. | {srv} 32769 b._http._tcp.api.lab.local.");
    let soa = "ns-1536.awsdns-00.co.uk. awsdns-hostmaster.amazon.com. 1 7200 900 1209600 86400";
    let table = [
        ("web.lab.local.", RecordType::A, "NoError web.lab.local. 60 A 10.0.0.1".to_owned()),
        ("WEB.Lab.local.", RecordType::A, "NoError WEB.Lab.local. 60 A 10.0.0.1".into()),
        ("web.lab.local.", RecordType::AAAA, "NoError web.lab.local. 5 AAAA fd00::1".into()),
        (
            "web.lab.local.",
            RecordType::ANY,
            "NoError web.lab.local. 5 AAAA fd00::1 | web.lab.local. 60 A 10.0.0.1".into(),
        ),
        ("web.lab.local.", RecordType::SRV, "NoError".into()),
        ("web.lab.local.", RecordType::TXT, "NoError".into()),
        // only SRV records have hosts
        ("one.web.lab.local.", RecordType::A, "NXDomain".into()),
        ("none.lab.local.", RecordType::A, "NXDomain".into()),
        ("_http._tcp.api.lab.local.", RecordType::SRV, both),
        ("_http._tcp.api.lab.local.", RecordType::A, "NoError".into()),
        ("b._http._tcp.api.lab.local.", RecordType::A, "NoError b._http._tcp.api.lab.local. 10 A 10.0.0.3".into()),
        ("c._http._tcp.api.lab.local.", RecordType::A, "NXDomain".into()),
        // between two names
        ("_tcp.api.lab.local.", RecordType::A, "NoError".into()),
        ("lab.local.", RecordType::A, "NoError".into()),
        ("lab.local.", RecordType::SOA, format!("NoError lab.local. 15 SOA {soa}")),
        ("moved.x.org.", RecordType::CNAME, "NoError moved.x.org. 30 CNAME www.example.com.".into()),
        ("moved.x.org.", RecordType::A, "NoError moved.x.org. 30 CNAME www.example.com.".into()),
        ("moved.x.org.", RecordType::SRV, "NoError".into()),
        // a service without instances has no records
        ("empty.inner.lab.local.", RecordType::A, "NXDomain".into()),
        ("bare.http.", RecordType::A, "Refused".into()),
        ("example.com.", RecordType::A, "Refused".into()),
        ("local.", RecordType::A, "Refused".into()),
        ("xlab.local.", RecordType::A, "Refused".into()),
        (".", RecordType::NS, "Refused".into()),
    ];
    for (name, kind, expected) in table {
        assert_eq!(ask(&lab, name, kind), expected, "{name} {kind}");
    }
    let mut chaos = question("web.lab.local.", RecordType::A);
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(asked(&lab, &chaos).metadata.response_code, ResponseCode::Refused);
}

#[test]
fn the_routing_policy_says_how_many_and_health_which() {
    let lab = lab();
    let private = namespace(&lab, "CreatePrivateDnsNamespace", "lab.local");
    let addresses = |name: &str| -> BTreeSet<String> {
        let answer = asked(&lab, &question(name, RecordType::A));
        answer.answers.iter().map(|record| record.data.to_string()).collect()
    };
    for (policy, most) in [("MULTIVALUE", 8), ("WEIGHTED", 1)] {
        let id = service(&lab, &private, policy, &[("A", 60)], policy);
        for at in 0..12 {
            register(&lab, &id, &format!("i{at}"), json!({"AWS_INSTANCE_IPV4": format!("10.0.0.{at}")}));
        }
        let name = format!("{policy}.lab.local.");
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            let some = addresses(&name);
            assert_eq!(some.len(), most, "{policy}");
            seen.extend(some);
        }
        assert_eq!(seen.len(), 12, "{policy}: each has its turn");

        let health = |at: usize, status: &str| {
            let input = json!({"ServiceId": id, "InstanceId": format!("i{at}"), "Status": status});
            call(&lab, "UpdateInstanceCustomHealthStatus", input);
        };
        (0..11).for_each(|at| health(at, "UNHEALTHY"));
        assert_eq!(addresses(&name), BTreeSet::from(["10.0.0.11".to_owned()]), "{policy}: the healthy one");
        health(11, "UNHEALTHY");
        assert_eq!(addresses(&name).len(), most, "{policy}: as if all were healthy");
    }
}

#[test]
fn long_answers_are_cut_where_they_do_not_fit() {
    let lab = lab();
    let private = namespace(&lab, "CreatePrivateDnsNamespace", "a-long-name-for-a-namespace.lab.local");
    let id = service(&lab, &private, "web", &[("SRV", 10)], "MULTIVALUE");
    for at in 0..8 {
        let attributes = json!({"AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "80"});
        register(&lab, &id, &format!("{at:032x}"), attributes);
    }
    // (what the client takes, whether it is cut)
    for (payload, cut) in [(None, true), (Some(100), true), (Some(1232), false), (Some(65535), false)] {
        let mut message = question("web.a-long-name-for-a-namespace.lab.local.", RecordType::SRV);
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        let answer = asked(&lab, &message);
        assert_eq!((answer.metadata.truncation, answer.answers.len()), (cut, if cut { 0 } else { 8 }), "{payload:?}");
        assert_eq!(answer.edns.is_some(), payload.is_some(), "{payload:?}");
    }
}

#[test]
fn what_is_no_question_is_refused_or_not_answered() {
    let lab = lab();
    let code = |bytes: &[u8]| {
        let answer = lab.read(|state| dns::answer(&state.discovery, bytes));
        answer.map(|answer| Message::from_vec(&answer).expect("a message").metadata.response_code)
    };
    let whole = question("web.lab.local.", RecordType::A).to_vec().expect("a message");
    assert_eq!(code(&whole), Some(ResponseCode::Refused));
    assert_eq!(code(&whole[..whole.len() - 3]), Some(ResponseCode::FormErr));
    assert_eq!(code(&whole[..12]), Some(ResponseCode::FormErr), "a question is announced");
    assert_eq!((code(&[]), code(b"GE")), (None, None));
    let changed = |change: &dyn Fn(&mut Message)| {
        let mut message = question("web.lab.local.", RecordType::A);
        change(&mut message);
        code(&message.to_vec().expect("a message"))
    };
    assert_eq!(changed(&|message| message.metadata.message_type = MessageType::Response), None);
    assert_eq!(changed(&|message| message.metadata.op_code = OpCode::Update), Some(ResponseCode::NotImp));
    assert_eq!(changed(&|message| message.queries.clear()), Some(ResponseCode::FormErr));
    let twice = |message: &mut Message| message.queries.push(message.queries[0].clone());
    assert_eq!(changed(&twice), Some(ResponseCode::FormErr));
    for length in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[length] ^= 1 << bit;
            code(&flipped);
        }
    }
}

#[tokio::test]
async fn it_begins_when_its_port_is_free_and_ends_with_the_lab() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let settings = Settings { address, ..lab().settings.clone() };
    let lab = Lab::new(
        settings,
        steadystate::lab::clock::Clock::new(steadystate::lab::clock::Pace::Fast),
        steadystate::lab::runtime::Runtime::disabled(),
        steadystate::lab::state::State::default(),
    );
    let lab = Arc::new(lab);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(dns::run(lab.clone(), shutdown.clone()));
    tokio::task::yield_now().await;
    assert!(!lab.resolves.load(std::sync::atomic::Ordering::Relaxed));
    drop(taken);
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let asks = question("web.lab.local.", RecordType::A).to_vec().unwrap();
    let mut buffer = [0; 512];
    let answered = async {
        loop {
            let _ = client.send_to(&asks, address).await;
            let answer = tokio::time::timeout(Duration::from_millis(100), client.recv_from(&mut buffer)).await;
            if let Ok(Ok((length, from))) = answer {
                return (length, from);
            }
        }
    };
    let (length, from) = tokio::time::timeout(Duration::from_secs(20), answered).await.expect("an answer");
    assert_eq!(from, address);
    assert_eq!(Message::from_vec(&buffer[..length]).unwrap().metadata.response_code, ResponseCode::Refused);
    assert!(lab.resolves.load(std::sync::atomic::Ordering::Relaxed));
    shutdown.cancel();
    running.await.unwrap();
    assert!(!lab.resolves.load(std::sync::atomic::Ordering::Relaxed));
    UdpSocket::bind(address).await.expect("the port is free again");
}
