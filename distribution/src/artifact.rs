//! A module as an OCI artifact: the layout of the CNCF's working group for Wasm
//! (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>): a
//! manifest, a small configuration, and the component as its one layer.
//!
//! The same component always gives the same manifest, so that pushing again changes
//! nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use leeway_contract::{Certificate, Digest, section};
use oci_client::manifest::{OCI_IMAGE_MEDIA_TYPE, OciDescriptor, OciImageManifest};
use serde::{Deserialize, Serialize};

use crate::DistributionError;

/// The media type of the configuration.
pub const CONFIG_MEDIA_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// The media type of the component.
pub const LAYER_MEDIA_TYPE: &str = "application/wasm";
/// The most bytes that a manifest or an index may have: what registries accept.
pub(crate) const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// The layout wants a date; the component's bytes have none.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// Some bytes by their digest, size and media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The digest that names them.
    pub digest: Digest,
    /// How many there are.
    pub bytes: u64,
    /// What they are.
    pub media_type: String,
}

/// A module, ready to be sent.
pub struct Artifact {
    pub(crate) component: Bytes,
    pub(crate) config: Bytes,
    pub(crate) manifest: Bytes,
    digest: Digest,
}

/// The configuration of the layout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WasmConfig {
    created: String,
    architecture: String,
    os: String,
    layer_digests: Vec<String>,
    component: ComponentConfig,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct ComponentConfig {
    exports: Vec<String>,
    imports: Vec<String>,
}

impl Artifact {
    /// The artifact of a certified component.
    pub fn of_component(component: impl Into<Bytes>) -> Result<Self, DistributionError> {
        let component = component.into();
        let certificate = section::read_certificate(&component)?;
        let layer = Descriptor::of(&component, LAYER_MEDIA_TYPE);
        let config = WasmConfig {
            created: CREATED.into(),
            architecture: "wasm".into(),
            os: "wasip2".into(),
            layer_digests: vec![layer.digest.to_string()],
            component: ComponentConfig::of_component(&component)?,
        };
        let config = json(&config);
        let manifest = OciImageManifest {
            schema_version: 2,
            media_type: Some(OCI_IMAGE_MEDIA_TYPE.into()),
            config: Descriptor::of(&config, CONFIG_MEDIA_TYPE).to_oci(),
            layers: vec![layer.to_oci()],
            subject: None,
            artifact_type: None,
            annotations: Some(annotations(&certificate)),
        };
        let manifest = json(&manifest);
        let digest = Digest::of(&manifest);
        Ok(Self { component, config, manifest, digest })
    }

    /// The digest of the manifest, by which a registry knows the artifact.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The manifest as a descriptor: what a signature is attached to.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(&self.manifest, OCI_IMAGE_MEDIA_TYPE)
    }
}

