//! Connections on which no answer ever comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// The first connections hang, once they have been made; the others lead to a server.
pub struct Hung {
    pub url: String,
    hung: Arc<AtomicUsize>,
    accepting: AbortHandle,
}

impl Hung {
    pub async fn start(server: &str, connections: usize) -> Hung {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = server.trim_start_matches("http://").to_owned();
        let hung = Arc::new(AtomicUsize::new(0));
        let count = hung.clone();
        let accepting = tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut near, _)) = listener.accept().await {
                if count.load(Ordering::SeqCst) < connections {
                    count.fetch_add(1, Ordering::SeqCst);
                    kept.push(near);
                    continue;
                }
                let server = server.clone();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(&server).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Hung { url, hung, accepting: accepting.abort_handle() }
    }

    /// How many hang.
    pub fn count(&self) -> usize {
        self.hung.load(Ordering::SeqCst)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
