//! A client that is not ours: `pyone`, the official Python binding of OpenNebula, over HTTP.
//!
//! Where Python or the package (`pip install pyone`) is missing, the test says so and ends.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy's own exception for tests does not cover their helpers"
)]

use std::process::Stdio;
use std::time::Duration;

use sandbox::{Sandbox, SandboxSettings, ServeSettings, Synchronous, Version, serve};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

async fn has_pyone() -> bool {
    let found = Command::new("python3").args(["-c", "import pyone"]).output().await;
    let found = found.is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: python3 with pyone is not installed");
    }
    found
}

async fn run(version: Version) {
    if !has_pyone().await {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = SandboxSettings {
        version,
        synchronous: Synchronous::Off,
        async_delay: Duration::from_millis(30),
        ..SandboxSettings::default()
    };
    let sandbox = Sandbox::open(&folder.path().join("sandbox.db"), settings).unwrap();
    let session = sandbox.session();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/RPC2", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shutdown = async { _ = stopped.await };
    let server = tokio::spawn(serve(listener, sandbox, ServeSettings::default(), shutdown));

    let mut client = Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pyone_client.py"))
        .args([endpoint.as_str(), version.as_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    stdin.write_all(session.expose().as_bytes()).await.unwrap();
    drop(stdin);
    let output = client.wait_with_output().await.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "all good\n", "{stderr}");
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn pyone_works_with_6_10() {
    run(Version::V6_10).await;
}

#[tokio::test]
async fn pyone_works_with_7_4() {
    run(Version::V7_4).await;
}
