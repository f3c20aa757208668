//! The answers of the admin port: one function from a request to a response.
//!
//! Only the method and the path of a request count. Nothing of them is in an answer.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant as Deadline;

use super::figures::Figures;
use super::text;

const TEXT: &str = "text/plain; charset=utf-8";
/// The methods of every path.
const ALLOWED: &str = "GET, HEAD";

/// Answers a request. hyper sends no body to HEAD.
pub(super) fn answer(method: &Method, path: &str, figures: &Figures) -> Response<Full<Bytes>> {
    let now = Deadline::now();
    let probe = |outcome: Result<(), String>| match outcome {
        Ok(()) => plain(StatusCode::OK, "ok\n"),
        Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    };
    if !["/metrics", "/livez", "/readyz"].contains(&path) {
        let known = "not found; there are /metrics, /livez and /readyz\n";
        return plain(StatusCode::NOT_FOUND, known);
    }
    if method != Method::GET && method != Method::HEAD {
        let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static(ALLOWED);
        refused.headers_mut().insert(ALLOW, allowed);
        return refused;
    }
    match path {
        "/livez" => probe(figures.health.alive(now)),
        "/readyz" => probe(figures.health.ready(now)),
        _ => {
            let mut metrics = plain(StatusCode::OK, figures.text(now));
            let kind = HeaderValue::from_static(text::CONTENT_TYPE);
            metrics.headers_mut().insert(CONTENT_TYPE, kind);
            metrics
        }
    }
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
