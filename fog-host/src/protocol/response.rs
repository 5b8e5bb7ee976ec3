//! An inference response: encoded from what a worker gave.

use bytes::Bytes;
use leeway_contract::certificate::oip_name;
use leeway_contract::{Digest, Fuel, TensorSpec};
use serde::Serialize;

use super::scalars::JsonData;
use super::{ProtocolError, Request};
use crate::host::Target;
use crate::pool::Done;

#[derive(Serialize)]
struct Head<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: Parameters,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Parameters {
    digest: Digest,
    fuel: Fuel,
    queue_ns: u64,
    compute_ns: u64,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    shape: &'a [u32],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<OutputParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<JsonData<'a>>,
}

#[derive(Serialize)]
struct OutputParameters {
    binary_data_size: usize,
}

/// A body, and the length of its JSON part where it has a binary one too.
pub(crate) struct Encoded {
    pub(crate) body: Bytes,
    pub(crate) head_bytes: Option<usize>,
}

/// Encodes the outputs that the request wants, of those that the run gave and
/// that `specs` describes.
pub(crate) fn encode(
    target: &Target,
    request: &Request,
    specs: &[TensorSpec],
    done: &Done,
) -> Result<Encoded, ProtocolError> {
    let mut outputs = Vec::with_capacity(specs.len());
    let mut binary: Vec<&[u8]> = Vec::new();
    for (position, as_binary) in request.wanted(specs) {
        let (spec, tensor) = (&specs[position], &done.execution.outputs[position]);
        let (mut data, mut parameters) = (None, None);
        if as_binary {
            parameters = Some(OutputParameters { binary_data_size: tensor.data.len() });
            binary.push(&tensor.data);
        } else {
            data = Some(JsonData::new(&spec.name, tensor)?);
        }
        let (name, shape) = (&spec.name, &tensor.shape);
        outputs.push(Output { name, shape, datatype: oip_name(spec.dtype), parameters, data });
    }
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let head = Head {
        model_name: &target.name,
        model_version: &target.version,
        id: request.id.as_deref(),
        parameters: Parameters {
            digest: target.module.digest(),
            fuel: done.execution.fuel,
            queue_ns: nanos(done.queue),
            compute_ns: nanos(done.execution.elapsed),
        },
        outputs,
    };
    let mut body = serde_json::to_vec(&head).expect("a response has only string keys");
    let head_bytes = (!binary.is_empty()).then_some(body.len());
    for data in binary {
        body.extend_from_slice(data);
    }
    Ok(Encoded { body: body.into(), head_bytes })
}
