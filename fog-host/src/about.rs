//! What the host says of itself and of its models, whatever protocol asks.

use leeway_protocol::metadata::{ModelMetadata, ServerMetadata};
use leeway_protocol::statistics::ModelStatistics;

use crate::host::{Host, Target};

/// The protocol's extensions that are here, by their names.
const EXTENSIONS: [&str; 5] = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "statistics",
];

impl Host {
    /// The host and the protocol's extensions that it has.
    pub(crate) fn metadata(&self) -> ServerMetadata {
        ServerMetadata {
            name: "leeway-fog".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).into(),
        }
    }

    /// A model: its versions, inputs and outputs.
    pub(crate) fn model_metadata(&self, target: Target) -> ModelMetadata {
        let versions = self.versions(&target);
        let module = &target.module;
        ModelMetadata::new(target.name, versions, module.digest(), module.certificate())
    }

    /// The statistics of all versions of all names.
    pub(crate) fn all_statistics(&self) -> Vec<ModelStatistics> {
        let mut all = Vec::new();
        for (name, model) in self.catalog.all() {
            let name = name.to_string();
            let of = |version| self.observations.statistics(&name, &String::from(version));
            all.extend(model.versions.into_keys().map(of));
        }
        all
    }

    /// The statistics of a name or a digest: of the target's version, or of all.
    pub(crate) fn statistics(&self, target: &Target, one_version: bool) -> Vec<ModelStatistics> {
        let versions = match one_version {
            true => vec![target.version.clone()],
            false => self.versions(target),
        };
        let of = |version: String| self.observations.statistics(&target.name, &version);
        versions.into_iter().map(of).collect()
    }

    /// All versions of a target's name; of a digest, its own.
    fn versions(&self, target: &Target) -> Vec<String> {
        let aliases = target.name.parse().ok().and_then(|name| self.catalog.get(&name));
        match aliases {
            Some(model) => model.versions.into_keys().map(String::from).collect(),
            None => vec![target.version.clone()],
        }
    }
}
