//! The public keys of an issuer that are fetched from a URL: when they are fetched, and which ones
//! count meanwhile.
//!
//! A call never waits for a fetch. Keys that were fetched count until others are: a fetch that
//! fails changes nothing.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::jwks::PublicKeys;
use super::jwks_client::FetchError;

/// How long keys count as current: issuers publish a key some time before they sign by it.
const REFRESH_EVERY: Duration = Duration::from_secs(600);
/// The least time between two fetches, whatever callers send, and between tries that fail.
const FETCH_PAUSE: Duration = Duration::from_secs(30);

/// What the fetches of all issuers came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyFetches {
    /// Fetches that brought keys.
    pub done: u64,
    /// Fetches that brought none.
    pub failed: u64,
    /// Issuers of which no key is known: their tokens are refused.
    pub issuers_without_keys: u64,
}

/// The keys of one issuer. Configurations that are read later share them.
pub(super) struct FetchedKeys {
    issuer: String,
    keys: RwLock<Option<Arc<PublicKeys>>>,
    /// How often the keys have changed. What an earlier generation has verified counts no more.
    generation: AtomicU64,
    schedule: Mutex<FetchSchedule>,
    /// Rings when the schedule may have become earlier.
    asked: Notify,
    done: AtomicU64,
    failed: AtomicU64,
}

impl FetchedKeys {
    pub(super) fn new(issuer: String) -> Self {
        Self {
            issuer,
            keys: RwLock::new(None),
            generation: AtomicU64::new(0),
            schedule: Mutex::new(FetchSchedule::default()),
            asked: Notify::new(),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// The keys that were fetched last, if any were.
    pub(super) fn current(&self) -> Option<Arc<PublicKeys>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.clone()
    }

    /// The generation of the current keys. To be read before the keys are.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Has the keys fetched soon: a token names a key that is not among them.
    pub(super) fn ask(&self) {
        if self.schedule().ask() {
            self.asked.notify_one();
        }
    }

    /// Has the keys fetched at once: the operator asks.
    pub(super) fn hurry(&self) {
        self.schedule().begun = None;
        self.asked.notify_one();
    }

    /// Adds what the fetches came to.
    pub(super) fn add_to(&self, all: &mut KeyFetches) {
        all.done += self.done.load(Ordering::Relaxed);
        all.failed += self.failed.load(Ordering::Relaxed);
        all.issuers_without_keys += u64::from(self.current().is_none());
    }

    /// Fetches the keys, for ever, whenever they are due. `changed` is called when others count.
    pub(super) async fn keep_current(
        &self,
        fetch: impl AsyncFn() -> Result<PublicKeys, FetchError>,
        changed: impl Fn(),
    ) -> Infallible {
        loop {
            let due = self.schedule().due();
            let is_due = async {
                if let Some(due) = due {
                    tokio::time::sleep_until(due).await;
                }
            };
            tokio::select! {
                biased;
                () = is_due => {}
                () = self.asked.notified() => continue,
            }
            if self.fetch_once(&fetch).await {
                changed();
            }
        }
    }

    /// Fetches the keys; answers whether they are others than before.
    pub(super) async fn fetch_once(
        &self,
        fetch: impl AsyncFn() -> Result<PublicKeys, FetchError>,
    ) -> bool {
        self.schedule().begin(Instant::now());
        match fetch().await {
            Ok(keys) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                self.replace(keys)
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                // The next try is not put off until the keys are old.
                self.schedule().ask();
                if self.current().is_some() {
                    tracing::warn!(issuer = self.issuer, %error, "the keys of an issuer cannot be fetched: those of before stay in force");
                } else {
                    tracing::warn!(issuer = self.issuer, %error, "the keys of an issuer cannot be fetched: its tokens are refused until they are");
                }
                false
            }
        }
    }

    /// Puts keys in force; answers whether they are others than before.
    fn replace(&self, keys: PublicKeys) -> bool {
        let count = keys.count();
        {
            let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            if current.as_ref().is_some_and(|it| it.is_same(&keys)) {
                return false;
            }
            *current = Some(Arc::new(keys));
            self.generation.fetch_add(1, Ordering::Release);
        }
        tracing::info!(
            issuer = self.issuer,
            keys = count,
            "the keys of an issuer were fetched, and are in force"
        );
        true
    }

