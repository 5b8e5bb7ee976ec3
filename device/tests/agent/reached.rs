//! The agent over TCP with TLS: by certificate, by token, and by nobody else.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use leeway_client::{Access, Client, ClientError};
use leeway_contract::Digest;
use leeway_control::Status;
use tempfile::TempDir;

use crate::running::{Running, Start, UNSIGNED};

const TOKEN: &str = "a-token-of-some-length";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/fixtures").join(name)
}

/// A folder with the device's certificate, who signs clients', and a token.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["host.pem", "host.key", "ca.pem"] {
        fs::copy(fixture(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("token"), format!("{TOKEN}\n")).unwrap();
    folder
}

const TLS: &str = "certificate = \"host.pem\"\nkey = \"host.key\"\n";
const AUTHORITY: &str = "client_authority = \"ca.pem\"\n";

fn config(address: SocketAddr, settings: &str) -> String {
    format!("{UNSIGNED}[tcp]\nlisten = \"{address}\"\n{settings}")
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An agent with TLS and these settings besides.
fn start(folder: &Path, settings: &str) -> (Running, SocketAddr) {
    let address = free();
    let config = config(address, &format!("{TLS}{settings}"));
    let running = Running::start(folder, &Start { config: &config, ..Start::default() });
    running.wait("it listens", |_| TcpStream::connect(address).is_ok());
    (running, address)
}

/// Asks with a certificate, or a token in the folder, or neither.
fn ask(
    folder: &Path,
    address: SocketAddr,
    certificate: Option<&str>,
    token: bool,
) -> Result<Status, ClientError> {
    let key = certificate.map(|name| fixture(&format!("{name}.key")));
    let certificate = certificate.map(|name| fixture(&format!("{name}.pem")));
    let pair = certificate.as_deref().zip(key.as_deref());
    let token = token.then(|| folder.join("token"));
    let access = Access::read(Some(&fixture("ca.pem")), pair, token.as_deref()).unwrap();
    Client::with_access(&format!("https://{address}"), &access).unwrap().status()
}

fn refused(result: Result<Status, ClientError>) -> u16 {
    match result {
        Err(ClientError::Status { status, .. }) => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_shows_a_believed_certificate_is_served_and_without_one_there_is_no_connection() {
    let folder = folder();
    let (_running, address) = start(folder.path(), AUTHORITY);
    let ask = |certificate| ask(folder.path(), address, certificate, false);
    ask(Some("operator")).unwrap();
    ask(Some("device")).unwrap();
    for stranger in [Some("stranger"), None] {
        let error = ask(stranger).unwrap_err();
        assert!(error.is_unreachable(), "{stranger:?}: {error}");
    }
    let mut plain = TcpStream::connect(address).unwrap();
    plain.write_all(b"GET /v1/status HTTP/1.1\r\nhost: device\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("TLS"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
}

#[test]
fn a_token_is_enough_and_of_certificates_those_of_known_clients() {
    let folder = folder();
    let clients = "clients = [\"operator.example.org\"]\ntoken_file = \"token\"\n";
    let (_running, address) = start(folder.path(), &format!("{AUTHORITY}{clients}"));
    let ask = |certificate, token| ask(folder.path(), address, certificate, token);
    ask(Some("operator"), false).unwrap();
    ask(None, true).unwrap();
    ask(Some("device"), true).unwrap();
    assert_eq!(refused(ask(Some("device"), false)), 401);
    assert_eq!(refused(ask(None, false)), 401);
    assert!(ask(Some("stranger"), true).unwrap_err().is_unreachable());
}

/// One who connects and says nothing does not keep others from being heard.
#[test]
fn the_silent_hold_nobody_up() {
    let folder = folder();
    let (_running, address) = start(folder.path(), "token_file = \"token\"\n");
    let silent: Vec<_> = (0..8).map(|_| TcpStream::connect(address).unwrap()).collect();
    ask(folder.path(), address, None, true).unwrap();
    drop(silent);
}

/// The certificate that the device shows.
fn shown(address: SocketAddr) -> Digest {
    let command = ["s_client", "-connect", &address.to_string(), "-showcerts"].map(str::to_owned);
    let output =
        Command::new("openssl").args(command).stdin(Stdio::null()).output().expect("openssl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let begin = text.find("-----BEGIN CERTIFICATE").expect(&text);
    Digest::of(text[begin..].split("-----END").next().unwrap().as_bytes())
}

#[test]
fn files_are_read_again_and_wrong_ones_leave_what_was() {
    let folder = folder();
    let of = |name: &str| fs::read(fixture(name)).unwrap();
    let place = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let (running, address) = start(folder.path(), "token_file = \"token\"\n");
    let before = shown(address);
    let access = Access::read(Some(&fixture("ca.pem")), None, Some(&folder.path().join("token")));
    let kept = Client::with_access(&format!("https://{address}"), &access.unwrap()).unwrap();
    kept.status().unwrap();

    // Another certificate without its key, and another token: none of it is taken.
    place("host.pem", &of("host-again.pem"));
    place("token", b"another-token-of-some-length");
    running.signal("-HUP");
    running.wait("it is told", |running| running.log().contains("was not read again"));
    assert_eq!(shown(address), before);
    kept.status().unwrap();
    assert_eq!(refused(ask(folder.path(), address, None, true)), 401);

    place("host.key", &of("host-again.key"));
    running.signal("-HUP");
    running
        .wait("it is told", |running| running.log().contains("the configuration was read again"));
    assert_ne!(shown(address), before);
    ask(folder.path(), address, None, true).unwrap();
    // A connection that is open does not keep an old token alive.
    assert_eq!(refused(kept.status()), 401);
}

#[test]
fn what_protects_nothing_is_not_begun() {
    let folder = folder();
    let open: SocketAddr = "0.0.0.0:0".parse().unwrap();
    for (settings, wanted) in [
        ("token_file = \"token\"\n", "plaintext = true"),
        ("certificate = \"host.pem\"\nkey = \"host.key\"\n", "everybody"),
        ("token_file = \"token\"\ncertificate = \"host.pem\"\nkey = \"ca.pem\"\n", "ca.pem"),
    ] {
        let file = folder.path().join("device.toml");
        let text = format!("root = \"root\"\nsocket = \"socket\"\n{}", config(open, settings));
        fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_leeway-device"))
            .arg("--config")
            .arg(&file)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(wanted), "{settings}: {said}");
    }
    let plain = config(open, "token_file = \"token\"\nplaintext = true\n");
    Running::start(folder.path(), &Start { config: &plain, ..Start::default() });
}
