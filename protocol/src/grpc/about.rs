//! What a server, its models and its repository say of themselves.

use std::collections::HashMap;

use leeway_contract::{Certificate, TensorSpec};

use super::Empty;
use crate::ProtocolError;
use crate::configuration::type_number;
use crate::metadata::{self, ModelMetadata, TensorMetadata};
use crate::repository::{self, IndexEntry};
use crate::statistics::{
    BatchStatistics, DurationStatistics, InferenceStatistics, ModelStatistics,
};

/// `ServerMetadataResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ServerMetadata {
    /// The program.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// The protocol's extensions that it has.
    #[prost(string, repeated, tag = "3")]
    pub extensions: Vec<String>,
}

impl From<metadata::ServerMetadata> for ServerMetadata {
    fn from(server: metadata::ServerMetadata) -> Self {
        let metadata::ServerMetadata { name, version, extensions } = server;
        Self { name, version, extensions }
    }
}

/// `ModelMetadataResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetadataResponse {
    /// As it was asked for.
    #[prost(string, tag = "1")]
    pub name: String,
    /// All versions that can be asked for.
    #[prost(string, repeated, tag = "2")]
    pub versions: Vec<String>,
    /// [`PLATFORM`](metadata::PLATFORM).
    #[prost(string, tag = "3")]
    pub platform: String,
    /// The inputs of the first stage.
    #[prost(message, repeated, tag = "4")]
    pub inputs: Vec<Tensor>,
    /// The outputs of the last stage.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<Tensor>,
}

/// `ModelMetadataResponse.TensorMetadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Tensor {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The protocol's name of its type.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// The size of each dimension.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

impl From<ModelMetadata> for MetadataResponse {
    fn from(model: ModelMetadata) -> Self {
        let ModelMetadata { name, versions, platform, inputs, outputs, .. } = model;
        let tensors = |all: Vec<TensorMetadata>| all.into_iter().map(Tensor::from).collect();
        let (inputs, outputs) = (tensors(inputs), tensors(outputs));
        Self { name, versions, platform, inputs, outputs }
    }
}

impl From<TensorMetadata> for Tensor {
    fn from(tensor: TensorMetadata) -> Self {
        let TensorMetadata { name, datatype, shape } = tensor;
        Self { name, datatype, shape: wide(&shape) }
    }
}

fn wide(shape: &[u32]) -> Vec<i64> {
    shape.iter().map(|size| i64::from(*size)).collect()
}

/// `ModelConfigResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConfigResponse {
    /// The configuration.
    #[prost(message, optional, tag = "1")]
    pub config: Option<Config>,
}

/// `ModelConfig`, as far as clients need it to make requests.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Config {
    /// As it was asked for.
    #[prost(string, tag = "1")]
    pub name: String,
    /// [`PLATFORM`](metadata::PLATFORM).
    #[prost(string, tag = "2")]
    pub platform: String,
    /// 0: a request is one run.
    #[prost(int32, tag = "4")]
    pub max_batch_size: i32,
    /// The inputs of the first stage.
    #[prost(message, repeated, tag = "5")]
    pub input: Vec<InputConfig>,
    /// The outputs of the last stage.
    #[prost(message, repeated, tag = "6")]
    pub output: Vec<OutputConfig>,
    /// [`PLATFORM`](metadata::PLATFORM).
    #[prost(string, tag = "17")]
    pub backend: String,
}

/// `ModelInput`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InputConfig {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The number of its type.
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// The size of each dimension.
    #[prost(int64, repeated, tag = "4")]
    pub dims: Vec<i64>,
}

/// `ModelOutput`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OutputConfig {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The number of its type.
    #[prost(int32, tag = "2")]
    pub data_type: i32,
    /// The size of each dimension.
    #[prost(int64, repeated, tag = "3")]
    pub dims: Vec<i64>,
}

impl ConfigResponse {
    /// The configuration of a model under a name.
    pub fn new(name: String, certificate: &Certificate) -> Self {
        let platform = metadata::PLATFORM.to_owned();
        let input = |spec: &TensorSpec| InputConfig {
            name: spec.name.clone(),
            data_type: type_number(spec.dtype),
            dims: wide(&spec.shape),
        };
        let output = |spec: &TensorSpec| OutputConfig {
            name: spec.name.clone(),
            data_type: type_number(spec.dtype),
            dims: wide(&spec.shape),
        };
        let config = Config {
            name,
            backend: platform.clone(),
            platform,
            max_batch_size: 0,
            input: certificate.inputs().iter().map(input).collect(),
            output: certificate.outputs().iter().map(output).collect(),
        };
        Self { config: Some(config) }
    }
}

/// `RepositoryIndexRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IndexRequest {
    /// There is one repository, whatever its name.
    #[prost(string, tag = "1")]
    pub repository_name: String,
    /// Only models that can be asked to infer.
    #[prost(bool, tag = "2")]
    pub ready: bool,
}

/// `RepositoryIndexResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct IndexResponse {
    /// An entry for each version of each model.
    #[prost(message, repeated, tag = "1")]
    pub models: Vec<ModelIndex>,
}

/// `RepositoryIndexResponse.ModelIndex`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ModelIndex {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// Triton's name of its state.
    #[prost(string, tag = "3")]
    pub state: String,
    /// Why it is in this state, or nothing.
    #[prost(string, tag = "4")]
    pub reason: String,
}

