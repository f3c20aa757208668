//! Accepts connections and deals them to the lanes in turn.
//!
//! An error of accepting never ends the server and never makes it spin; the listener is closed as soon as the server
//! drains, so that clients go elsewhere.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;

use super::counters::OpenConnection;
use super::{Shared, Stage};

/// The first pause after an error that accepting again would meet again, such as EMFILE; doubled up to the longest.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
/// The longest pause: descriptors come back as connections end, and clients wait about a second before they retry.
const BACK_OFF_LONGEST: Duration = Duration::from_secs(1);

/// A connection on its way to a lane.
pub(super) struct Accepted {
    pub(super) stream: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) number: u64,
    pub(super) open: OpenConnection,
}

/// The listener, and the lanes it deals to.
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) lanes: Vec<mpsc::Sender<Accepted>>,
    pub(super) shared: Shared,
}

impl Acceptor {
    /// Accepts until the server drains. Dropping the senders at the end tells the lanes that nothing more comes.
    pub(super) async fn run(self) {
        let Acceptor { listener, lanes, mut shared } = self;
        let mut drain = shared.clone();
        tokio::select! {
            () = drain.reached(Stage::Draining) => {}
            () = accept(listener, lanes, &mut shared) => {}
        }
    }
}

async fn accept(listener: TcpListener, lanes: Vec<mpsc::Sender<Accepted>>, shared: &mut Shared) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the listener cannot be registered with the runtime: nothing is accepted");
            return;
        }
    };
    let mut pause = BACK_OFF_FIRST;
    let mut turns = lanes.iter().cycle();
    let mut number: u64 = 0;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = BACK_OFF_FIRST;
                let Some(open) = OpenConnection::admit(&shared.counters, shared.limits.connections_max) else {
                    tracing::debug!(%peer, "refused: too many connections");
                    continue;
                };
                // Without it small answers wait for the peer's delayed acknowledgement, 40 ms a call.
                let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else { continue };
                number = number.wrapping_add(1);
                let lane = turns.next().expect("a server has at least one lane");
                if lane.send(Accepted { stream, peer, number, open }).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                shared.counters.accept_errors.fetch_add(1, Relaxed);
                if is_of_the_peer(&error) {
                    continue;
                }
                tracing::warn!(%error, pause_milliseconds = pause.as_millis(), "accepting failed");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF_LONGEST);
            }
        }
    }
}

/// Whether the error belongs to the one connection that would have been accepted, so that the next may be fine.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_is_waited_out_and_a_peer_that_left_is_not() {
        const EMFILE: i32 = 24;
        assert!(!is_of_the_peer(&io::Error::from_raw_os_error(EMFILE)));
        assert!(is_of_the_peer(&io::ErrorKind::ConnectionAborted.into()));
    }
}
