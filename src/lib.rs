//! bookd, the booking engine that other services call.
//!
//! The layers, each importing only what stands below it:
//!
//! ```text
//! main, cli, server     processes: flags, sockets, shutdown
//! grpc                  parse → call → render; knows protobuf, never the store
//! engine                the actor: mailbox → batch → decide → commit → publish → answer
//! store                 durability: SQLite, and memory as the reference
//! domain                the core: decides; pure
//! ```

pub mod domain;
pub mod zones;
