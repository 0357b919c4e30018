//! The HTTP transport against servers that behave well, badly, or are something else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::future::Future;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use opennebula::discover::Endpoint;
use opennebula::{HttpError, HttpSettings, HttpTransport, Transport, TransportError};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const CA: &[u8] = include_bytes!("data/ca.pem");
const ANSWER: &str = "<?xml version=\"1.0\"?>\n<methodResponse><params><param><value><array><data>\
    <value><boolean>1</boolean></value><value><string>6.10.0</string></value>\
    <value><i4>0</i4></value></data></array></value></param></params></methodResponse>\r\n";
const REQUEST: &[u8] = b"<methodCall><methodName>one.system.version</methodName></methodCall>";

/// Long enough for a loaded machine: it only ends tests that would hang.
const LONG: Duration = Duration::from_secs(60);

/// Reads one request, head and body.
async fn request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes);
        if read == 0 || text.ends_with("</methodCall>") {
            return text.into_owned();
        }
    }
}

/// A server for one connection.
async fn server<F, T>(serve: impl FnOnce(TcpStream) -> F + Send + 'static) -> (u16, JoinHandle<T>)
where
    F: Future<Output = T> + Send,
    T: Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move { serve(listener.accept().await.unwrap().0).await });
    (port, task)
}

fn transport(port: u16, settings: HttpSettings) -> HttpTransport {
    let endpoint = Endpoint::parse(&format!("http://127.0.0.1:{port}/RPC2")).unwrap();
    HttpTransport::new(endpoint, settings).unwrap()
}

/// What comes of an exchange with a server that reads the request and then sends this.
async fn sent(
    answer: impl Into<Vec<u8>>,
    settings: HttpSettings,
) -> Result<Vec<u8>, TransportError> {
    let answer = answer.into();
    let (port, task) = server(|mut stream| async move {
        request(&mut stream).await;
        // The client may hang up on a long answer.
        let _ = stream.write_all(&answer).await;
        let _ = stream.shutdown().await;
    })
    .await;
    let outcome = transport(port, settings).exchange(REQUEST, LONG).await;
    task.await.unwrap();
    outcome
}

async fn answer(answer: impl Into<Vec<u8>>) -> Result<Vec<u8>, TransportError> {
    sent(answer, HttpSettings::default()).await
}

fn with_length(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn an_answer_is_taken_in_every_framing() {
    let plain = with_length("200 OK", ANSWER);
    let to_the_end = format!("HTTP/1.0 200 OK\r\n\r\n{ANSWER}");
    let (first, second) = ANSWER.split_at(40);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    for framed in [plain, to_the_end, chunked] {
        assert_eq!(answer(framed).await.unwrap(), ANSWER.as_bytes());
    }
}

#[tokio::test]
async fn the_request_is_what_oned_takes() {
    let (port, task) = server(|mut stream| async move {
        let head = request(&mut stream).await;
        stream.write_all(with_length("200 OK", ANSWER).as_bytes()).await.unwrap();
        head
    })
    .await;
    transport(port, HttpSettings::default()).exchange(REQUEST, LONG).await.unwrap();
    let head = task.await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("post /rpc2 http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}\r\n", REQUEST.len())), "{head}");
    assert!(head.contains("content-type: text/xml\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding") && !head.contains("expect:"), "{head}");
}

