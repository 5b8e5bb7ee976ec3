//! The program with TLS, tokens and certificates, and without.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use leeway_contract::Digest;
use leeway_runtime::offload::fog::{Fog as _, FogAccess, FogError, HttpFog, Pushed};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;

use crate::program::{Program, run};
use crate::support::component;
use crate::testing::TestModel;

const LIMIT: Duration = Duration::from_secs(60);

/// A certificate, key or authority of the tests.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/fixtures").join(name)
}

/// A directory with the host's certificate and a file of clients: `infer`, `push`
/// and `admin` by tokens of these names, the device by its certificate.
fn prepared() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let place = |from: &str, to: &str| {
        fs::copy(fixture(from), directory.path().join(to)).unwrap();
    };
    place("host.pem", "host.pem");
    place("host.key", "host.key");
    let mut clients = String::new();
    for name in ["infer", "push", "admin"] {
        let sha256 = Digest::of(name.as_bytes()).to_hex();
        clients += &format!(
            "[[token]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\nscopes = [\"{name}\"]\n"
        );
        fs::write(directory.path().join(name), format!("{name}\n")).unwrap();
    }
    let device = CertificateDer::from_pem_file(fixture("device.pem")).unwrap();
    let sha256 = Digest::of(&device).to_hex();
    clients += &format!(
        "[[certificate]]\nname = \"device-7\"\nsha256 = \"{sha256}\"\nscopes = [\"push\"]\n"
    );
    fs::write(directory.path().join("clients.toml"), clients).unwrap();
    directory
}

fn start(directory: &Path) -> Program {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let authority = fixture("ca.pem");
    Program::start(
        directory,
        &[
            "--tls-certificate",
            &path("host.pem"),
            "--tls-key",
            &path("host.key"),
            "--tls-client-authority",
            authority.to_str().unwrap(),
            "--clients",
            &path("clients.toml"),
        ],
    )
}

/// What a device with these files sees.
fn fog(program: &Program, certificate: Option<&str>, token: Option<&Path>) -> HttpFog {
    let key = certificate.map(|name| fixture(&format!("{name}.key")));
    let certificate = certificate.map(|name| fixture(&format!("{name}.pem")));
    let pair = certificate.as_deref().zip(key.as_deref());
    let access = FogAccess::read(Some(&fixture("ca.pem")), pair, token).unwrap();
    HttpFog::with_access(&format!("https://{}", program.address), &access).unwrap()
}

fn status(result: Result<Pushed, FogError>) -> Result<Pushed, u16> {
    result.map_err(|error| match error {
        FogError::Refused { status, .. } => status,
        error => panic!("{error}"),
    })
}

