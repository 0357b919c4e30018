//! The server, spoken to byte by byte.

use std::time::Duration;

use model::Secret;
use opennebula::xmlrpc::{MethodCall, Param, write_call};
use sandbox::{Sandbox, SandboxTransport, ServeSettings, Version, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{Answer, settings};

struct Server {
    address: std::net::SocketAddr,
    session: Secret,
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

async fn start(limits: ServeSettings) -> Server {
    let sandbox = Sandbox::in_memory(settings(Version::V7_4).0).unwrap();
    let session = sandbox.session();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { _ = stopped.await };
    let task = tokio::spawn(serve(listener, sandbox, limits, shutdown));
    Server { address, session, stop, task }
}

impl Server {
    fn version_call(&self) -> Vec<u8> {
        let params = vec![Param::from(self.session.expose())];
        write_call(&MethodCall { method: "one.system.version".into(), params }).unwrap()
    }

    /// Sends bytes and reads until the server closes: status line, and body.
    async fn exchange(&self, request: &[u8]) -> (String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request).await.unwrap();
        read(&mut stream).await
    }
}

async fn read(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = stream.read_to_end(&mut answer).await;
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    let status = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
    (status, answer.split_off(head))
}

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes();
    request.extend_from_slice(body);
    request
}

fn with_length(body: &[u8]) -> Vec<u8> {
    post("/RPC2", &format!("Content-Length: {}\r\n", body.len()), body)
}

#[tokio::test]
async fn calls_are_answered_and_the_connection_closed() {
    let server = start(ServeSettings::default()).await;
    let call = server.version_call();
    let keep_alive = format!(
        "Connection: keep-alive\r\nContent-Length: {}\r\nExpect: 100-continue\r\n",
        call.len()
    );
    for request in [with_length(&call), post("/RPC2", &keep_alive, &call)] {
        let (status, body) = server.exchange(&request).await;
        let body = match status.as_str() {
            // What follows an interim answer is the answer.
            "HTTP/1.1 100 Continue" => {
                let at = body.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
                body[at..].to_vec()
            }
            _ => {
                assert_eq!(status, "HTTP/1.1 200 OK");
                body
            }
        };
        assert_eq!(Answer::of(&body), Answer::Value("7.4.0".into()));
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&with_length(&call)).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    server.stop.send(()).unwrap();
    server.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn what_is_no_call_gets_the_code_of_oned() {
    let limits = ServeSettings { max_body: 1000, ..ServeSettings::default() };
    let server = start(limits).await;
    let call = server.version_call();
    let chunked = post("/RPC2", "Transfer-Encoding: chunked\r\n", b"0\r\n\r\n");
    for (request, expected) in [
        (b"GET /RPC2 HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "405"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), "404"),
        (post("/nope", "Content-Length: 0\r\n", b""), "404"),
        (post("/RPC2", "", b""), "411"),
        (chunked, "411"),
        (post("/RPC2", "Content-Length: 0\r\n", b""), "400"),
        (post("/RPC2", "Content-Length: 2147483648\r\n", &call), "413"),
        (with_length(&vec![b' '; 1001]), "413"),
        (b"NONSENSE\r\n\r\n".to_vec(), "400"),
    ] {
        let (status, _) = server.exchange(&request).await;
        let code = status.split(' ').nth(1).unwrap_or_default();
        assert_eq!(code, expected, "{}", String::from_utf8_lossy(&request));
    }
    let (_, page) = server.exchange(b"GET /<b> HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(!String::from_utf8_lossy(&page).contains("<b>"));
    let (status, body) = server.exchange(&with_length(b"hello world")).await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(matches!(Answer::of(&body), Answer::Fault { code: -503, .. }));
}

#[tokio::test]
async fn a_slow_sender_is_sent_away() {
    let limits = ServeSettings { receive: Duration::from_millis(50), ..ServeSettings::default() };
    let server = start(limits).await;
    let (status, _) = server.exchange(&post("/RPC2", "Content-Length: 100\r\n", b"half")).await;
    assert!(status.contains(" 408 "), "{status}");
    // Half a head gets no answer, but an end.
    let (status, body) = server.exchange(b"POST /RPC2 HT").await;
    assert!(status.is_empty() || status.contains(" 4"), "{status} {body:?}");
}

#[tokio::test]
async fn more_connections_than_places_wait_their_turn() {
    let limits = ServeSettings { connections: 2, ..ServeSettings::default() };
    let server = start(limits).await;
    let call = with_length(&server.version_call());
    let mut idle = vec![
        TcpStream::connect(server.address).await.unwrap(),
        TcpStream::connect(server.address).await.unwrap(),
    ];
    let mut third = TcpStream::connect(server.address).await.unwrap();
    third.write_all(&call).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(50), read(&mut third)).await;
    assert!(waited.is_err(), "served although both places were taken");
    drop(idle.pop());
    let (status, _) = read(&mut third).await;
    assert_eq!(status, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn many_at_once_are_all_answered() {
    let server = start(ServeSettings::default()).await;
    let request = with_length(&server.version_call());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (address, request) = (server.address, request.clone());
        tasks.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&request).await.unwrap();
            read(&mut stream).await.0
        });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), "HTTP/1.1 200 OK");
    }
}

#[tokio::test]
async fn the_client_gets_there_without_a_socket() {
    use opennebula::Transport as _;
    let sandbox = Sandbox::in_memory(settings(Version::V6_10).0).unwrap();
    let params = vec![Param::from(sandbox.session().expose())];
    let call = write_call(&MethodCall { method: "one.system.version".into(), params }).unwrap();
    let transport = SandboxTransport::new(sandbox);
    assert_eq!(transport.endpoint(), "sandbox:memory");
    let answer = transport.exchange(&call, Duration::from_secs(60)).await.unwrap();
    assert_eq!(Answer::of(&answer), Answer::Value("6.10.0".into()));
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_no_answer() {
    use opennebula::{Transport as _, TransportError};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.db");
    let sandbox = Sandbox::open(&path, settings(Version::V7_4).0).unwrap();
    let params = vec![Param::from(sandbox.session().expose()), "c".into()];
    let call = write_call(&MethodCall { method: "one.cluster.allocate".into(), params }).unwrap();
    let transport = SandboxTransport::new(sandbox);
    // Another process is writing.
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = transport.exchange(&call, Duration::from_millis(20)).await.unwrap_err();
    assert!(matches!(error, TransportError::Deadline { .. }), "{error}");
    assert!(error.may_have_been_executed());
    other.execute_batch("ROLLBACK").unwrap();
    // And indeed: it was executed afterwards, so the name is taken.
    let again = transport.exchange(&call, Duration::from_secs(60)).await.unwrap();
    assert_eq!(Answer::of(&again).error().0, 16384);
}