#[tokio::test]
async fn other_servers_are_named_as_such() {
    let page = "<HTML><TITLE>Error 404</TITLE>\r\n<BODY>no \x1b[31mpage</BODY></HTML>";
    let xhtml = format!("<?xml version=\"1.0\"?><html>{}</html>", "x".repeat(5000));
    for (raw, status, words, executed) in [
        (with_length("404 Not Found", page), 404, "Error 404 no [31mpage", false),
        (with_length("401 Unauthorized", ""), 401, "", false),
        (with_length("500 Internal Server Error", "oops"), 500, "oops", true),
        (with_length("502 Bad Gateway", "nginx"), 502, "nginx", true),
        (with_length("200 OK", page), 200, "Error 404 no [31mpage", true),
        (with_length("200 OK", "{\"json\": 1}"), 200, "{\"json\": 1}", true),
        (with_length("200 OK", "<?xml version=\"1.0\"?><html><p>hi</p></html>"), 200, "hi", true),
        (with_length("200 OK", &xhtml), 200, "xxxx", true),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/RPC2\r\nContent-Length: 0\r\n\r\n"
                .to_owned(),
            302,
            "it redirects to http://elsewhere.test/RPC2",
            false,
        ),
    ] {
        let error = answer(raw.clone()).await.unwrap_err();
        let TransportError::NotOpenNebula { status: found, excerpt } = &error else {
            panic!("{raw}: {error:?}")
        };
        assert_eq!(*found, status, "{raw}");
        assert!(excerpt.starts_with(words) && !excerpt.contains('\x1b'), "{raw}: {excerpt}");
        assert!(excerpt.chars().count() <= 201 + 16, "{excerpt}");
        assert_eq!(error.may_have_been_executed(), executed, "{raw}");
    }
}

#[tokio::test]
async fn what_breaks_after_the_request_may_have_been_executed() {
    let half = &ANSWER[..100];
    for raw in [
        String::new(),
        "NONSENSE\r\n\r\n".to_owned(),
        "HTTP/1.1 200".to_owned(),
        with_length("200 OK", ""),
        // Half an answer, with a length and without.
        format!("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{half}"),
        format!("HTTP/1.1 200 OK\r\n\r\n{half}"),
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{half}"),
    ] {
        let error = answer(raw.clone()).await.unwrap_err();
        assert!(matches!(error, TransportError::MaybeSent(_)), "{raw:?}: {error:?}");
        assert!(error.may_have_been_executed() && error.is_transient());
    }
}

#[tokio::test]
async fn a_connection_that_is_closed_unread_is_an_error() {
    let (port, task) = server(|stream| async move { drop(stream) }).await;
    let big = vec![b'x'; 16 << 20];
    let error = transport(port, HttpSettings::default()).exchange(&big, LONG).await.unwrap_err();
    assert!(matches!(error, TransportError::MaybeSent(_)), "{error:?}");
    task.await.unwrap();
}

#[tokio::test]
async fn nobody_there_means_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = transport(port, HttpSettings::default()).exchange(REQUEST, LONG).await.unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error:?}");
    assert!(!error.may_have_been_executed() && error.is_transient());
    let cause = std::error::Error::source(&error).unwrap();
    assert!(cause.to_string().starts_with("Connection refused"), "{cause}");
    assert!(cause.source().is_none());

    let endpoint = Endpoint::parse("http://no-such-name.invalid:2633/RPC2").unwrap();
    let nowhere = HttpTransport::new(endpoint, HttpSettings::default()).unwrap();
    let error = nowhere.exchange(REQUEST, LONG).await.unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error:?}");
}

#[tokio::test]
async fn a_silent_server_ends_at_the_deadline() {
    let (port, task) = server(|mut stream| async move {
        request(&mut stream).await;
        // Until the client hangs up.
        let _ = stream.read(&mut [0; 1]).await;
    })
    .await;
    let short = Duration::from_millis(200);
    let error =
        transport(port, HttpSettings::default()).exchange(REQUEST, short).await.unwrap_err();
    assert!(matches!(error, TransportError::Deadline { after } if after == short), "{error:?}");
    assert!(error.may_have_been_executed());
    task.await.unwrap();
}