    fn schedule(&self) -> MutexGuard<'_, FetchSchedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When the keys of an issuer are fetched next.
#[derive(Debug, Default)]
struct FetchSchedule {
    /// When the last fetch began; none = the next one is due at once.
    begun: Option<Instant>,
    /// Whether the next one is due after [`FETCH_PAUSE`].
    is_soon: bool,
}

impl FetchSchedule {
    /// When the next fetch is due; none = at once.
    fn due(&self) -> Option<Instant> {
        let pause = if self.is_soon {
            FETCH_PAUSE
        } else {
            REFRESH_EVERY
        };
        self.begun.map(|begun| begun + pause)
    }

    fn begin(&mut self, now: Instant) {
        self.begun = Some(now);
        self.is_soon = false;
    }

    /// Answers whether the next fetch is due earlier than before.
    fn ask(&mut self) -> bool {
        !std::mem::replace(&mut self.is_soon, true)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const SET: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "KID", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn keys(kid: &str) -> PublicKeys {
        PublicKeys::parse(SET.replace("KID", kid).as_bytes()).expect("it is a key set")
    }

    fn has(keys: &FetchedKeys, kid: &str) -> bool {
        keys.current().is_some_and(|it| it.has(kid))
    }

    /// Lets a fetch that is due happen, and counts those that have begun after so many seconds.
    async fn after(seconds: u64, begun: &Cell<usize>) -> usize {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        begun.get()
    }

    #[tokio::test(start_paused = true)]
    async fn an_unknown_key_has_the_keys_fetched_at_most_once_in_half_a_minute() {
        let all = FetchedKeys::new("acme".to_owned());
        let begun = Cell::new(0);
        let fetch = async || {
            begun.set(begun.get() + 1);
            Ok(keys("one"))
        };
        let asking = async {
            assert_eq!(after(1, &begun).await, 1, "the first one is due at once");
            // Two minutes of a thousand wrong tokens a second.
            for second in 1..=120 {
                for _ in 0..1_000 {
                    all.ask();
                }
                let fetched = after(1, &begun).await;
                let at_most = 1 + (second + 1) / 30;
                assert!(fetched <= at_most, "{fetched} after {second} seconds");
            }
            let asked = begun.get();
            assert!(asked >= 4, "{asked}");
            assert!(after(REFRESH_EVERY.as_secs() - 60, &begun).await <= asked + 1);
            let calm = begun.get();
            assert_eq!(after(REFRESH_EVERY.as_secs(), &begun).await, calm + 1);
        };
        tokio::select! {
            biased;
            never = all.keep_current(fetch, || {}) => match never {},
            () = asking => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_stay_while_fetches_fail_and_are_tried_again() {
        let all = FetchedKeys::new("acme".to_owned());
        let begun = Cell::new(0);
        let answer = RefCell::new(None);
        let fetch = async || {
            begun.set(begun.get() + 1);
            answer
                .borrow()
                .map_or(Err(FetchError::NoAnswer(Duration::ZERO)), |it| Ok(keys(it)))
        };
        let changes = Cell::new(0);
        let changed = || changes.set(changes.get() + 1);
        let story = async {
            assert_eq!(after(95, &begun).await, 4, "every half minute");
            assert!(all.current().is_none());
            let mut figures = KeyFetches::default();
            all.add_to(&mut figures);
            let KeyFetches {
                done,
                failed,
                issuers_without_keys,
            } = figures;
            assert_eq!((done, failed, issuers_without_keys), (0, 4, 1));
            answer.replace(Some("one"));
            after(30, &begun).await;
            assert!(has(&all, "one"));
            assert_eq!((changes.get(), all.generation()), (1, 1));
            answer.replace(None);
            after(REFRESH_EVERY.as_secs() + 1, &begun).await;
            assert!(has(&all, "one"), "those of before stay");
            answer.replace(Some("one"));
            after(31, &begun).await;
            assert_eq!((changes.get(), all.generation()), (1, 1), "the same again");
            answer.replace(Some("two"));
            all.hurry();
            after(0, &begun).await;
            tokio::task::yield_now().await;
            assert!(has(&all, "two") && !has(&all, "one"), "the operator asked");
            assert_eq!((changes.get(), all.generation()), (2, 2));
        };
        tokio::select! {
            // What is due is fetched before the story goes on.
            biased;
            never = all.keep_current(fetch, changed) => match never {},
            () = story => {}
        }
    }
}
