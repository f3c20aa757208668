//! The admin port: metrics for Prometheus and probes, over HTTP/1.1 in clear.
//!
//! It runs on a thread of its own and asks neither the writer nor a worker for an answer, so that it
//! answers when they are stuck. It reads figures that others count, and changes nothing. There is
//! no authentication: it is for this machine, or for a network that the operator trusts.

mod answers;
mod connections;
mod figures;
mod health;
mod process;
mod text;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use http::Method;
use tokio::sync::oneshot;
use tokio::time::Instant as Deadline;

use figures::Figures;
pub use figures::{Observed, constant_case};
pub use health::SILENCE_MAX;

/// A port that is bound and answers nobody yet.
pub struct BoundPort {
    listener: TcpListener,
}

impl BoundPort {
    /// Binds the address; port 0 chooses a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener })
    }

    /// Answers from now on, by what it observes.
    pub fn start(self, observed: Observed) -> io::Result<AdminPort> {
        let address = self.listener.local_addr()?;
        let figures = Arc::new(Figures::of(observed));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _context = runtime.enter();
            tokio::net::TcpListener::from_std(self.listener)?
        };
        let (stop, stopped) = oneshot::channel();
        let (answering, asking) = (Arc::clone(&figures), Arc::clone(&figures));
        let answers = move |method: &Method, path: &str| answers::answer(method, path, &answering);
        let ask = move || asking.health.ask(Deadline::now());
        let served = connections::serve(listener, answers, ask, stopped);
        let thread = std::thread::Builder::new()
            .name("bookd-admin".to_owned())
            .spawn(move || runtime.block_on(served))?;
        Ok(AdminPort {
            address,
            figures,
            stop,
            thread,
        })
    }
}

/// A port that answers. Dropping it closes the port without waiting; prefer [`AdminPort::stop`].
pub struct AdminPort {
    address: SocketAddr,
    figures: Arc<Figures>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl AdminPort {
    /// The address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Says from now on that the service is not ready.
    pub fn drain(&self) {
        self.figures.health.drain();
    }

    /// Closes the port and all of its connections, and joins the thread.
    pub async fn stop(self) {
        drop(self.stop);
        let joined = tokio::task::spawn_blocking(move || self.thread.join().is_ok()).await;
        if !joined.unwrap_or(false) {
            tracing::error!("the thread of the admin port panicked");
        }
    }
}
