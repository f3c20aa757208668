//! Where work that goes on by itself runs: on threads of its own, or on the runtime of whoever starts it.

/// Where the writer and what goes on beside it run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// On threads of their own, and store reads on tokio's blocking threads.
    Threads,
    /// Everything on the caller's runtime: virtual time does not wait for threads.
    Inline,
}
