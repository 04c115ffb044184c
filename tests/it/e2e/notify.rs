//! What systemd is told, and when.

use std::os::unix::net::UnixDatagram;

use crate::support::{PATIENCE, daemon::Plimsoll, http};

const CONFIG: &str = r#"
version: 1
daemon: {listen: "@LISTEN@", data_dir: "@DATA@"}
targets:
  nobody: {base_url: "http://127.0.0.1:9"}
scenarios:
  by_hand:
    load: {executor: probe}
    steps:
      - get: /
"#;

/// The next message; panics if none comes.
async fn next(socket: &std::sync::Arc<UnixDatagram>) -> String {
    let socket = socket.clone();
    let read = move || {
        let mut bytes = [0; 512];
        let length = socket.recv(&mut bytes).expect("a message from the daemon");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    tokio::task::spawn_blocking(read).await.expect("it does not panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_told_ready_watchdog_and_stopping() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notify");
    let socket = std::sync::Arc::new(UnixDatagram::bind(&path).expect("a socket"));
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let environment = [("NOTIFY_SOCKET", path.to_str().expect("a plain path"))];
    let mut daemon = Plimsoll::start(CONFIG, &environment);

    assert_eq!(next(&socket).await.trim(), "READY=1");
    // Whoever is told so may come at once.
    for path in ["/-/ready", "/"] {
        let response = http().get(daemon.url(path)).send().await.expect("the page answers");
        assert_eq!(response.status(), 200, "{path}");
    }
    for _ in 0..3 {
        assert_eq!(next(&socket).await.trim(), "WATCHDOG=1");
    }
    daemon.process.signal(rustix::process::Signal::TERM);
    let told = loop {
        match next(&socket).await {
            ping if ping.trim() == "WATCHDOG=1" => {}
            other => break other,
        }
    };
    assert_eq!(told.trim(), "STOPPING=1");
    assert!(daemon.wait_end(PATIENCE).await.success());
}