/// The certificate that the host shows.
fn shown(program: &Program) -> Vec<u8> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(fixture("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, program.connect());
    let head = "GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn each_client_may_do_what_its_scopes_say() {
    let directory = prepared();
    let program = start(directory.path());
    let component = component(&TestModel::scaling(2.0));
    let digest = Digest::of(&component);
    let token = |name: &str| directory.path().join(name);
    let push = |fog: &HttpFog| status(fog.push(digest, &component, LIMIT));
    assert_eq!(push(&fog(&program, None, None)), Err(401));
    assert_eq!(push(&fog(&program, None, Some(&token("infer")))), Err(403));
    assert_eq!(push(&fog(&program, None, Some(&token("push")))), Ok(Pushed::Sent));
    assert_eq!(push(&fog(&program, Some("device"), None)), Ok(Pushed::AlreadyThere));
    assert_eq!(push(&fog(&program, None, Some(&token("admin")))), Ok(Pushed::AlreadyThere));
    // A certificate by somebody else's authority ends the handshake.
    let stranger = fog(&program, Some("stranger"), None).push(digest, &component, LIMIT);
    assert!(
        stranger.as_ref().is_err_and(FogError::is_of_link)
            || matches!(stranger, Err(FogError::Malformed(_))),
        "{stranger:?}"
    );
    // And without TLS nothing is answered.
    let plain = HttpFog::new(&format!("http://{}", program.address)).unwrap();
    assert!(plain.push(digest, &component, LIMIT).is_err());

    let audit = fs::read_to_string(directory.path().join("fog/audit.jsonl")).unwrap();
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |client: &str| {
        let line = lines.iter().find(|line| line["client"] == client);
        line.unwrap_or_else(|| panic!("nothing of {client}: {audit}"))
    };
    assert_eq!(of("127.0.0.1")["action"], "push");
    assert!(of("infer")["outcome"].as_str().unwrap().contains("scope"));
    assert_eq!(of("push")["outcome"], "done");
    for name in ["infer", "push", "admin"] {
        let text = fs::read_to_string(directory.path().join("log")).unwrap();
        assert!(!text.contains(&format!("Bearer {name}")));
    }
}

#[test]
fn certificates_and_clients_are_read_again() {
    let directory = prepared();
    let program = start(directory.path());
    let first = shown(&program);
    let component = component(&TestModel::scaling(2.0));
    let digest = Digest::of(&component);
    let token = directory.path().join("push");
    let kept = fog(&program, None, Some(&token));
    assert_eq!(status(kept.push(digest, &component, LIMIT)), Ok(Pushed::Sent));

    // Wrong files change nothing.
    let clients = directory.path().join("clients.toml");
    fs::write(&clients, "[[token]]\nname = 1\n").unwrap();
    fs::copy(fixture("host-again.pem"), directory.path().join("host.pem")).unwrap();
    fs::copy(fixture("host-again.key"), directory.path().join("host.key")).unwrap();
    program.signal("-HUP");
    await_log(directory.path(), "nothing was read again");
    assert_eq!(shown(&program), first);
    assert_eq!(status(kept.push(digest, &component, LIMIT)), Ok(Pushed::AlreadyThere));

    let sha256 = Digest::of(b"other").to_hex();
    let text =
        format!("[[token]]\nname = \"other\"\nsha256 = \"{sha256}\"\nscopes = [\"infer\"]\n");
    fs::write(&clients, text).unwrap();
    program.signal("-HUP");
    await_log(directory.path(), "were read again");
    assert_ne!(shown(&program), first);
    // A connection that is open does not keep an old token alive.
    assert_eq!(status(kept.push(digest, &component, LIMIT)), Err(401));
}

fn await_log(directory: &Path, words: &str) {
    while !fs::read_to_string(directory.join("log")).unwrap().contains(words) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_open_address_without_protection_is_refused_until_it_is_wanted_in_plain_words() {
    let said = |arguments: &[&str]| {
        let output = run(arguments);
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let listen = ["--listen", "0.0.0.0:0"];
    assert!(said(&listen).contains("--without-tls"));
    let no_tls = said(&[&listen[..], &["--without-tls"]].concat());
    assert!(no_tls.contains("--without-authentication"), "{no_tls}");
    let clients = [&listen[..], &["--clients", "/nowhere/clients.toml"]].concat();
    assert!(said(&clients).contains("--tls-certificate"));
    let missing = said(&["--clients", "/nowhere/clients.toml"]);
    assert!(missing.contains("/nowhere/clients.toml"), "{missing}");

    let directory = tempfile::tempdir().unwrap();
    let open = ["--without-tls", "--without-authentication"];
    let program = Program::start(directory.path(), &[&listen[..], &open].concat());
    assert!(program.address.ip().is_unspecified());
}

#[test]
fn a_new_token_is_printed_once_and_only_its_hash_is_for_the_file() {
    let output = run(&["token", "gateway-7", "--scopes", "infer,push"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let (comment, entry) = text.split_once('\n').unwrap();
    let token = comment.rsplit(' ').next().unwrap();
    assert_eq!(token.len(), 64);
    let hash = Digest::of(token.as_bytes()).to_hex();
    assert!(entry.contains(&hash) && !entry.contains(token), "{text}");
    assert!(entry.contains("scopes = [\"infer\", \"push\"]"), "{entry}");
}