/// What a registry's page shows of a module.
fn annotations(certificate: &Certificate) -> BTreeMap<String, String> {
    let model = &certificate.model;
    let bound = serde_json::to_value(certificate.bound());
    let bound = bound.ok().and_then(|bound| bound.as_str().map(str::to_owned));
    [
        ("org.opencontainers.image.title", model.name.clone()),
        ("org.opencontainers.image.version", model.version.clone()),
        ("io.github.leeway-ml.fuel", certificate.total_fuel().0.to_string()),
        ("io.github.leeway-ml.bound", bound.unwrap_or_default()),
        ("io.github.leeway-ml.memory-bytes", certificate.memory_bytes.to_string()),
        ("io.github.leeway-ml.source", model.source.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

impl ComponentConfig {
    /// The names that a component exports and imports.
    fn of_component(component: &[u8]) -> Result<Self, DistributionError> {
        let mut config = Self::default();
        let mut depth = 0u32;
        for payload in wasmparser::Parser::new(0).parse_all(component) {
            match payload? {
                wasmparser::Payload::ModuleSection { .. }
                | wasmparser::Payload::ComponentSection { .. } => depth += 1,
                wasmparser::Payload::End(_) => depth = depth.saturating_sub(1),
                wasmparser::Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        config.imports.push(import?.name.name.to_owned());
                    }
                }
                wasmparser::Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        config.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(config)
    }
}

impl Descriptor {
    /// The descriptor of `bytes`.
    pub fn of(bytes: &[u8], media_type: &str) -> Self {
        Self { digest: Digest::of(bytes), bytes: bytes.len() as u64, media_type: media_type.into() }
    }

    pub(crate) fn to_oci(&self) -> OciDescriptor {
        OciDescriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.to_string(),
            size: i64::try_from(self.bytes).unwrap_or(i64::MAX),
            urls: None,
            annotations: None,
            artifact_type: None,
        }
    }

    pub(crate) fn from_oci(
        descriptor: &OciDescriptor,
        what: &str,
    ) -> Result<Self, DistributionError> {
        let error = |reason: String| DistributionError::not_a_module(what, reason);
        let digest = descriptor.digest.parse();
        Ok(Self {
            digest: digest.map_err(|e| error(format!("a descriptor's digest: {e}")))?,
            bytes: u64::try_from(descriptor.size)
                .map_err(|_| error(format!("a descriptor's size is {}", descriptor.size)))?,
            media_type: descriptor.media_type.clone(),
        })
    }

    /// Whether `bytes` are what this describes.
    pub fn check(&self, what: &str, bytes: &[u8]) -> Result<(), DistributionError> {
        if bytes.len() as u64 != self.bytes {
            let (wanted, seen) = (self.bytes, bytes.len() as u64);
            return Err(DistributionError::Size { what: what.into(), wanted, seen });
        }
        let (wanted, seen) = (self.digest, Digest::of(bytes));
        match seen == wanted {
            true => Ok(()),
            false => Err(DistributionError::Digest { what: what.into(), wanted, seen }),
        }
    }
}

/// Reads a module's manifest: the descriptor of its component.
pub(crate) fn component_of(manifest: &[u8], what: &str) -> Result<Descriptor, DistributionError> {
    let error = |reason: String| DistributionError::not_a_module(what, reason);
    let manifest: OciImageManifest = serde_json::from_slice(manifest)
        .map_err(|e| error(format!("its manifest is no image manifest: {e}")))?;
    if manifest.config.media_type != CONFIG_MEDIA_TYPE {
        let seen = &manifest.config.media_type;
        return Err(error(format!(
            "its configuration's media type is {seen}, a Wasm artifact's is {CONFIG_MEDIA_TYPE}"
        )));
    }
    match &manifest.layers[..] {
        [layer] if layer.media_type == LAYER_MEDIA_TYPE => Descriptor::from_oci(layer, what),
        [layer] => Err(error(format!(
            "its layer's media type is {}, a Wasm artifact's is {LAYER_MEDIA_TYPE}",
            layer.media_type
        ))),
        layers => Err(error(format!("it has {} layers, a Wasm artifact has one", layers.len()))),
    }
}

/// A value as JSON, the same every time: fields as declared, maps sorted.
pub(crate) fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("our own types have string keys and no infinities").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing;

    #[test]
    fn an_artifact_is_reproducible_and_names_its_component() {
        let component = testing::component("digits", "1.2.0");
        let one = Artifact::of_component(component.clone()).unwrap();
        let two = Artifact::of_component(component.clone()).unwrap();
        assert_eq!(one.digest(), two.digest());
        let layer = component_of(&one.manifest, "it").unwrap();
        assert_eq!(layer, Descriptor::of(&component, LAYER_MEDIA_TYPE));
        let manifest: serde_json::Value = serde_json::from_slice(&one.manifest).unwrap();
        assert_eq!(manifest["annotations"]["org.opencontainers.image.version"], "1.2.0");
        assert_eq!(manifest["annotations"]["io.github.leeway-ml.bound"], "static");
        let config: serde_json::Value = serde_json::from_slice(&one.config).unwrap();
        assert_eq!(config["layerDigests"][0], layer.digest.to_string());
        assert_eq!(config["component"]["exports"][0], leeway_contract::INFERENCE_INTERFACE);
        assert_eq!(config["component"]["imports"], serde_json::json!([]));
    }

    #[test]
    fn what_has_no_certificate_is_not_sent() {
        let component = wat::parse_str("(component)").unwrap();
        let error = Artifact::of_component(component).err().unwrap().to_string();
        assert!(error.contains("leeway certify"), "{error}");
    }

    #[test]
    fn another_kind_of_image_is_named() {
        let artifact = Artifact::of_component(testing::component("digits", "1")).unwrap();
        let mut manifest: OciImageManifest = serde_json::from_slice(&artifact.manifest).unwrap();
        manifest.layers.push(manifest.layers[0].clone());
        let error = component_of(&json(&manifest), "it").unwrap_err().to_string();
        assert!(error.contains("2 layers"), "{error}");
        manifest.layers.truncate(1);
        manifest.config.media_type = oci_client::manifest::IMAGE_CONFIG_MEDIA_TYPE.into();
        let error = component_of(&json(&manifest), "it").unwrap_err().to_string();
        assert!(error.contains(CONFIG_MEDIA_TYPE), "{error}");
        let error = component_of(b"{", "it").unwrap_err().to_string();
        assert!(error.contains("no image manifest"), "{error}");
    }
}
