//! Bodies: reading a request's JSON, writing JSON and server-sent events.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use http_body::Frame;
use serde_json::Value;
use ternary::words::counted;
use tokio::sync::mpsc;

use super::refusal::Refusal;

/// Bytes of a body that is too large that are still taken off the connection, so that the client
/// gets to read the answer.
const DRAINED: usize = 64 << 20;
/// A whole body must be here by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// The JSON of a request of at most `limit` bytes.
pub async fn read_json(headers: &HeaderMap, body: Body, limit: usize) -> Result<Value, Refusal> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "compressed bodies are not read; send the JSON as it is",
        ));
    }
    let bytes = match tokio::time::timeout(PATIENCE, read(body, limit)).await {
        Ok(bytes) => bytes?,
        Err(_) => {
            return Err(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                format!(
                    "the body did not arrive within {}",
                    counted(PATIENCE.as_secs(), "second")
                ),
            ));
        }
    };
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        Refusal::body(format!(
            "the body is not UTF-8: byte {} cannot be read",
            e.valid_up_to()
        ))
    })?;
    // Some programs put a byte order mark in front of what they save.
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_ascii().is_empty() {
        return Err(Refusal::body(
            "the body is empty; expected a JSON object with the request's parameters",
        ));
    }
    serde_json::from_str(text).map_err(|e| Refusal::body(format!("the body is not JSON: {e}")))
}

async fn read(mut body: Body, limit: usize) -> Result<Vec<u8>, Refusal> {
    let (mut bytes, mut seen) = (Vec::new(), 0usize);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|e| Refusal::body(format!("the body ended early: {e}")))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen += data.len();
        if seen <= limit {
            bytes.extend_from_slice(&data);
        } else if seen > DRAINED.max(limit) {
            break;
        }
    }
    if seen > limit {
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "the body has more than {} (--max-body)",
                counted(limit, "byte")
            ),
        )
        .with_code("body_too_large"));
    }
    Ok(bytes)
}

/// An answer of JSON.
pub fn json(value: &Value) -> Response {
    typed("application/json", value.to_string())
}

/// An answer of this type.
pub fn typed(kind: &'static str, content: impl Into<Body>) -> Response {
    let mut response = Response::new(content.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Events that wait for a reader: a slow one holds up its own reply only.
const WAITING: usize = 32;
/// So often something is sent, so that nobody in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where the events of an answer go.
pub struct Events(mpsc::Sender<Bytes>);

/// The reader has gone away.
pub struct Gone;

impl Events {
    /// `data: VALUE`.
    pub async fn data(&self, value: &Value) -> Result<(), Gone> {
        self.send(format!("data: {value}\n\n")).await
    }

    /// `event: NAME` and `data: VALUE`.
    pub async fn named(&self, name: &str, value: &Value) -> Result<(), Gone> {
        self.send(format!("event: {name}\ndata: {value}\n\n")).await
    }

    /// `data: [DONE]`, OpenAI's end.
    pub async fn done(&self) -> Result<(), Gone> {
        self.send("data: [DONE]\n\n".to_owned()).await
    }

    async fn send(&self, text: String) -> Result<(), Gone> {
        self.0.send(Bytes::from(text)).await.map_err(|_| Gone)
    }
}

/// An answer of server-sent events, made by `produce`, which is dropped when the reader goes away.
pub fn events<F>(produce: impl FnOnce(Events) -> F) -> Response
where
    F: Future<Output = Result<(), Gone>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(WAITING);
    let produced = produce(Events(sender.clone()));
    tokio::spawn(async move {
        let mut produced = pin!(produced);
        let mut ticks = tokio::time::interval(KEEP_ALIVE);
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = &mut produced => return,
                () = sender.closed() => return,
                _ = ticks.tick() => {
                    // One that is full has something to read.
                    let _ = sender.try_send(Bytes::from_static(b": still here\n\n"));
                }
            }
        }
    });
    let mut response = typed("text/event-stream", Body::new(EventBody(receiver)));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies must not collect what is to be seen at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct EventBody(mpsc::Receiver<Bytes>);

impl HttpBody for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0
            .poll_recv(cx)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
