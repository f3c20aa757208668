//! Accepts connections and deals them to the lanes in turn, on a thread of its own.
//!
//! A lane that does not take up what it was dealt is stuck: it is passed over, and what it left is dealt to the others,
//! until it runs again. An error of accepting never ends the server and never makes it spin; the listener is closed as
//! soon as the server drains, so that clients go elsewhere.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{io, thread};

use tokio::runtime;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::counters::OpenConnection;
use super::inbox::Inbox;
use super::{Shared, Stage};

/// The first pause after an error that accepting again would meet again, such as EMFILE; doubled up to the longest.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
/// The longest pause: descriptors come back as connections end, and clients wait about a second before they retry.
const BACK_OFF_LONGEST: Duration = Duration::from_secs(1);
/// A lane that is stuck again within so long is not logged again.
const STUCK_LOGGED: Duration = Duration::from_secs(60);

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
    pub(super) dealer: Dealer,
    pub(super) shared: Shared,
}

impl Acceptor {
    pub(super) fn start_thread(self) -> io::Result<thread::JoinHandle<()>> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        thread::Builder::new().name("bookd-accept".to_owned()).spawn(move || runtime.block_on(self.run()))
    }

    pub(super) fn start_here(self) -> io::Result<tokio::task::JoinHandle<()>> {
        let runtime = runtime::Handle::try_current().map_err(io::Error::other)?;
        Ok(runtime.spawn(self.run()))
    }

    /// Accepts until the server drains. The end of the dealer tells the lanes that nothing more comes.
    async fn run(self) {
        let Acceptor { listener, dealer, mut shared } = self;
        let mut drain = shared.clone();
        tokio::select! {
            () = drain.reached(Stage::Draining) => {}
            () = accept(listener, dealer, &mut shared) => {}
        }
    }
}

async fn accept(listener: TcpListener, mut dealer: Dealer, shared: &mut Shared) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the listener cannot be registered with the runtime: nothing is accepted");
            return;
        }
    };
    let mut pause = BACK_OFF_FIRST;
    let mut number: u64 = 0;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = dealer.something_to_do() => {
                dealer.look();
                continue;
            }
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = BACK_OFF_FIRST;
                let Some(open) = OpenConnection::admit(&shared.counters, shared.limits.connections_max) else {
                    tracing::debug!(%peer, "refused: too many connections");
                    continue;
                };
                // Without it small answers wait for the peer's delayed acknowledgement, 40 ms a call.
                let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else { continue };
                number = number.wrapping_add(1);
                dealer.deal(Accepted { stream, peer, number, open }).await;
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

/// Deals connections to the lanes in turn.
pub(super) struct Dealer {
    lanes: Vec<Arc<Inbox>>,
    /// Whose turn it is.
    turn: usize,
    /// See `Inbox`.
    taken: Arc<Notify>,
    /// See `Limits::stuck`.
    stuck: Duration,
    /// When each lane was last logged as stuck.
    logged: Vec<Option<Instant>>,
}

impl Drop for Dealer {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.close());
    }
}

impl Dealer {
    /// A dealer to so many lanes, with the inbox of each.
    pub(super) fn new(count: usize, stuck: Duration) -> (Self, Vec<Arc<Inbox>>) {
        let taken = Arc::new(Notify::new());
        let lanes: Vec<_> = (0..count).map(|_| Arc::new(Inbox::new(Arc::clone(&taken)))).collect();
        (Self { lanes: lanes.clone(), turn: 0, taken, stuck, logged: vec![None; count] }, lanes)
    }

    /// The next lane in turn that can be dealt one more.
    fn next_lane(&mut self) -> Option<&Inbox> {
        let count = self.lanes.len();
        let lane = (self.turn..self.turn + count).map(|it| it % count).find(|lane| self.lanes[*lane].has_room())?;
        self.turn = lane + 1;
        Some(&self.lanes[lane])
    }

    /// Deals one connection; waits while no lane has room for it.
    async fn deal(&mut self, accepted: Accepted) {
        loop {
            if let Some(lane) = self.next_lane() {
                return lane.put(accepted, Instant::now());
            }
            tokio::select! {
                () = self.taken.notified() => {}
                () = self.overdue() => {}
            }
            self.look();
        }
    }

    /// Waits until `look` may find something.
    async fn something_to_do(&self) {
        let has_leftovers = self.lanes.iter().any(|lane| lane.has_leftovers());
        tokio::select! {
            () = self.taken.notified(), if has_leftovers => {}
            () = self.overdue() => {}
        }
    }

    /// Waits until the connection that waits longest has waited too long.
    async fn overdue(&self) {
        match self.lanes.iter().filter_map(|lane| lane.waiting_since()).min() {
            Some(since) => tokio::time::sleep_until(since + self.stuck).await,
            None => std::future::pending().await,
        }
    }

    /// Finds who is stuck, and deals to the others what waits there.
    fn look(&mut self) {
        let now = Instant::now();
        for number in 0..self.lanes.len() {
            if now.checked_sub(self.stuck).is_some_and(|latest| self.lanes[number].judge(latest)) {
                self.log(number, now);
            }
        }
        for from in self.lanes.clone() {
            while from.has_leftovers()
                && let Some(to) = self.next_lane()
                && let Some(accepted) = from.take_back()
            {
                to.put(accepted, now);
            }
        }
    }

    fn log(&mut self, lane: usize, now: Instant) {
        if self.logged[lane].is_some_and(|logged| now.duration_since(logged) < STUCK_LOGGED) {
            return;
        }
        self.logged[lane] = Some(now);
        tracing::warn!(
            lane,
            milliseconds = self.stuck.as_millis(),
            "a lane is stuck: it has taken up no connection for so long. Calls on its connections wait until it runs \
             again; new connections go to the other lanes"
        );
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
