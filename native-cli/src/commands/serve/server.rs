//! Connections: accepting them, what every request passes through, and the end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use ternary::words::counted;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};

use super::app::App;
use super::openapi;
use super::refusal::Refusal;
use super::track::{Track, Tracked};

/// The head of a request must be here by then, and the next one of a kept connection.
const HEAD: Duration = Duration::from_secs(30);
/// A reader that takes nothing for so long is given up.
const STALLED: Duration = Duration::from_secs(60);
/// Connections at a time.
const CONNECTIONS: usize = 2048;
/// After the last reply's end, so that it is on its way.
const LINGER: Duration = Duration::from_millis(200);

/// Every route, with what every request passes through.
pub fn router(app: Arc<App>) -> Router {
    openapi::routes()
        .fallback(page)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), admit))
        .layer(from_fn_with_state(app.clone(), track))
        .with_state(app)
}

async fn page(State(app): State<Arc<App>>, request: Request) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let found = matches!(*request.method(), Method::GET | Method::HEAD)
        .then(|| app.page.response(request.uri().path(), host))
        .flatten();
    found.unwrap_or_else(|| {
        let path: String = request.uri().path().chars().take(200).collect();
        let message = match openapi::meant(&path) {
            Some(meant) => format!("there is nothing at {path}; perhaps {meant} is meant"),
            None => format!("there is nothing at {path}; /openapi.json lists what there is"),
        };
        Refusal::new(StatusCode::NOT_FOUND, message)
            .with_code("not_found")
            .into_response()
    })
}

async fn wrong_method(request: Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    let path: String = path.chars().take(200).collect();
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{path} is not asked with {method}"),
    )
}

/// Keys, and which sites' pages may ask.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let origin = headers.get(header::ORIGIN).cloned();
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let open = match openapi::label(request.uri().path()) {
        // Probes have no key, and the page asks its reader for one.
        "/health" | "other" => true,
        _ => false,
    };
    let checked = app
        .guard
        .check_site(request.uri(), request.headers())
        .and_then(|()| match open || request.method() == Method::OPTIONS {
            true => Ok(()),
            false => app.guard.check_key(request.headers()),
        });
    let mut response = match checked {
        Err(refusal) => refusal.into_response(),
        // A browser asks whether it may ask.
        Ok(()) if request.method() == Method::OPTIONS => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Ok(()) => next.run(request).await,
    };
    app.guard.add_cors(origin.as_ref(), asked, &mut response);
    response
}

/// The log, the figures, and the shape of refusals.
async fn track(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let method = request.method().to_string();
    let no_body = request.method() == Method::HEAD;
    let label = openapi::label(&path);
    let track = Track::new(method, path.clone(), label, &app.metrics, &app.active);
    let track = Arc::new(track);
    request.extensions_mut().insert(track.clone());
    let mut response = next.run(request).await;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        log::debug!("{path}: {}", refusal.message);
        let mut written = refusal.response(&path);
        for (name, value) in response.headers() {
            if *name != header::CONTENT_LENGTH {
                written.headers_mut().append(name, value.clone());
            }
        }
        response = written;
    }
    let headers = response.headers_mut();
    headers.insert("x-request-id", request_id());
    let status = response.status().as_u16();
    response.map(|body| Body::new(Tracked::new(body, track, status, no_body)))
}

fn request_id() -> HeaderValue {
    let id = super::ids::new("req_");
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("req"))
}

/// Serve until `stop` ends; then finish what is running, for at most `grace`.
pub async fn serve(
    app: Arc<App>,
    listeners: Vec<TcpListener>,
    stop: impl Future<Output = ()>,
    grace: Duration,
) {
    let router = router(app.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listeners) => accepted,
            () = &mut stop => break,
        };
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                // Too many open files, for one: it passes.
                log::warn!("a connection could not be taken: {e}");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Beyond that many, new ones are closed at once.
        let Ok(place) = places.clone().try_acquire_owned() else {
            continue;
        };
        // Tokens are sent as they come.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(Patient::new(stream)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                log::debug!("a connection ended: {e}");
            }
            drop(place);
        });
    }
    drop(listeners);
    let active = app.active.load(Ordering::SeqCst);
    if active > 0 {
        log::info!(
            "finishing {}, for at most {}",
            counted(active, "request"),
            counted(grace.as_secs(), "second")
        );
    }
    tokio::select! {
        () = graceful.shutdown() => {}
        () = idle(&app) => {}
        () = sleep(grace) => {
            let active = app.active.load(Ordering::SeqCst);
            let were = if active == 1 { "was" } else { "were" };
            log::warn!("{} {were} cut off", counted(active, "request"));
        }
    }
}

/// The next connection at any of the addresses.
async fn accept(listeners: &[TcpListener]) -> io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|cx| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Ends when no request is being answered. Connections on which nothing is asked are not waited
/// for.
async fn idle(app: &App) {
    loop {
        if app.active.load(Ordering::SeqCst) == 0 {
            sleep(LINGER).await;
            if app.active.load(Ordering::SeqCst) == 0 {
                return;
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// A connection whose reader is given up when it takes nothing for a while.
struct Patient {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream) -> Self {
        Patient {
            stream,
            stalled: None,
        }
    }

    fn written<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALLED)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(result, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.written(result, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
