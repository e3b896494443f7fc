// CONTRACT: another helper's; this only lets the front compile.
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::Lab;

pub async fn run(_lab: Arc<Lab>, shutdown: CancellationToken) {
    shutdown.cancelled().await;
}
