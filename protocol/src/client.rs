//! The client's side: requests with binary tensors both ways, and the answers to
//! them, which are checked against the certificate as far as a message can be.

use std::ops::RangeInclusive;
use std::time::Duration;

use leeway_contract::{Certificate, Digest, Fuel, Tensor};
use serde::{Deserialize, Serialize};

use super::{Encoded, ErrorObject, ProtocolError, datatype, split, wrong};

const MESSAGE_CHARS: usize = 300;

#[derive(Serialize)]
struct RequestHead<'a> {
    id: String,
    parameters: RequestParameters,
    inputs: Vec<InputHead<'a>>,
}

#[derive(Serialize)]
struct RequestParameters {
    binary_data_output: bool,
    first_stage: u32,
    last_stage: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout: Option<u64>,
}

#[derive(Serialize)]
struct InputHead<'a> {
    name: &'a str,
    shape: &'a [u32],
    datatype: &'static str,
    parameters: BinarySize,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
struct BinarySize {
    binary_data_size: usize,
}

#[derive(Deserialize)]
struct ResponseHead {
    id: Option<String>,
    parameters: ResponseParameters,
    outputs: Vec<OutputHead>,
}

#[derive(Deserialize)]
struct ResponseParameters {
    digest: Digest,
    compute_ns: u64,
    queue_ns: u64,
    fuel: Fuel,
}

#[derive(Deserialize)]
struct OutputHead {
    name: String,
    shape: Vec<u32>,
    datatype: String,
    parameters: BinarySize,
}

/// A run of stages that a client asks for.
#[derive(Clone, Debug)]
pub struct ClientRequest<'a> {
    /// Names the request; its answer repeats it.
    pub id: u64,
    /// The module's certificate.
    pub certificate: &'a Certificate,
    /// The stages to run.
    pub stages: RangeInclusive<u32>,
    /// The inputs of the first of them.
    pub inputs: &'a [Tensor],
    /// What is left of the client's time when the request arrives, as well as the
    /// client knows.
    pub timeout: Option<Duration>,
}

/// A server's answer to a [`ClientRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientResponse {
    /// The request that it answers, by the server's word; `None` where that is no
    /// number, or missing.
    pub id: Option<u64>,
    /// The module that answers, by the server's word.
    pub digest: Digest,
    /// What it burned.
    pub fuel: Fuel,
    /// How long the request waited for a worker.
    pub queue: Duration,
    /// How long the run took.
    pub compute: Duration,
    /// The outputs, of the certified names, types and number. Their shapes and
    /// lengths are not checked yet.
    pub outputs: Vec<Tensor>,
}

impl ClientRequest<'_> {
    /// Encodes the request. Inputs that are not the first stage's, or stages that
    /// are not the module's, are an error.
    pub fn encode(&self) -> Result<Encoded, ProtocolError> {
        let (first, last) = (*self.stages.start(), *self.stages.end());
        if self.certificate.fuel(first..=last).is_none() {
            let model = self.certificate.last_stage();
            return Err(wrong(format!("stages {first}..={last} of a module with 0..={model}")));
        }
        let specs = &self.certificate.stages[first as usize].inputs;
        if specs.len() != self.inputs.len() {
            let seen = self.inputs.len();
            return Err(wrong(format!("{seen} inputs, the stage takes {}", specs.len())));
        }
        let mut inputs = Vec::with_capacity(specs.len());
        for (spec, tensor) in specs.iter().zip(self.inputs) {
            datatype::check(spec, tensor)?;
            inputs.push(InputHead {
                name: &spec.name,
                shape: &tensor.shape,
                datatype: datatype::name(tensor.dtype),
                parameters: BinarySize { binary_data_size: tensor.data.len() },
            });
        }
        // 0 would be no limit.
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let parameters = RequestParameters {
            binary_data_output: true,
            first_stage: first,
            last_stage: last,
            timeout: self.timeout.map(micros),
        };
        let mut body =
            serde_json::to_vec(&RequestHead { id: self.id.to_string(), parameters, inputs })
                .expect("a request has only string keys and whole numbers");
        let head_bytes = Some(body.len());
        body.reserve_exact(self.inputs.iter().map(|tensor| tensor.data.len()).sum());
        for tensor in self.inputs {
            body.extend_from_slice(&tensor.data);
        }
        Ok(Encoded { body, head_bytes })
    }

    /// Decodes a response's body, whose JSON part has `head_bytes`.
    pub fn decode(&self, body: &[u8], head_bytes: usize) -> Result<ClientResponse, ProtocolError> {
        let (head, mut data) = split(body, Some(head_bytes))?;
        let head: ResponseHead = serde_json::from_slice(head)
            .map_err(|error| wrong(format!("its JSON part is not a response: {error}")))?;
        let specs = self.certificate.stages.get(*self.stages.end() as usize);
        let specs = specs.map_or(&[][..], |stage| &stage.outputs);
        let mut outputs = Vec::with_capacity(specs.len());
        for (spec, output) in specs.iter().zip(&head.outputs) {
            if output.name != spec.name || output.datatype != datatype::name(spec.dtype) {
                let (name, datatype) = (&output.name, &output.datatype);
                return Err(wrong(format!("output {name:?} of type {datatype}, wanted {spec}")));
            }
            let size = output.parameters.binary_data_size;
            let (bytes, rest) = data.split_at_checked(size).ok_or_else(|| {
                wrong(format!("output {:?} has {size} bytes, {} are left", spec.name, data.len()))
            })?;
            data = rest;
            let (dtype, shape) = (spec.dtype, output.shape.clone());
            outputs.push(Tensor { dtype, shape, data: bytes.to_vec() });
        }
        if head.outputs.len() != specs.len() || !data.is_empty() {
            let (seen, wanted, left) = (head.outputs.len(), specs.len(), data.len());
            return Err(wrong(format!(
                "it has {seen} outputs, wanted {wanted}; {left} bytes are left over"
            )));
        }
        let ResponseParameters { digest, fuel, queue_ns, compute_ns } = head.parameters;
        let (queue, compute) = (Duration::from_nanos(queue_ns), Duration::from_nanos(compute_ns));
        let id = head.id.and_then(|id| id.parse().ok());
        Ok(ClientResponse { id, digest, fuel, queue, compute, outputs })
    }
}

