//! The service as a whole: zones, store, engine, routes, transport, started in this order and stopped in the reverse.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bookd_transport::{Admission, Ended, ServerLimits, Stopper, Workers};

use crate::api::context::Api;
use crate::api::{self, HealthReporter, SERVICES, stack};
use crate::clock::{Clock, SystemClock};
use crate::descriptors;
use crate::engine::{self, Engine, Stopped};
use crate::store::OpenError;
use crate::zones::Zones;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error(
        "cannot listen on {address}: {}",
        descriptors::message(error, "; choose another with --listen")
    )]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The store cannot be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The store opened, and then failed.
    #[error("{0}")]
    Store(#[from] crate::store::StoreError),
    /// The descriptors for reflection are damaged.
    #[error("{0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Threads or runtimes cannot be made.
    #[error("the server cannot start: {}", descriptors::message(.0, ""))]
    Server(std::io::Error),
}

/// What to start it with.
pub struct Parts {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The time zones in use.
    pub zones: Arc<Zones>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Where connections are served.
    pub workers: Workers,
    /// How the engine runs.
    pub engine: engine::Settings,
    /// What a connection may do.
    pub limits: ServerLimits,
}

impl Parts {
    /// For this machine alone: on a free port, by the system's clock, and all else as the binary has it by default.
    pub fn local(zones: Arc<Zones>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            zones,
            clock: Arc::new(SystemClock),
            workers: Workers::per_core(),
            engine: engine::Settings::default(),
            limits: ServerLimits::default(),
        }
    }
}

/// A service that runs.
pub struct Service {
    server: bookd_transport::Running,
    engine: Engine,
    writer: engine::RunningEngine,
    health: HealthReporter,
}

impl Service {
    /// Starts everything on this store, without a log of calls.
    pub async fn start(
        parts: Parts,
        store: Box<dyn crate::store::Store>,
    ) -> Result<Self, StartError> {
        Self::start_logging(parts, store, false).await
    }

    /// Starts everything on this store, perhaps with a line in the log for every call.
    pub async fn start_logging(
        parts: Parts,
        store: Box<dyn crate::store::Store>,
        is_logging: bool,
    ) -> Result<Self, StartError> {
        let address = parts.listen;
        let listener =
            TcpListener::bind(address).map_err(|error| StartError::Listen { address, error })?;
        let (engine, writer) = Engine::start(store, parts.clock, parts.engine)?;
        let (routes, health) = api::routes(&Api::new(engine.clone(), parts.zones)).await?;
        // One for all workers: what its calls may hold is counted over the process.
        let admission = Arc::new(Admission::new(parts.limits.admission));
        let stack = stack::around(routes, admission, is_logging);
        let service = move |_worker| stack.clone();
        let started = bookd_transport::start(listener, parts.limits, parts.workers, service);
        let server = started.map_err(StartError::Server)?;
        Ok(Self {
            server,
            engine,
            writer,
            health,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// A handle to the engine.
    pub fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// Ends the transport from anywhere; `stop` is what waits for it.
    pub fn stopper(&self) -> Stopper {
        self.server.stopper()
    }

    /// Waits until the writer stops by itself, which it does only when it must not go on.
    pub async fn failed(&self) {
        self.engine.closed().await;
    }

    /// Health first, then watches, connections, the writer, so that every answer that was begun is given.
    pub async fn stop(self, grace: Duration) -> (Ended, Stopped) {
        for service in SERVICES.into_iter().chain([""]) {
            self.health
                .set_service_status(service, tonic_health::ServingStatus::NotServing)
                .await;
        }
        // A watch would never end by itself; each is told the last revision that it need not ask for again.
        self.engine.end_watches();
        let ended = self.server.shutdown(grace).await;
        // Whoever waited for what is still in the queue is gone.
        self.engine.cut();
        drop(self.engine);
        (ended, self.writer.stopped().await)
    }
}
