//! Clients that hold a connection and say nothing, too little or too slowly, over TCP: the
//! operator is heard all the same.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use leeway_client::{Access, Client};

use crate::running::{Running, Start, UNSIGNED};

const TOKEN: &str = "a-token-of-some-length";
const HEAD: &[u8] = b"GET /v2/health/live HTTP/1.1\r\nhost: device\r\n";

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/fixtures").join(name)
}

/// An agent with four connections at most, and these settings besides.
fn start(folder: &Path, settings: &str) -> (Running, SocketAddr) {
    std::fs::write(folder.join("token"), TOKEN).unwrap();
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!(
        "{UNSIGNED}[tcp]\nlisten = \"{address}\"\ntoken_file = \"token\"\nconnections = 4\n{settings}"
    );
    let running = Running::start(folder, &Start { config: &config, ..Start::default() });
    running.wait("it listens", |_| TcpStream::connect(address).is_ok());
    (running, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    stream
}

/// What comes until the agent closes the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let closed = stream.read_to_end(&mut bytes);
    let kind = closed.err().map(|error| error.kind());
    assert_ne!(kind, Some(std::io::ErrorKind::WouldBlock), "it is not closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn whoever_does_not_come_to_the_end_of_a_head_makes_room_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let (_running, address) = start(folder.path(), "head_s = 1\n");
    let mut slow: Vec<TcpStream> = (0..12).map(|_| connect(address)).collect();
    for stream in &mut slow {
        stream.write_all(HEAD).unwrap();
    }
    let client = Client::new(&format!("http://{address}"), Some(TOKEN.to_owned())).unwrap();
    client.status().unwrap();
    for stream in &mut slow {
        let answer = rest(stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[test]
fn whoever_does_not_shake_hands_makes_room_for_others() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (fixture("host.pem"), fixture("host.key"));
    let tls = format!(
        "certificate = \"{}\"\nkey = \"{}\"\nhead_s = 1\n",
        certificate.display(),
        key.display()
    );
    let (_running, address) = start(folder.path(), &tls);
    let mut silent: Vec<TcpStream> = (0..12).map(|_| connect(address)).collect();
    for stream in silent.iter_mut().step_by(2) {
        // The beginning of a handshake.
        stream.write_all(&[22, 3, 1]).unwrap();
    }
    let token = folder.path().join("token");
    let access = Access::read(Some(&fixture("ca.pem")), None, Some(&token)).unwrap();
    Client::with_access(&format!("https://{address}"), &access).unwrap().status().unwrap();
    for stream in &mut silent {
        assert_eq!(rest(stream), "");
    }
}

#[test]
fn a_connection_that_idles_stays_for_a_while_and_then_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let (_running, address) = start(folder.path(), "idle_s = 5\n");
    let mut idle: Vec<TcpStream> = (0..4).map(|_| connect(address)).collect();
    for stream in &mut idle {
        // Twice on the same connection.
        for _ in 0..2 {
            stream.write_all(&[HEAD, b"\r\n"].concat()).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"HTTP/1.1 401");
            // The rest of this answer.
            let mut byte = [0];
            while byte != *b"}" {
                stream.read_exact(&mut byte).unwrap();
            }
        }
    }
    // All places are taken, until they are given back.
    let client = Client::new(&format!("http://{address}"), Some(TOKEN.to_owned())).unwrap();
    client.status().unwrap();
    for stream in &mut idle {
        assert_eq!(rest(stream), "");
    }
}
