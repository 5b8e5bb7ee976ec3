//! The four reference models, with their validation and test data, embedded.
//!
//! What they are, how they were trained and where the data comes from is told
//! in this crate's README.

mod data;

use std::sync::LazyLock;

use leeway_contract::Digest;
use serde::Deserialize;

pub use data::{DataError, DataSet};

/// The files of one model's folder.
struct Files {
    name: &'static str,
    onnx: &'static [u8],
    validation: &'static [u8],
    test: &'static [u8],
}

macro_rules! files {
    ($name:literal) => {
        Files {
            name: $name,
            onnx: include_bytes!(concat!("../", $name, "/model.onnx")),
            validation: include_bytes!(concat!("../", $name, "/validation.npz")),
            test: include_bytes!(concat!("../", $name, "/test.npz")),
        }
    };
}

/// In the order of the reports: of each data set the light model first.
static FILES: [Files; 4] =
    [files!("mlp-digits"), files!("cnn-digits"), files!("mlp-tabular"), files!("cnn-tabular")];

/// What `models.json` says of a model.
#[derive(Debug, Deserialize)]
struct Description {
    name: String,
    architecture: String,
    dataset: String,
    parameters: u64,
    onnx_sha256: String,
    test_accuracy: f64,
    labels: Vec<String>,
}

static MODELS: LazyLock<Vec<ReferenceModel>> = LazyLock::new(|| {
    let described: Vec<Description> = serde_json::from_str(include_str!("../models.json"))
        .expect("models.json is embedded, and read by this crate's tests");
    let model = |files: &'static Files| {
        let of_this = described.iter().find(|d| d.name == files.name);
        ReferenceModel::new(files, of_this.expect("models.json describes every embedded model"))
    };
    FILES.iter().map(model).collect()
});

/// All reference models.
pub fn reference_models() -> &'static [ReferenceModel] {
    &MODELS
}

/// The reference model of this name.
pub fn reference_model(name: &str) -> Option<&'static ReferenceModel> {
    reference_models().iter().find(|m| m.name == name)
}

/// A trained classifier and the samples that were held out from its training.
#[derive(Debug)]
pub struct ReferenceModel {
    /// Its name, for example `cnn-digits`.
    pub name: &'static str,
    /// `mlp` or `cnn`.
    pub architecture: String,
    /// The data set that it classifies, for example `digits`.
    pub dataset: String,
    /// The number of trained parameters.
    pub parameters: u64,
    /// The share of the test set, 0 to 1, that ONNX Runtime classifies right
    /// with it; to six decimals.
    pub test_accuracy: f64,
    /// The names of the classes.
    pub labels: Vec<String>,
    /// The model as an ONNX file: one input `input` with the batch first, one
    /// output `probabilities`, `FP32[N,labels]`.
    pub onnx: &'static [u8],
    validation: &'static [u8],
    test: &'static [u8],
    onnx_sha256: String,
}

impl ReferenceModel {
    fn new(files: &'static Files, described: &Description) -> Self {
        Self {
            name: files.name,
            architecture: described.architecture.clone(),
            dataset: described.dataset.clone(),
            parameters: described.parameters,
            test_accuracy: described.test_accuracy,
            labels: described.labels.clone(),
            onnx: files.onnx,
            validation: files.validation,
            test: files.test,
            onnx_sha256: described.onnx_sha256.clone(),
        }
    }

    /// Whether the embedded ONNX file is the one that `models.json` describes.
    pub fn is_as_described(&self) -> bool {
        Digest::of(self.onnx).to_hex() == self.onnx_sha256
    }

    /// The samples for the calibration of the WCET, without probabilities.
    pub fn validation(&self) -> Result<DataSet, DataError> {
        DataSet::read(self.name, "validation.npz", self.validation)
    }

    /// The samples to measure the accuracy with, and what ONNX Runtime answers
    /// to them.
    pub fn test(&self) -> Result<DataSet, DataError> {
        DataSet::read(self.name, "test.npz", self.test)
    }
}

#[cfg(test)]
mod tests;