#[tokio::test]
async fn an_answer_that_drips_ends_at_the_deadline() {
    let (port, task) = server(|mut stream| async move {
        request(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\n\r\n<?xml version=\"1.0\"?><methodResponse>";
        stream.write_all(head.as_bytes()).await.unwrap();
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let short = Duration::from_millis(300);
    let error =
        transport(port, HttpSettings::default()).exchange(REQUEST, short).await.unwrap_err();
    assert!(matches!(error, TransportError::Deadline { .. }), "{error:?}");
    task.await.unwrap();
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read_to_it() {
    let settings = HttpSettings { answer_limit: 1 << 20, ..Default::default() };
    for head in
        ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"]
    {
        let (port, task) = server(move |mut stream| async move {
            request(&mut stream).await;
            let begin = format!("{head}<?xml version=\"1.0\"?><methodResponse>");
            let _ = stream.write_all(begin.as_bytes()).await;
            let mut bytes = 0_usize;
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {
                bytes += 4096;
            }
            bytes
        })
        .await;
        let error = transport(port, settings.clone()).exchange(REQUEST, LONG).await.unwrap_err();
        assert!(
            matches!(error, TransportError::TooLarge { limit } if limit == 1 << 20),
            "{error:?}"
        );
        // What the sockets hold beyond the limit.
        assert!(task.await.unwrap() < 32 << 20);
    }
}

#[tokio::test]
async fn a_pool_of_a_hundred_megabytes_passes() {
    let head = "<?xml version=\"1.0\"?><methodResponse>";
    let length = 104 << 20;
    let (port, task) = server(move |mut stream| async move {
        request(&mut stream).await;
        let begin = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}");
        stream.write_all(begin.as_bytes()).await.unwrap();
        let tail = "</methodResponse>";
        let mut left = length - head.len() - tail.len();
        let block = vec![b' '; 1 << 20];
        while left > 0 {
            let part = left.min(block.len());
            stream.write_all(&block[..part]).await.unwrap();
            left -= part;
        }
        stream.write_all(tail.as_bytes()).await.unwrap();
    })
    .await;
    let body = transport(port, HttpSettings::default()).exchange(REQUEST, LONG).await.unwrap();
    assert_eq!(body.len(), length);
    task.await.unwrap();
}

/// A TLS server for one connection with the certificate that the CA signed.
fn tls_server() -> u16 {
    tls_server_at("127.0.0.1", include_bytes!("data/server.pem"))
}

/// A TLS server for one connection; answers if the handshake succeeds.
fn tls_server_at(address: &str, certificate: &[u8]) -> u16 {
    let chain = vec![CertificateDer::from_pem_slice(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("data/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = std::net::TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let session = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = rustls::StreamOwned::new(session, socket);
        let mut text = Vec::new();
        let mut part = [0; 4096];
        while !text.ends_with(b"</methodCall>") {
            match stream.read(&mut part) {
                Ok(read) if read > 0 => text.extend_from_slice(&part[..read]),
                _ => return,
            }
        }
        let _ = stream.write_all(with_length("200 OK", ANSWER).as_bytes());
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    port
}

async fn over_tls(url: &str, extra: Option<&[u8]>) -> Result<Vec<u8>, TransportError> {
    let extra_ca_pem = extra.map(<[u8]>::to_vec);
    over_tls_with(url, HttpSettings { extra_ca_pem, ..Default::default() }).await
}

async fn over_tls_with(url: &str, settings: HttpSettings) -> Result<Vec<u8>, TransportError> {
    let settings = HttpSettings { connect_deadline: LONG, ..settings };
    HttpTransport::new(Endpoint::parse(url).unwrap(), settings)
        .unwrap()
        .exchange(REQUEST, LONG)
        .await
}

#[tokio::test]
async fn a_certificate_must_be_trusted() {
    let url = format!("https://localhost:{}/RPC2", tls_server());
    assert_eq!(over_tls(&url, Some(CA)).await.unwrap(), ANSWER.as_bytes());

    let url = format!("https://localhost:{}/RPC2", tls_server());
    let error = over_tls(&url, None).await.unwrap_err();
    assert!(error.to_string().contains("ONE_CERT_DIR"), "{error:?}");
    assert!(!error.may_have_been_executed() && !error.is_transient());

    // The certificate is for localhost and 127.0.0.1.
    let url = format!("https://other.localhost:{}/RPC2", tls_server());
    match over_tls(&url, Some(CA)).await.unwrap_err() {
        error @ TransportError::Tls { .. } => {
            assert!(error.to_string().contains("is not accepted"), "{error}");
        }
        // Not every system resolves names below localhost.
        TransportError::NotSent(_) => println!("skipped: other.localhost has no address here"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_trusted_if_it_is_named() {
    const SELF: &[u8] = include_bytes!("data/self.pem");
    let serve = |address| format!("https://{address}:{}/RPC2", tls_server_at(address, SELF));
    for named in [SELF, &[CA, SELF].concat()] {
        assert_eq!(over_tls(&serve("127.0.0.1"), Some(named)).await.unwrap(), ANSWER.as_bytes());
    }
    // If another one is named; and if it is for other names than this.
    for (address, named, words) in
        [("127.0.0.1", CA, "ONE_CERT_DIR"), ("127.0.0.2", SELF, "is not accepted")]
    {
        let error = over_tls(&serve(address), Some(named)).await.unwrap_err();
        assert!(error.to_string().contains(words), "{address}: {error:?}");
    }
}

#[tokio::test]
async fn no_certificate_is_checked_if_that_is_asked_for() {
    let settings = || HttpSettings { verify: false, ..Default::default() };
    let url = format!("https://localhost:{}/RPC2", tls_server());
    assert_eq!(over_tls_with(&url, settings()).await.unwrap(), ANSWER.as_bytes());
    // It is TLS all the same.
    let (port, _task) = server(|stream| async move { drop(stream) }).await;
    let url = format!("https://127.0.0.1:{port}/RPC2");
    assert!(!over_tls_with(&url, settings()).await.unwrap_err().may_have_been_executed());
}

#[tokio::test]
async fn tls_to_a_plain_port_says_so() {
    let (port, _task) = server(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        let _ = stream.write_all(with_length("400 Bad Request", "plain").as_bytes()).await;
    })
    .await;
    let error = over_tls(&format!("https://127.0.0.1:{port}/RPC2"), None).await.unwrap_err();
    assert!(error.to_string().contains("is it http://"), "{error:?}");
}

#[tokio::test]
async fn a_handshake_that_stalls_has_not_sent_anything() {
    let (port, task) = server(|mut stream| async move {
        // Takes the greeting and says nothing, until the client hangs up.
        while stream.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0) {}
    })
    .await;
    let endpoint = Endpoint::parse(&format!("https://127.0.0.1:{port}/RPC2")).unwrap();
    let settings =
        HttpSettings { connect_deadline: Duration::from_millis(200), ..Default::default() };
    let stalled = HttpTransport::new(endpoint, settings).unwrap();
    let error = stalled.exchange(REQUEST, LONG).await.unwrap_err();
    assert!(matches!(error, TransportError::NotSent(_)), "{error:?}");
    task.await.unwrap();
}

#[tokio::test]
async fn a_proxy_is_used_for_other_machines_only() {
    let (port, task) = server(|mut stream| async move {
        let head = request(&mut stream).await;
        stream.write_all(with_length("200 OK", ANSWER).as_bytes()).await.unwrap();
        head
    })
    .await;
    let proxy = model::Secret::new(format!("http://u:s3cret@127.0.0.1:{port}"));
    let settings = HttpSettings { proxy: Some(proxy), ..Default::default() };
    assert!(!format!("{settings:?}").contains("s3cret"));
    let far = Endpoint::parse("http://far.invalid:2633/RPC2").unwrap();
    let far = HttpTransport::new(far, settings.clone()).unwrap();
    far.exchange(REQUEST, LONG).await.unwrap();
    assert!(task.await.unwrap().starts_with("POST http://far.invalid:2633/RPC2 "));

    // The proxy takes no further connection, so this goes to the endpoint itself.
    let (port, task) = server(|mut stream| async move {
        let head = request(&mut stream).await;
        stream.write_all(with_length("200 OK", ANSWER).as_bytes()).await.unwrap();
        head
    })
    .await;
    transport(port, settings).exchange(REQUEST, LONG).await.unwrap();
    assert!(task.await.unwrap().starts_with("POST /RPC2 "));
}

#[test]
fn a_ca_file_must_hold_a_certificate() {
    for pem in [&b""[..], b"junk", include_bytes!("data/server.key")] {
        let settings = HttpSettings { extra_ca_pem: Some(pem.to_vec()), ..Default::default() };
        let made = HttpTransport::new(Endpoint::parse("http://localhost").unwrap(), settings);
        assert!(matches!(made, Err(HttpError::Ca)));
    }
}
