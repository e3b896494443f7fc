//! Network load balancers: a connection goes to one target and stays there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;

use super::connections::{Activity, NoTarget, OpenConnection, Prefer};
use super::{Balancer, route, simulated};
use crate::lab::clock::Clock;
use crate::lab::elbv2::Listener;

const BUFFER: usize = 64 * 1024;
/// A network load balancer's idle timeout.
const IDLE: Duration = Duration::from_secs(350);

pub(super) async fn serve(balancer: &Balancer, mut client: TcpStream, listener: &Listener) {
    let groups = listener.default_action().map(|action| action.target_groups()).unwrap_or_default();
    let group = route::weighted(groups, || balancer.lab.sockets.connections.turn(&listener.arn));
    let prefer = client.peer_addr().map_or(Prefer::Any, |peer| Prefer::Client(peer.ip()));
    let connected = match group {
        Some(group) => match balancer.connect(group, &mut Vec::new(), prefer).await {
            Err(NoTarget::Simulated) => return simulated::explain(&mut client).await,
            connected => connected.ok(),
        },
        None => None,
    };
    let Some((mut target, connection)) = connected else {
        // A reset, which is what a client sees of a network load balancer whose targets don't answer.
        let _ = client.set_zero_linger();
        return;
    };
    let idle = listener.attributes.get("tcp.idle_timeout.seconds").and_then(|text| text.parse().ok());
    let idle = idle.map_or(IDLE, Duration::from_secs);
    let ended = relay(&mut client, &mut target, &connection, idle).await;
    if !ended {
        let _ = client.set_zero_linger();
    }
}

/// Carries bytes both ways until both sides are done (`true`), or the connection is cut or silent for too long. Each direction ends by itself: a client
/// that has said all it has to say can still listen.
pub(super) async fn relay<C, T>(client: &mut C, target: &mut T, connection: &OpenConnection, idle: Duration) -> bool
where
    C: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    connection.activity.is_a_stream();
    let mut target = Watched { stream: target, activity: &connection.activity, clock: connection.clock() };
    let clock = connection.clock();
    tokio::select! {
        _ = copy_bidirectional_with_sizes(client, &mut target, BUFFER, BUFFER) => !connection.cut.is_cancelled(),
        () = connection.cut.cancelled() => false,
        () = connection.activity.silence(&clock, idle) => false,
    }
}

/// A target's connection that notes who speaks.
struct Watched<'a, T> {
    stream: &'a mut T,
    activity: &'a Activity,
    clock: Clock,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.target_spoke(self.clock.now());
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<'_, T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut *self.stream).poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.client_spoke(self.clock.now());
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(context)
    }
}
