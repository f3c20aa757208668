//! The simulated machine's program: the service as `bookd serve` puts it together, on turmoil's
//! network.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use bookd::api::context::Api;
use bookd::api::stack;
use bookd::engine::{DeletionSettings, Engine, Settings};
use bookd::layout::Layout;
use bookd::log::WatchSettings;
use bookd::zones::Zones;
use bookd_core::quota::{Quota, Quotas};
use bookd_transport::{ServerLimits, serve_connection};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use turmoil::net::{TcpListener, TcpStream};

use crate::disk::Machine;
use crate::world::World;

pub const SERVER: &str = "server";
const PORT: u16 = 7_070;

/// The bundled time zones, read once for all seeds.
pub fn zones() -> Arc<Zones> {
    static ZONES: OnceLock<Arc<Zones>> = OnceLock::new();
    Arc::clone(ZONES.get_or_init(|| Arc::new(Zones::bundled())))
}

/// Settings of an engine on the caller's thread, whose deletions by force are staged and whose
/// watches send series in parts. What tenants have is counted, and refuses nothing. `decides_on_snapshots` lets it decide large commands off the writer.
pub fn settings(decides_on_snapshots: bool) -> Settings {
    Settings {
        layout: Layout::Inline,
        is_clock_confirmed: true,
        watch: WatchSettings {
            part_events_max: 2,
            ..WatchSettings::default()
        },
        decides_on_snapshots,
        deletion_settings: DeletionSettings {
            direct_max: 0,
            slice_size: 1,
        },
        quotas: Quotas {
            others: Quota {
                calendars: Some(u64::MAX),
                ..Quota::default()
            },
            ..Quotas::default()
        },
        ..Settings::default()
    }
}

/// Serves until the writer stops by itself or the machine is crashed.
pub async fn serve(world: Rc<World>, machine: Rc<Machine>) -> turmoil::Result {
    let store = match machine.open() {
        Ok(store) => store,
        Err(error) => {
            world.trace(format_args!("the server cannot open its store: {error}"));
            return Ok(());
        }
    };
    world.confirm_clock();
    // In half of the starts every decision is made by the writer, so that each shows what is in its
    // memory.
    let settings = settings(world.now() % 2 == 0);
    let (engine, running) = match Engine::start(store, Arc::new(world.clock.clone()), settings) {
        Ok(started) => started,
        Err(error) => {
            world.trace(format_args!("the server cannot start: {error}"));
            return Ok(());
        }
    };
    world.trace(format_args!(
        "the server starts at revision {}",
        engine.revision()
    ));
    world.hold_to_the_last_count(&engine);
    let api = Api {
        ids: machine.ids(),
        ..Api::new(engine.clone(), zones())
    };
    // One worker, which has its answers from the writer by its bell.
    let (routes, delivering) = bookd::api::routes(api, true).await?.0.on_worker();
    tokio::spawn(delivering);
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let accepting = async {
        for number in 0.. {
            let Ok((stream, peer)) = listener.accept().await else {
                continue;
            };
            let service = stack::alone(routes.clone());
            tokio::spawn(serve_connection(
                stream,
                peer,
                number,
                ServerLimits::default(),
                service,
            ));
        }
    };
    tokio::select! {
        biased;
        () = engine.closed() => {}
        () = accepting => {}
    }
    drop(engine);
    drop(routes);
    let stopped = running.stopped().await;
    world.trace(format_args!("the server stops: {stopped:?}"));
    Ok(())
}

/// A lazy connection to the server.
pub fn connect() -> Channel {
    let connector = tower::service_fn(|_| async {
        let stream = TcpStream::connect((SERVER, PORT)).await?;
        Ok::<_, std::io::Error>(TokioIo::new(stream))
    });
    Endpoint::from_static("http://server:7070").connect_with_connector_lazy(connector)
}
