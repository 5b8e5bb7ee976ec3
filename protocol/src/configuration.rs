//! The model configuration extension, as far as clients need it to make requests:
//! names, types and shapes in the form of Triton's `ModelConfig`.

use leeway_contract::{Certificate, DType, TensorSpec};
use serde::{Deserialize, Serialize};

use super::metadata::PLATFORM;

/// A model's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelConfig {
    /// As it was asked for.
    pub name: String,
    /// [`PLATFORM`].
    pub platform: String,
    /// [`PLATFORM`].
    pub backend: String,
    /// 0: a request is one run, and shapes have all dimensions.
    pub max_batch_size: u32,
    /// The inputs of the first stage.
    pub input: Vec<TensorConfig>,
    /// The outputs of the last stage.
    pub output: Vec<TensorConfig>,
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorConfig {
    /// Its name.
    pub name: String,
    /// Triton's name of its type, for example `TYPE_FP32`.
    pub data_type: String,
    /// The size of each dimension.
    pub dims: Vec<u32>,
}

/// A type's number in Triton's `DataType`.
pub fn type_number(dtype: DType) -> i32 {
    match dtype {
        DType::Bool => 1,
        DType::U8 => 2,
        DType::U16 => 3,
        DType::U32 => 4,
        DType::U64 => 5,
        DType::I8 => 6,
        DType::I16 => 7,
        DType::I32 => 8,
        DType::I64 => 9,
        DType::F16 => 10,
        DType::F32 => 11,
        DType::F64 => 12,
        DType::BF16 => 14,
    }
}

impl From<&TensorSpec> for TensorConfig {
    fn from(spec: &TensorSpec) -> Self {
        let data_type = format!("TYPE_{}", super::datatype::name(spec.dtype));
        Self { name: spec.name.clone(), data_type, dims: spec.shape.clone() }
    }
}

impl ModelConfig {
    /// The configuration of a model under a name.
    pub fn new(name: String, certificate: &Certificate) -> Self {
        Self {
            name,
            platform: PLATFORM.to_owned(),
            backend: PLATFORM.to_owned(),
            max_batch_size: 0,
            input: certificate.inputs().iter().map(TensorConfig::from).collect(),
            output: certificate.outputs().iter().map(TensorConfig::from).collect(),
        }
    }
}
