//! Against a real registry: Debian's docker-registry, which has no referrers API.
//! `cargo test -p leeway-distribution -- --ignored`; `.ci/run` does.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};

use leeway_contract::Digest;

use super::server::Server;
use super::{Registry, RegistryOptions, testing};
use crate::{Artifact, DistributionError, ModuleReference};

/// A module of this name in the registry.
fn named(server: &Server, name: &str) -> ModuleReference {
    server.reference(name).parse().unwrap()
}

/// The file in which the registry keeps a blob.
fn blob_file(server: &Server, digest: Digest) -> std::path::PathBuf {
    let hex = digest.to_hex();
    let blobs = server.storage().join("docker/registry/v2/blobs/sha256");
    blobs.join(&hex[..2]).join(hex).join("data")
}

async fn open(reference: &ModuleReference) -> Registry {
    let options = RegistryOptions { retries: 1, ..RegistryOptions::default() };
    Registry::new(reference, options).await.unwrap()
}

fn artifact(version: &str) -> Artifact {
    Artifact::of_component(testing::component("digits", version)).unwrap()
}

#[tokio::test]
#[ignore = "needs Debian's docker-registry"]
async fn a_module_comes_back_by_tag_and_by_digest() {
    let server = Server::start();
    let reference = named(&server, "models/digits:1.2.0");
    let (registry, artifact) = (open(&reference).await, artifact("1.2.0"));
    let digest = registry.push(&reference, &artifact).await.unwrap();
    assert_eq!(registry.push(&reference, &artifact).await.unwrap(), digest);

    let by_digest = named(&server, &format!("models/digits@{digest}"));
    for reference in [&reference, &by_digest] {
        let resolved = registry.resolve(reference).await.unwrap();
        assert_eq!(resolved.manifest.digest, digest);
        assert_eq!(resolved.component.digest, Digest::of(&artifact.component));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.wasm");
        registry.fetch_file(reference, &resolved, &path, &|_| ()).await.unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), artifact.component);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    let missing = named(&server, "models/digits:9");
    let error = registry.resolve(&missing).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("models/digits:9"), "{error}");
}

#[tokio::test]
#[ignore = "needs Debian's docker-registry"]
async fn what_arrived_is_not_fetched_again() {
    let server = Server::start();
    let reference = named(&server, "digits:1");
    let (registry, artifact) = (open(&reference).await, artifact("1"));
    registry.push(&reference, &artifact).await.unwrap();
    let resolved = registry.resolve(&reference).await.unwrap();
    let blob = &resolved.component;
    let mut rest = Vec::new();
    registry.fetch(&reference, blob, 100, &mut rest).await.unwrap();
    assert_eq!(rest, artifact.component[100..]);

    // A part with a wrong byte in it is found out at the end, and thrown away.
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join(format!(".{}.part", blob.digest.to_hex()));
    std::fs::write(&part, vec![0; 100]).unwrap();
    let path = folder.path().join("model.wasm");
    let error = registry.fetch_file(&reference, &resolved, &path, &|_| ()).await.unwrap_err();
    assert!(matches!(error, DistributionError::Digest { .. }), "{error}");
    assert!(!path.exists() && !part.exists());
    std::fs::write(&part, &artifact.component[..100]).unwrap();
    registry.fetch_file(&reference, &resolved, &path, &|_| ()).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), artifact.component);
}

#[tokio::test]
#[ignore = "needs Debian's docker-registry"]
async fn a_registry_that_lies_is_found_out() {
    let server = Server::start();
    let reference = named(&server, "digits:1");
    let (registry, artifact) = (open(&reference).await, artifact("1"));
    registry.push(&reference, &artifact).await.unwrap();
    let resolved = registry.resolve(&reference).await.unwrap();
    let file = blob_file(&server, resolved.component.digest);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.wasm");
    assert!(registry.fetch_file(&reference, &resolved, &path, &|_| ()).await.is_err());
    assert!(!path.exists());
    bytes.truncate(60);
    std::fs::write(&file, &bytes).unwrap();
    assert!(registry.fetch_file(&reference, &resolved, &path, &|_| ()).await.is_err());
    assert!(!path.exists());
}

#[tokio::test]
#[ignore = "needs Debian's docker-registry"]
async fn signatures_are_found_by_what_they_sign() {
    let server = Server::start();
    let reference = named(&server, "digits:1");
    let (registry, one) = (open(&reference).await, artifact("1"));
    registry.push(&reference, &one).await.unwrap();
    let resolved = registry.resolve(&reference).await.unwrap();
    assert_eq!(registry.signatures(&reference, &resolved).await.unwrap(), Vec::<Vec<u8>>::new());
    for signature in ["first", "second", "first"] {
        registry.attach(&reference, &one.descriptor(), signature.as_bytes()).await.unwrap();
    }
    let signatures = registry.signatures(&reference, &resolved).await.unwrap();
    assert_eq!(signatures, [b"first".to_vec(), b"second".to_vec()]);

    let other = named(&server, "digits:2");
    registry.push(&other, &artifact("2")).await.unwrap();
    let resolved = registry.resolve(&other).await.unwrap();
    assert!(registry.signatures(&other, &resolved).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named() {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let reference: ModuleReference = format!("oci://127.0.0.1:{port}/digits:1").parse().unwrap();
    let error = open(&reference).await.resolve(&reference).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("digits:1"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_no_registry_is_an_error() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = std::io::Write::write_all(
                &mut stream,
                b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n<a>",
            );
        }
    });
    let reference: ModuleReference = format!("oci://127.0.0.1:{port}/digits:1").parse().unwrap();
    let error = open(&reference).await.resolve(&reference).await.unwrap_err();
    assert!(error.to_string().contains("digits:1"), "{error}");
}
