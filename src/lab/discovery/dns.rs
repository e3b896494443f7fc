//! Answers DNS queries about DNS namespaces, on the UDP port of the lab's own number. It asks nobody else.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{DiscoveryState, zone};
use crate::lab::Lab;

/// What every resolver takes, and what passes through any network.
const LEAST_PAYLOAD: u16 = 512;
const MOST_PAYLOAD: u16 = 1232;
/// Longer than a question can be.
const LONGEST: usize = 4096;
/// Until a port that is taken is tried again, and what cannot be received.
const AGAIN: Duration = Duration::from_secs(1);

/// Answers until `shutdown`.
pub async fn run(lab: Arc<Lab>, shutdown: CancellationToken) {
    let address = lab.settings.address;
    let mut told = false;
    let socket = loop {
        match UdpSocket::bind(address).await {
            Ok(socket) => break socket,
            Err(error) if !told => {
                tracing::warn!(%address, %error, "no DNS queries are answered until this UDP port is free");
                told = true;
            }
            Err(_) => {}
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
            return;
        }
    };
    lab.resolves.store(true, Ordering::Relaxed);
    let mut buffer = [0; LONGEST];
    while let Some(received) = shutdown.run_until_cancelled(socket.recv_from(&mut buffer)).await {
        match received {
            Ok((length, peer)) => {
                let answer = lab.read(|state| answer(&state.discovery, &buffer[..length]));
                if let Some(answer) = answer {
                    // one who is gone asks no more
                    let _ = socket.send_to(&answer, peer).await;
                }
            }
            Err(error) => {
                tracing::warn!(%address, %error, "cannot receive a DNS query");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    lab.resolves.store(false, Ordering::Relaxed);
}

/// The answer to a message of UDP, if it is a question at all.
pub fn answer(discovery: &DiscoveryState, message: &[u8]) -> Option<Vec<u8>> {
    let [high, low, flags, ..] = *message else { return None };
    // An answer to an answer would have no end.
    if flags & 0x80 != 0 {
        return None;
    }
    let Ok(request) = Message::from_vec(message) else {
        let id = u16::from_be_bytes([high, low]);
        return Message::error_msg(id, OpCode::Query, ResponseCode::FormErr).to_vec().ok();
    };
    let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    response.metadata.recursion_desired = request.metadata.recursion_desired;
    response.add_queries(request.queries.iter().cloned());
    let mut limit = LEAST_PAYLOAD;
    if let Some(edns) = &request.edns {
        limit = edns.max_payload().clamp(LEAST_PAYLOAD, MOST_PAYLOAD);
        let mut own = Edns::new();
        own.set_max_payload(MOST_PAYLOAD);
        response.set_edns(own);
    }
    response.metadata.response_code = match &request.queries[..] {
        _ if request.metadata.op_code != OpCode::Query => ResponseCode::NotImp,
        _ if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) => ResponseCode::BADVERS,
        [query] => {
            let found = zone::look_up(discovery, query);
            response.metadata.authoritative = found.code != ResponseCode::Refused;
            response.add_answers(found.answers);
            response.add_authorities(found.soa);
            found.code
        }
        _ => ResponseCode::FormErr,
    };
    let answer = response.to_vec().ok()?;
    if answer.len() <= usize::from(limit) { Some(answer) } else { response.truncate().to_vec().ok() }
}
