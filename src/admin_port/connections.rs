//! The connections of the admin port: accepted, bounded in number, time and bytes, and closed.
//!
//! Nothing that a client sends is kept: a request is a head of at most `HEAD_BYTES_MAX` bytes, and
//! its body is not read. When all connections are taken, the oldest gives way to a new one, so that
//! clients that hold theirs keep no probe out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

/// Connections that may be open at once: of a few scrapers and probes, and of people who look.
const CONNECTIONS_MAX: usize = 64;
/// Bytes of the head of a request; longer ones are answered 431. The least that hyper takes.
const HEAD_BYTES_MAX: usize = 8 * 1_024;
/// The time in which the head of a request must arrive, from the end of the answer before or of
/// the accept. An idle connection is closed by it, too: whoever comes again connects again.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// The age at which a connection gets no further request. It also bounds how long an answer waits
/// for a client that does not read it.
const AGE_MAX: Duration = Duration::from_secs(60);
/// The time to finish the answer then.
const AGE_GRACE: Duration = Duration::from_secs(5);
/// The pause after an error of accepting, such as running out of descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);
/// How often workers are asked for a sign of life.
const ASK_PERIOD: Duration = Duration::from_secs(1);

/// A function from method and path to an answer.
pub(super) trait HttpAnswers:
    Fn(&Method, &str) -> Response<Full<Bytes>> + Clone + Send + 'static
{
}

impl<A: Fn(&Method, &str) -> Response<Full<Bytes>> + Clone + Send + 'static> HttpAnswers for A {}

/// Accepts and answers until `stop` is sent or dropped, and then closes everything. Calls `ask`
/// once per `ASK_PERIOD`.
pub(super) async fn serve(
    listener: TcpListener,
    answers: impl HttpAnswers,
    ask: impl Fn() + Send,
    mut stop: oneshot::Receiver<()>,
) {
    let mut period = tokio::time::interval(ASK_PERIOD);
    let mut open = OpenConnections::default();
    loop {
        tokio::select! {
            biased;
            _ = &mut stop => return,
            _ = period.tick() => ask(),
            Some(_) = open.tasks.join_next(), if !open.tasks.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => open.add(serve_one(stream, answers.clone())),
                Err(error) => {
                    tracing::debug!(%error, "the admin port cannot accept");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }
}

/// The open connections. Dropping them closes all.
#[derive(Default)]
struct OpenConnections {
    tasks: JoinSet<()>,
    /// The oldest first.
    by_age: VecDeque<AbortHandle>,
}

impl OpenConnections {
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.by_age.retain(|it| !it.is_finished());
        if self.by_age.len() >= CONNECTIONS_MAX
            && let Some(oldest) = self.by_age.pop_front()
        {
            oldest.abort();
        }
        self.by_age.push_back(self.tasks.spawn(connection));
    }
}

/// HttpAnswers the requests of one connection, one after the other.
async fn serve_one(stream: TcpStream, answers: impl HttpAnswers) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answers(request.method(), request.uri().path());
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // An error of a connection concerns its client alone.
    tokio::select! {
        _ = &mut connection => {}
        () = tokio::time::sleep(AGE_MAX) => {
            connection.as_mut().graceful_shutdown();
            let _ended_or_late = tokio::time::timeout(AGE_GRACE, connection).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n";

    /// A port that answers with the method and path of the request, its address, and its end.
    async fn start() -> (std::net::SocketAddr, oneshot::Sender<()>, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let answers = |method: &Method, path: &str| {
            Response::new(Full::new(Bytes::from(format!("{method} {path}"))))
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, answers, || {}, stopped));
        (address, stop, tasks)
    }

    async fn connect(address: std::net::SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.expect("it listens")
    }

    /// What comes until the connection ends, however it ends.
    async fn read_all(stream: &mut TcpStream) -> String {
        let mut read = Vec::new();
        let _ended_or_reset = stream.read_to_end(&mut read).await;
        String::from_utf8_lossy(&read).into_owned()
    }

    /// Asks once and leaves the connection open.
    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(REQUEST).await.expect("it reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"GET /x") {
            let mut bytes = [0; 512];
            let count = stream.read(&mut bytes).await.expect("it answers");
            assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend(&bytes[..count]);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_does_not_come_in_time_and_an_idle_connection_are_closed() {
        let (address, _stop, _tasks) = start().await;
        let begun = tokio::time::Instant::now();
        let (mut silent, mut half, mut idle) = (
            connect(address).await,
            connect(address).await,
            connect(address).await,
        );
        half.write_all(&REQUEST[..20]).await.expect("it reads");
        assert!(ask(&mut idle).await.starts_with("HTTP/1.1 200 OK\r\n"));
        for stream in [&mut silent, &mut half, &mut idle] {
            assert!(!read_all(stream).await.contains("200 OK"));
        }
        assert!(begun.elapsed() < AGE_MAX, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn a_head_that_is_too_long_is_refused_and_the_next_client_is_served() {
        let (address, _stop, _tasks) = start().await;
        let mut greedy = connect(address).await;
        let line = [b"x-long: ".as_slice(), &[b'a'; 1_000], b"\r\n"].concat();
        greedy.write_all(&REQUEST[..26]).await.expect("it reads");
        let mut sent = 0;
        while greedy.write_all(&line).await.is_ok() && sent < 64 {
            sent += 1;
        }
        let refused = read_all(&mut greedy).await;
        assert!(
            refused.is_empty() || refused.starts_with("HTTP/1.1 431 "),
            "{refused}"
        );
        let mut other = connect(address).await;
        ask(&mut other).await;
    }

    #[tokio::test]
    async fn whoever_holds_all_connections_keeps_no_probe_out() {
        let (address, _stop, _tasks) = start().await;
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_MAX + 10 {
            let mut stream = connect(address).await;
            ask(&mut stream).await;
            held.push(stream);
        }
        for stream in &mut held[..10] {
            assert_eq!(read_all(stream).await, "", "the oldest gave way");
        }
        for stream in &mut held[10..] {
            ask(stream).await;
        }
    }

    #[tokio::test]
    async fn what_is_no_request_of_http_1_is_refused() {
        let (address, _stop, _tasks) = start().await;
        for nonsense in [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET\r\n\r\n",
        ] {
            let mut stream = connect(address).await;
            stream.write_all(nonsense).await.expect("it reads");
            let refused = read_all(&mut stream).await;
            assert!(
                refused.is_empty() || refused.starts_with("HTTP/1.1 400 "),
                "{refused}"
            );
        }
    }

    #[tokio::test]
    async fn a_port_that_is_stopped_closes_everything() {
        let (address, stop, mut tasks) = start().await;
        let mut idle = connect(address).await;
        ask(&mut idle).await;
        drop(stop);
        assert!(tasks.join_next().await.is_some_and(|it| it.is_ok()));
        assert_eq!(read_all(&mut idle).await, "");
        assert!(TcpStream::connect(address).await.is_err());
    }
}
