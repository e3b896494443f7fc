//! Network load balancers: a connection goes to one target and stays there.

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;

use super::{Balancer, route};
use crate::lab::elbv2::Listener;

const BUFFER: usize = 64 * 1024;

pub(super) async fn serve(balancer: &Balancer, mut client: TcpStream, listener: &Listener) {
    let groups = listener.default_action().map(|action| action.target_groups()).unwrap_or_default();
    let group = route::weighted(groups, || balancer.lab.sockets.connections.turn(&listener.arn));
    let connected = match group {
        Some(group) => balancer.connect(group, &mut Vec::new()).await.ok(),
        None => None,
    };
    let Some((mut target, connection)) = connected else {
        // A reset, which is what a client sees of a network load balancer whose targets don't answer.
        let _ = client.set_zero_linger();
        return;
    };
    tokio::select! {
        // Each direction ends by itself: a client that has said all it has to say can still listen.
        _ = copy_bidirectional_with_sizes(&mut client, &mut target, BUFFER, BUFFER) => {}
        () = connection.cut.cancelled() => {
            let _ = client.set_zero_linger();
        }
    }
}