/// The message of an error's body: the protocol's, or the text as it is.
pub fn error_message(body: &[u8]) -> String {
    let text = match serde_json::from_slice(body) {
        Ok(ErrorObject { error }) => error,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    text.chars().take(MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use leeway_contract::certificate::{Compiler, FORMAT, Model};
    use leeway_contract::{Bound, DType, EngineClaim, Stage, StageFuel, TensorSpec};

    use super::*;
    use crate::{Answer, Request};

    fn certificate() -> Certificate {
        let spec =
            |name: &str| TensorSpec { name: name.into(), dtype: DType::F32, shape: vec![1, 2] };
        let stage = Stage {
            name: "s".into(),
            inputs: vec![spec("x")],
            outputs: vec![spec("y")],
            fuel: StageFuel::default(),
            bound: Bound::Static,
            macs: 0,
            weight_bytes: 0,
            layers: vec![],
        };
        Certificate {
            format: FORMAT,
            model: Model { name: "m".into(), version: "1".into(), source: Digest::of(b"onnx") },
            compiler: Compiler { name: "leeway".into(), version: "0".into() },
            engine: EngineClaim::of_compiled("48.0.8", "table"),
            call_fuel: Fuel(5),
            stages: vec![stage],
            memory_bytes: 65536,
            activation_bytes: 0,
            golden: vec![],
            labels: None,
            preprocessing: None,
        }
    }

    #[test]
    fn client_and_server_understand_each_other_to_the_bit() {
        let certificate = certificate();
        let inputs = [Tensor::from_f32(&[1, 2], &[f32::NAN, -0.0])];
        let (timeout, stages) = (Some(Duration::from_nanos(10)), 0..=0);
        let asked =
            ClientRequest { id: 7, certificate: &certificate, stages, inputs: &inputs, timeout };
        let Encoded { body, head_bytes } = asked.encode().unwrap();

        let mut request = Request::decode(&body, head_bytes).unwrap();
        assert_eq!(request.parameters.timeout(), Some(Duration::from_micros(1)));
        assert_eq!(request.parameters.range(&certificate), Ok(0..=0));
        assert_eq!(request.take_inputs(certificate.inputs()).unwrap(), inputs);
        let answer = Answer {
            model_name: "m",
            model_version: "1",
            digest: Digest::of(b"m"),
            fuel: Fuel(u64::MAX),
            queue: Duration::from_micros(3),
            compute: Duration::from_micros(4),
            specs: certificate.outputs(),
            outputs: &inputs,
            labels: None,
        };
        let Encoded { body, head_bytes } = answer.encode(&request).unwrap();
        let response = asked.decode(&body, head_bytes.unwrap()).unwrap();
        assert_eq!((response.id, &response.outputs[..]), (Some(7), &inputs[..]));
        assert_eq!((response.digest, response.fuel), (answer.digest, answer.fuel));
        assert_eq!((response.queue, response.compute), (answer.queue, answer.compute));

        for cut in 0..body.len() {
            assert!(asked.decode(&body[..cut], head_bytes.unwrap()).is_err(), "{cut}");
        }
        assert!(asked.decode(&[&body[..], b"x"].concat(), head_bytes.unwrap()).is_err());
    }

    #[test]
    fn an_error_is_read_in_either_form() {
        assert_eq!(error_message(br#"{"error": "no"}"#), "no");
        assert_eq!(error_message(b" Bad Gateway\n"), "Bad Gateway");
        assert_eq!(error_message(&[b'x'; 1000]).len(), MESSAGE_CHARS);
    }
}
