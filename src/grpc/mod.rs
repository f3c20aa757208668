//! gRPC: parse, call, render.
//!
//! Knows protobuf and the engine, and never the store.

pub mod wire;
