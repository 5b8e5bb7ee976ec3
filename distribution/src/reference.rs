//! The name of a module in a registry: `oci://HOST/NAME:TAG`, or `@sha256:...` for
//! one manifest for good.

use std::fmt;
use std::str::FromStr;

use oci_client::Reference;

/// What precedes a reference where a path or a URL could stand as well.
pub const SCHEME: &str = "oci://";

/// A module in a registry, by tag or by the digest of its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleReference(pub(crate) Reference);

/// A text that names no module in a registry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "not a reference to a module: {seen:?}: {reason} (wanted oci://HOST/NAME:TAG or oci://HOST/NAME@sha256:...)"
)]
pub struct ParseReferenceError {
    seen: String,
    reason: String,
}

impl ModuleReference {
    /// The registry's host, with its port where it has one.
    pub fn host(&self) -> &str {
        self.0.registry()
    }

    /// The same repository by another tag.
    pub(crate) fn with_tag(&self, tag: &str) -> Reference {
        Reference::with_tag(self.host().into(), self.0.repository().into(), tag.into())
    }

    /// The same repository by the digest of a manifest.
    pub(crate) fn with_digest(&self, digest: leeway_contract::Digest) -> Reference {
        Reference::with_digest(self.host().into(), self.0.repository().into(), digest.to_string())
    }
}

impl FromStr for ModuleReference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |reason: &str| ParseReferenceError {
            seen: text.chars().take(200).collect(),
            reason: reason.into(),
        };
        let name =
            text.strip_prefix(SCHEME).ok_or_else(|| error("it does not start with oci://"))?;
        // Without a host, the reference's grammar would take one public registry's.
        let host = name.split_once('/').map(|(host, _)| host);
        if !host.is_some_and(|host| host.contains(['.', ':']) || host == "localhost") {
            return Err(error("the registry's host is missing"));
        }
        let reference = Reference::from_str(name).map_err(|e| error(&e.to_string()))?;
        // A forgotten tag would become `latest`: another module tomorrow.
        let last = name.rsplit('/').next().unwrap_or_default();
        if !last.contains([':', '@']) {
            return Err(error("neither a tag nor a digest"));
        }
        Ok(Self(reference))
    }
}

impl fmt::Display for ModuleReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_tag_or_digest_are_needed() {
        let hex = "0".repeat(64);
        for good in [
            "oci://localhost:5000/models/digits:1.2.0".to_owned(),
            "oci://registry.example.org/digits:1".to_owned(),
            format!("oci://127.0.0.1:5000/digits@sha256:{hex}"),
        ] {
            let reference: ModuleReference = good.parse().unwrap();
            assert_eq!(reference.to_string(), good);
        }
        for (bad, wanted) in [
            ("localhost:5000/digits:1", "oci://"),
            ("oci://digits:1", "host"),
            ("oci://team/digits:1", "host"),
            ("oci://localhost:5000/digits", "neither a tag"),
            ("oci://localhost:5000/Digits:1", "reference to a module"),
            ("oci://localhost:5000/digits@sha256:12", "reference to a module"),
            ("oci://", "host"),
        ] {
            let error = bad.parse::<ModuleReference>().unwrap_err().to_string();
            assert!(error.contains(wanted), "{bad}: {error}");
        }
    }
}
