//! The simulated machine's program: the service as `bookd serve` puts it together, on turmoil's network.

use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use bookd::api::context::Api;
use bookd::api::stack;
use bookd::engine::{DeletionSettings, Engine, Settings};
use bookd::layout::Layout;
use bookd::log::WatchSettings;
use bookd::zones::Zones;
use bookd_transport::{ServerLimits, serve_connection};
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use turmoil::net::{TcpListener, TcpStream};

use crate::disk::Machine;
use crate::world::World;

pub const SERVER: &str = "server";
const PORT: u16 = 7_070;

/// The zones that come with the program, read once for all seeds.
pub fn zones() -> Arc<Zones> {
    static ZONES: OnceLock<Arc<Zones>> = OnceLock::new();
    Arc::clone(ZONES.get_or_init(|| Arc::new(Zones::bundled())))
}

/// Serves until the writer stops by itself or the machine is crashed.
pub async fn serve(world: Rc<World>, machine: Rc<Machine>) -> turmoil::Result {
    let store = match machine.open() {
        Ok(store) => store,
        Err(error) => {
            world.tell(format_args!("the server cannot open its store: {error}"));
            return Ok(());
        }
    };
    world.confirm_clock();
    // So that deletions by force are prepared, and series come in parts.
    let deletion_settings = DeletionSettings {
        direct_max: 0,
        slice_size: 1,
    };
    let watch = WatchSettings {
        part_events_max: 2,
        ..WatchSettings::default()
    };
    // One start like this and one like that: what the writer has in memory shows in its own decisions alone.
    let decides_on_snapshots = world.now() % 2 == 0;
    let settings = Settings {
        layout: Layout::Inline,
        is_clock_confirmed: true,
        watch,
        decides_on_snapshots,
        deletion_settings,
        ..Settings::default()
    };
    let (engine, running) = match Engine::start(store, Arc::new(world.clock.clone()), settings) {
        Ok(started) => started,
        Err(error) => {
            world.tell(format_args!("the server cannot start: {error}"));
            return Ok(());
        }
    };
    world.tell(format_args!(
        "the server starts at revision {}",
        engine.revision()
    ));
    let api = Api {
        ids: machine.ids(),
        ..Api::new(engine.clone(), zones())
    };
    let (routes, _health) = bookd::api::routes(&api).await?;
    drop(api);
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
    world.tell(format_args!("the server stops: {stopped:?}"));
    Ok(())
}

/// A connection to it, made when it is needed first.
pub fn connect() -> Channel {
    let connector = tower::service_fn(|_| async {
        let stream = TcpStream::connect((SERVER, PORT)).await?;
        Ok::<_, std::io::Error>(TokioIo::new(stream))
    });
    Endpoint::from_static("http://server:7070").connect_with_connector_lazy(connector)
}
