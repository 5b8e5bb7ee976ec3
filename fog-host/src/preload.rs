//! Components in files that are there when the host begins, such as what KServe puts
//! into a container: pushed and named before anything is listened to.

use std::path::{Path, PathBuf};
use std::{fs, io};

use bytes::Bytes;
use leeway_contract::Digest;

use crate::catalog::{ModelName, Older, Release};
use crate::host::Host;
use crate::modules::Incoming;

/// Components to have from the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preload {
    /// A component, or a directory with some, named `*.wasm`.
    pub path: PathBuf,
    /// What they are served as; `None` is the name in the certificate. Versions are
    /// the certificates'.
    pub name: Option<String>,
}

/// Why a file cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot load {}: {reason}", path.display())]
pub struct PreloadError {
    path: PathBuf,
    reason: String,
}

/// Pushes and names all components.
pub(crate) async fn preload(host: &Host, preload: &Preload) -> Result<(), PreloadError> {
    let failed = |path: &Path, reason: &dyn std::fmt::Display| PreloadError {
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let files = components(&preload.path).map_err(|error| failed(&preload.path, &error))?;
    if files.is_empty() {
        return Err(failed(&preload.path, &"there is no *.wasm in it"));
    }
    for file in files {
        let (digest, name, version) = one(host, &file, preload.name.as_deref())
            .await
            .map_err(|reason| failed(&file, &reason))?;
        tracing::info!(file = %file.display(), %digest, %name, %version, "a component was loaded");
    }
    Ok(())
}

/// The file itself, or those of a directory, in an order that is always the same.
fn components(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wasm"));
    files.sort();
    Ok(files)
}

/// What `leeway sign` has written beside a component, `MODEL.wasm.sig`.
fn signature(component: &Path) -> io::Result<Option<Bytes>> {
    let mut name = component.as_os_str().to_owned();
    name.push(".sig");
    match fs::read(name) {
        Ok(json) => Ok(Some(json.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn one(
    host: &Host,
    file: &Path,
    name: Option<&str>,
) -> Result<(Digest, ModelName, ModelName), String> {
    let bytes = Bytes::from(fs::read(file).map_err(|error| error.to_string())?);
    let digest = Digest::of(&bytes);
    let envelope = signature(file).map_err(|error| format!("its signature: {error}"))?;
    let incoming = Incoming { digest, bytes: bytes.clone(), envelope: envelope.clone() };
    let module = host.modules.load(incoming).await.map_err(|error| error.to_string())?;
    let model = module.certificate().model.clone();
    let name: ModelName =
        name.unwrap_or(&model.name).parse().map_err(|error| format!("the name: {error}"))?;
    let version: ModelName =
        model.version.parse().map_err(|error| format!("the version: {error}"))?;
    if let Some(envelope) = envelope {
        let stored = host.repository.put_signature(digest, envelope).await;
        stored.map_err(|error| error.to_string())?;
    }
    let stored = host.repository.put_module(digest, bytes).await;
    stored.map_err(|error| error.to_string())?;
    host.modules.keep(module);
    let counter = host.modules.counter(&host.repository, digest).await;
    let counter = counter.map_err(|error| error.message().to_owned())?;
    let release = Release { version, digest, counter, allow_older: false };
    let changing = host.catalog.changing().await;
    let set = host.catalog.set(&changing, &host.repository, &name, &release).await;
    if let Err(older) = set.map_err(|error| error.to_string())? {
        // A host that begins again with the files of old is no way back.
        let Older { highest, seen } = older;
        tracing::warn!(%digest, %name, seen, highest, "older than what the name stood for: it stays");
    }
    Ok((digest, name, release.version))
}
