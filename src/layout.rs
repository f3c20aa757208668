//! Where background work runs: on threads of its own, or on the runtime that starts it.

/// Where the writer, the waking of watchers and store reads run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The writer and the waking of watchers on threads of their own, store reads on tokio's
    /// blocking threads.
    Threads,
    /// Everything on the caller's runtime: virtual time does not wait for threads.
    Inline,
}