impl FromIterator<IndexEntry> for IndexResponse {
    fn from_iter<I: IntoIterator<Item = IndexEntry>>(entries: I) -> Self {
        let one = |IndexEntry { name, version, state, reason }| {
            let state = state.name().to_owned();
            ModelIndex { name, version, state, reason }
        };
        Self { models: entries.into_iter().map(one).collect() }
    }
}

/// `RepositoryModelLoadRequest` and `RepositoryModelUnloadRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LoadRequest {
    /// There is one repository, whatever its name.
    #[prost(string, tag = "1")]
    pub repository_name: String,
    /// The model.
    #[prost(string, tag = "2")]
    pub model_name: String,
    /// What shall be otherwise than it was built; nothing can.
    #[prost(map = "string, message", tag = "3")]
    pub parameters: HashMap<String, Empty>,
}

impl LoadRequest {
    /// Refuses parameters of a request to load, as over HTTP.
    pub fn check(&self) -> Result<(), ProtocolError> {
        self.parameters.keys().next().map_or(Ok(()), |name| Err(repository::no_parameter(name)))
    }
}

/// `ModelStatisticsResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StatisticsResponse {
    /// An entry for each version of each model.
    #[prost(message, repeated, tag = "1")]
    pub model_stats: Vec<Statistics>,
}

/// `ModelStatistics`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Statistics {
    /// The model.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The version.
    #[prost(string, tag = "2")]
    pub version: String,
    /// The time of the last inference, in milliseconds since 1970; 0 before it.
    #[prost(uint64, tag = "3")]
    pub last_inference: u64,
    /// The inferences that succeeded.
    #[prost(uint64, tag = "4")]
    pub inference_count: u64,
    /// The runs that succeeded.
    #[prost(uint64, tag = "5")]
    pub execution_count: u64,
    /// What became of the requests.
    #[prost(message, optional, tag = "6")]
    pub inference_stats: Option<Inferences>,
    /// The runs by the size of their batch.
    #[prost(message, repeated, tag = "7")]
    pub batch_stats: Vec<Batches>,
}

/// `StatisticDuration`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Durations {
    /// How many.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// How long all together, in nanoseconds.
    #[prost(uint64, tag = "2")]
    pub ns: u64,
}

/// `InferStatistics`; the fields are [`InferenceStatistics`]'s.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs, reason = "they are told where the statistics are")]
pub struct Inferences {
    #[prost(message, optional, tag = "1")]
    pub success: Option<Durations>,
    #[prost(message, optional, tag = "2")]
    pub fail: Option<Durations>,
    #[prost(message, optional, tag = "3")]
    pub queue: Option<Durations>,
    #[prost(message, optional, tag = "4")]
    pub compute_input: Option<Durations>,
    #[prost(message, optional, tag = "5")]
    pub compute_infer: Option<Durations>,
    #[prost(message, optional, tag = "6")]
    pub compute_output: Option<Durations>,
    #[prost(message, optional, tag = "7")]
    pub cache_hit: Option<Durations>,
    #[prost(message, optional, tag = "8")]
    pub cache_miss: Option<Durations>,
}

/// `InferBatchStatistics`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batches {
    /// The size.
    #[prost(uint64, tag = "1")]
    pub batch_size: u64,
    /// As in [`Inferences`].
    #[prost(message, optional, tag = "2")]
    pub compute_input: Option<Durations>,
    /// As in [`Inferences`].
    #[prost(message, optional, tag = "3")]
    pub compute_infer: Option<Durations>,
    /// As in [`Inferences`].
    #[prost(message, optional, tag = "4")]
    pub compute_output: Option<Durations>,
}

fn durations(seen: DurationStatistics) -> Option<Durations> {
    Some(Durations { count: seen.count, ns: seen.ns })
}

impl FromIterator<ModelStatistics> for StatisticsResponse {
    fn from_iter<I: IntoIterator<Item = ModelStatistics>>(models: I) -> Self {
        Self { model_stats: models.into_iter().map(Statistics::from).collect() }
    }
}

impl From<ModelStatistics> for Statistics {
    fn from(model: ModelStatistics) -> Self {
        Self {
            name: model.name,
            version: model.version,
            last_inference: model.last_inference,
            inference_count: model.inference_count,
            execution_count: model.execution_count,
            inference_stats: Some(model.inference_stats.into()),
            batch_stats: model.batch_stats.into_iter().map(Batches::from).collect(),
        }
    }
}

impl From<InferenceStatistics> for Inferences {
    fn from(seen: InferenceStatistics) -> Self {
        Self {
            success: durations(seen.success),
            fail: durations(seen.fail),
            queue: durations(seen.queue),
            compute_input: durations(seen.compute_input),
            compute_infer: durations(seen.compute_infer),
            compute_output: durations(seen.compute_output),
            cache_hit: durations(seen.cache_hit),
            cache_miss: durations(seen.cache_miss),
        }
    }
}

impl From<BatchStatistics> for Batches {
    fn from(seen: BatchStatistics) -> Self {
        Self {
            batch_size: seen.batch_size,
            compute_input: durations(seen.compute_input),
            compute_infer: durations(seen.compute_infer),
            compute_output: durations(seen.compute_output),
        }
    }
}
