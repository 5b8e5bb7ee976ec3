//! Where the device fetches modules by itself: the places that a desired state names.

use std::io;

use leeway_contract::Digest;
use leeway_deploy::desired::{DesiredModel, Origin, OriginError, Resolved};
use leeway_deploy::transaction::{Cancel, Source};

mod file;
mod fog;
mod registry;

const KNOWN: &str =
    "a path on the device, http://HOST:PORT of a fog host, or oci://HOST/NAME:TAG of a registry";

/// Files on the device, fog hosts, and registries.
pub(crate) struct Places {
    fog: fog::FogHosts,
}

impl Places {
    pub(crate) fn new() -> Self {
        Self { fog: fog::FogHosts::new() }
    }
}

impl Origin for Places {
    fn resolve(
        &self,
        source: &str,
        wanted: &DesiredModel,
        _: &Cancel,
    ) -> Result<Resolved, OriginError> {
        let found = match source.split_once("://") {
            Some(("http" | "https", _)) => self.fog.resolve(source, wanted),
            Some(("oci", _)) => registry::resolve(source, wanted),
            Some(("file", path)) => file::resolve(path.as_ref(), wanted),
            None if source.starts_with('/') => file::resolve(source.as_ref(), wanted),
            _ => {
                let source_name = source.chars().take(200).collect();
                return Err(OriginError::Unknown { source_name, known: KNOWN });
            }
        };
        found.map_err(|error| OriginError::Failed { source_name: source.to_owned(), error })
    }
}

fn resolved(
    digest: Digest,
    envelopes: Vec<Vec<u8>>,
    source: impl Source + Send + 'static,
) -> Resolved {
    Resolved { digest, envelopes, source: Box::new(source) }
}

/// An error in words that is one of input and output.
fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

#[test]
fn other_places_are_refused_by_name() {
    let wanted = DesiredModel::default();
    for source in ["ftp://host/model.wasm", "model.wasm", ""] {
        let error = Places::new().resolve(source, &wanted, &Cancel::default()).unwrap_err();
        assert!(matches!(error, OriginError::Unknown { .. }), "{error}");
        assert!(error.to_string().contains(&format!("{source:?}")), "{error}");
    }
}
