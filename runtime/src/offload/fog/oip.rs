//! Inference requests and responses of the Open Inference Protocol v2 (KServe's
//! "Predict Protocol - Version 2") with the binary tensor data extension (NVIDIA
//! Triton): a JSON header, whose length is in the HTTP header
//! `Inference-Header-Content-Length`, and after it the tensors' bytes.
//!
//! What is ours is in the two `parameters` objects: stage ranges in the request,
//! and in the response the digest of the module, its fuel and its times.

use std::time::Duration;

use leeway_contract::certificate::oip_name;
use leeway_contract::{Digest, Fuel, Tensor};
use serde::{Deserialize, Serialize};

use super::{FogAnswer, FogError, InferRequest, Traffic};
use crate::offload::estimate::FogTime;

/// The HTTP header with the length of the JSON part.
pub(super) const HEADER_LENGTH: &str = "Inference-Header-Content-Length";

#[derive(Serialize)]
struct RequestHead<'a> {
    parameters: RequestParameters,
    inputs: Vec<InputHead<'a>>,
}

#[derive(Serialize)]
struct RequestParameters {
    binary_data_output: bool,
    first_stage: u32,
    last_stage: u32,
}

#[derive(Serialize)]
struct InputHead<'a> {
    name: &'a str,
    shape: &'a [u32],
    datatype: &'static str,
    parameters: BinarySize,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
struct BinarySize {
    binary_data_size: usize,
}

#[derive(Deserialize)]
struct ResponseHead {
    parameters: ResponseParameters,
    outputs: Vec<OutputHead>,
}

#[derive(Deserialize)]
struct ResponseParameters {
    digest: Digest,
    compute_ns: u64,
    queue_ns: u64,
    fuel: u64,
}

#[derive(Deserialize)]
struct OutputHead {
    name: String,
    shape: Vec<u32>,
    datatype: String,
    parameters: BinarySize,
}

/// A request's body, and the length of its JSON part.
pub(super) struct Encoded {
    pub body: Vec<u8>,
    pub head_bytes: usize,
}

/// Encodes a request. Inputs that are not the first stage's, or stages that are
/// not the module's, are an error before anything is sent.
pub(super) fn encode(request: &InferRequest<'_>) -> Result<Encoded, FogError> {
    let (first, last) = (*request.stages.start(), *request.stages.end());
    let wrong = |what: String| FogError::Malformed(format!("not sent: {what}"));
    if request.certificate.fuel(first..=last).is_none() {
        let model = request.certificate.last_stage();
        return Err(wrong(format!("stages {first}..={last} of a module with 0..={model}")));
    }
    let specs = &request.certificate.stages[first as usize].inputs;
    if specs.len() != request.inputs.len() {
        let seen = request.inputs.len();
        return Err(wrong(format!("{seen} inputs, the stage takes {}", specs.len())));
    }
    let mut inputs = Vec::with_capacity(specs.len());
    for (spec, tensor) in specs.iter().zip(request.inputs) {
        spec.check(tensor).map_err(|error| wrong(error.to_string()))?;
        inputs.push(InputHead {
            name: &spec.name,
            shape: &tensor.shape,
            datatype: oip_name(tensor.dtype),
            parameters: BinarySize { binary_data_size: tensor.data.len() },
        });
    }
    let parameters =
        RequestParameters { binary_data_output: true, first_stage: first, last_stage: last };
    let mut body = serde_json::to_vec(&RequestHead { parameters, inputs })
        .expect("a request has only string keys and whole numbers");
    let head_bytes = body.len();
    for tensor in request.inputs {
        body.extend_from_slice(&tensor.data);
    }
    Ok(Encoded { body, head_bytes })
}

/// Decodes a response's body, and checks that it answers the request.
pub(super) fn decode(
    request: &InferRequest<'_>,
    body: &[u8],
    head_bytes: usize,
    traffic: Traffic,
) -> Result<FogAnswer, FogError> {
    let malformed = |text: String| FogError::Malformed(text);
    let (head, mut data) = body.split_at_checked(head_bytes).ok_or_else(|| {
        malformed(format!("its header is {head_bytes} bytes of a body of {}", body.len()))
    })?;
    let head: ResponseHead =
        serde_json::from_slice(head).map_err(|error| malformed(format!("its header: {error}")))?;

    let specs = request.certificate.stages.get(*request.stages.end() as usize);
    let specs = specs.map_or(&[][..], |stage| &stage.outputs);
    let mut outputs = Vec::with_capacity(specs.len());
    for (spec, output) in specs.iter().zip(&head.outputs) {
        if output.name != spec.name || output.datatype != oip_name(spec.dtype) {
            let (name, datatype) = (&output.name, &output.datatype);
            return Err(malformed(format!("output {name:?} of type {datatype}, wanted {spec}")));
        }
        let size = output.parameters.binary_data_size;
        let (bytes, rest) = data.split_at_checked(size).ok_or_else(|| {
            malformed(format!("output {:?} has {size} bytes, {} are left", spec.name, data.len()))
        })?;
        data = rest;
        let (dtype, shape) = (spec.dtype, output.shape.clone());
        outputs.push(Tensor { dtype, shape, data: bytes.to_vec() });
    }
    if head.outputs.len() != specs.len() || !data.is_empty() {
        let (seen, wanted, left) = (head.outputs.len(), specs.len(), data.len());
        return Err(malformed(format!(
            "it has {seen} outputs, wanted {wanted}; {left} bytes are left over"
        )));
    }

    let time = FogTime {
        compute: Duration::from_nanos(head.parameters.compute_ns),
        queue: Duration::from_nanos(head.parameters.queue_ns),
        fuel: Fuel(head.parameters.fuel),
    };
    let answer = FogAnswer { outputs, time, traffic };
    request.check(head.parameters.digest, &answer)?;
    Ok(answer)
}
