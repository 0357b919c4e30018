//! The front-end over HTTP, with the manners of `oned`'s server (Abyss of xmlrpc-c 1.33, as
//! recorded): one call per connection, fifteen connections at once, small HTML pages for what is no
//! call.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::sandbox::Sandbox;

/// Path of the XML-RPC endpoint.
const PATH: &str = "/RPC2";

/// Limits of the server.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// Connections that are served at once; others wait to be accepted. `MAX_CONN` of `oned` is 15.
    pub connections: usize,
    /// Largest body of a request, in bytes.
    pub max_body: u64,
    /// How long a client may take to send the head of its request, and then again its body.
    pub receive: Duration,
    /// How long one connection may live in all, so that a client which never reads its answer does
    /// not keep others out.
    pub connection: Duration,
    /// How long running calls may take to end once the server is asked to stop.
    pub grace: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            connections: 15,
            max_body: 64 << 20,
            receive: Duration::from_secs(15),
            connection: Duration::from_secs(120),
            grace: Duration::from_secs(5),
        }
    }
}

/// Serves calls until `shutdown` is ready, then lets running ones end and returns.
///
/// The listener decides who can connect; the password is all that protects the rest, and it
/// travels in clear, so it should listen on the loopback interface.
///
/// # Errors
/// None at present: a connection that fails is that client's affair, and a listener that cannot
/// accept (no file descriptors left) is asked again. The type leaves room.
pub async fn serve(
    listener: TcpListener,
    sandbox: Sandbox,
    settings: ServeSettings,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let free = Arc::new(Semaphore::new(settings.connections.max(1)));
    let settings = Arc::new(settings);
    let mut running = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&free).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (sandbox, settings) = (sandbox.clone(), Arc::clone(&settings));
                running.spawn(async move {
                    connection(stream, sandbox, &settings).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(50)).await;
            }
        }
        while running.try_join_next().is_some() {}
    }
    drop(listener);
    let ended = async { while running.join_next().await.is_some() {} };
    if timeout(settings.grace, ended).await.is_err() {
        tracing::warn!("connections were cut off");
    }
    Ok(())
}

async fn connection(stream: TcpStream, sandbox: Sandbox, settings: &ServeSettings) {
    let service = service_fn(|request| {
        let sandbox = sandbox.clone();
        async move { Ok::<_, Infallible>(respond(request, sandbox, settings).await) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(settings.receive)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(settings.connection, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "connection"),
        Err(_) => tracing::debug!("connection took too long"),
    }
}

async fn respond(
    request: Request<Incoming>,
    sandbox: Sandbox,
    settings: &ServeSettings,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path != PATH {
        let text = format!(
            "This XML-RPC server responds to only one URI path, '{PATH}', and not to '{}'",
            escape(path)
        );
        return page(StatusCode::NOT_FOUND, &text);
    }
    if request.method() != Method::POST {
        let text = "POST is the only HTTP method this server understands";
        return page(StatusCode::METHOD_NOT_ALLOWED, text);
    }
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|v| v.to_str().ok()).and_then(|v| v.trim().parse::<u64>().ok());
    match length {
        None => {
            let text = "You must send a content-length HTTP header in an XML-RPC call.";
            return page(StatusCode::LENGTH_REQUIRED, text);
        }
        Some(0) => {
            let text = "According to your content-length HTTP header, your request is empty \
                        (zero length)";
            return page(StatusCode::BAD_REQUEST, text);
        }
        Some(length) if length > settings.max_body => return too_large(length),
        Some(_) => {}
    }
    let limit = usize::try_from(settings.max_body).unwrap_or(usize::MAX);
    let body = Limited::new(request.into_body(), limit).collect();
    let body = match timeout(settings.receive, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return too_large(settings.max_body.saturating_add(1));
        }
        Ok(Err(_)) => return page(StatusCode::BAD_REQUEST, "The request's body broke off"),
        Err(_) => {
            let text = "Timed out waiting for client to send its POST data";
            return page(StatusCode::REQUEST_TIMEOUT, text);
        }
    };
    match tokio::task::spawn_blocking(move || sandbox.handle(&body)).await {
        Ok(answer) => {
            let mut response = Response::new(Full::new(Bytes::from(answer)));
            let xml = HeaderValue::from_static("text/xml; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, xml);
            response
        }
        Err(error) => {
            tracing::error!(%error, "a call ended without an answer");
            page(StatusCode::INTERNAL_SERVER_ERROR, "The call ended without an answer")
        }
    }
}

/// `oned` answers 500 here, as recorded of a request that claimed 2 GB; 413 would be the code for
/// it, and clients take it for the definite refusal that it is.
fn too_large(length: u64) -> Response<Full<Bytes>> {
    page(StatusCode::PAYLOAD_TOO_LARGE, &format!("XML-RPC request too large ({length} bytes)"))
}

fn page(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let code = status.as_u16();
    let html = format!(
        "<HTML><HEAD><TITLE>Error {code}</TITLE></HEAD><BODY><H1>Error {code}</H1><P>{text}</P>\
         </BODY></HTML>"
    );
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
