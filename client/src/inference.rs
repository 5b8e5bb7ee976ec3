//! Inference on the device: the Open Inference Protocol with binary tensors.

use http::Method;
use leeway_contract::{Digest, Fuel, Tensor};
use leeway_protocol::metadata::{ModelMetadata, ModelReady};
use leeway_protocol::{HEADER_LENGTH, datatype, parse_head_bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Client, ClientError};

/// Where the agent tells what its offloader decided.
const DECISION: &str = "leeway-decision";
/// The most bytes of an answer.
const MOST_BYTES: u64 = 1 << 30;

/// An input of a model.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// Its name in the model.
    pub name: &'a str,
    /// Its elements.
    pub tensor: &'a Tensor,
}

/// An output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name in the model.
    pub name: String,
    /// Its elements.
    pub tensor: Tensor,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The outputs, in the model's order.
    pub outputs: Vec<Output>,
    /// The version that answered.
    pub version: String,
    /// Its module.
    pub digest: Digest,
    /// The fuel that it burned.
    pub fuel: Fuel,
    /// What the offloader decided, and why, as a decision record in JSON; `None`
    /// where the device has no fog host.
    pub decision: Option<Value>,
}

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    model_version: String,
    parameters: HeadParameters,
    outputs: Vec<OutputHead>,
}

#[derive(Deserialize)]
struct HeadParameters {
    digest: Digest,
    fuel: Fuel,
}

#[derive(Deserialize)]
struct OutputHead {
    name: String,
    datatype: String,
    shape: Vec<u32>,
    parameters: BinarySize,
}

#[derive(Deserialize)]
struct BinarySize {
    binary_data_size: usize,
}

impl Client {
    /// What a model takes and gives.
    pub fn metadata(&self, model: &str) -> Result<ModelMetadata, ClientError> {
        self.get(&format!("/v2/models/{model}"))
    }

    /// Whether a model serves.
    pub fn is_ready(&self, model: &str) -> Result<bool, ClientError> {
        match self.get::<ModelReady>(&format!("/v2/models/{model}/ready")) {
            Ok(ready) => Ok(ready.ready),
            Err(ClientError::Status { status: 404 | 503, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Runs a model that has one stream at most on its inputs.
    pub fn infer(&self, model: &str, inputs: &[Input<'_>]) -> Result<Answer, ClientError> {
        self.infer_of(model, None, inputs)
    }

    /// Runs a model on an input of one of its streams: it is answered as was promised to
    /// that. The status 429 says that the input came too early or a newer one took its
    /// place, 503 that the device cannot keep the stream's deadlines at the moment.
    pub fn infer_on(
        &self,
        model: &str,
        stream: &str,
        inputs: &[Input<'_>],
    ) -> Result<Answer, ClientError> {
        self.infer_of(model, Some(stream), inputs)
    }

    fn infer_of(
        &self,
        model: &str,
        stream: Option<&str>,
        inputs: &[Input<'_>],
    ) -> Result<Answer, ClientError> {
        let (body, head_bytes) = encode(stream, inputs);
        let builder = self
            .builder(Method::POST, &format!("/v2/models/{model}/infer"))
            .header("content-type", "application/octet-stream")
            .header(HEADER_LENGTH, head_bytes);
        let mut response = self.exchange(builder, &body[..])?;
        let length = response.headers().get(HEADER_LENGTH);
        let length = length.map(|value| parse_head_bytes(value.as_bytes())).transpose()?;
        let decision = response.headers().get(DECISION);
        let decision = decision.and_then(|value| serde_json::from_slice(value.as_bytes()).ok());
        let body = response.body_mut().with_config().limit(MOST_BYTES).read_to_vec();
        decode(&body.map_err(Box::new)?, length, decision)
    }

    /// Sends a request of the protocol in JSON, for what [`Client::infer`] does not
    /// have: classification, a choice of outputs.
    pub fn infer_json<T: DeserializeOwned>(
        &self,
        model: &str,
        request: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.post(&format!("/v2/models/{model}/infer"), request)
    }
}

/// The body of a request, and the length of its JSON part.
fn encode(stream: Option<&str>, inputs: &[Input<'_>]) -> (Vec<u8>, usize) {
    let heads = inputs.iter().map(|Input { name, tensor }| {
        json!({
            "name": name,
            "shape": tensor.shape,
            "datatype": datatype::name(tensor.dtype),
            "parameters": { "binary_data_size": tensor.data.len() },
        })
    });
    let mut parameters = json!({ "binary_data_output": true });
    if let Some(stream) = stream {
        parameters["stream"] = stream.into();
    }
    let head = json!({
        "parameters": parameters,
        "inputs": heads.collect::<Vec<_>>(),
    });
    let mut body = head.to_string().into_bytes();
    let head_bytes = body.len();
    for input in inputs {
        body.extend_from_slice(&input.tensor.data);
    }
    (body, head_bytes)
}

fn decode(
    body: &[u8],
    head_bytes: Option<usize>,
    decision: Option<Value>,
) -> Result<Answer, ClientError> {
    let wrong = |message: String| ClientError::Answer(message);
    let length = head_bytes.unwrap_or(body.len());
    let (head, mut data) = body.split_at_checked(length).ok_or_else(|| {
        wrong(format!("its JSON part shall have {length} bytes, it has {}", body.len()))
    })?;
    let head: Head = serde_json::from_slice(head).map_err(|error| wrong(error.to_string()))?;
    let mut outputs = Vec::with_capacity(head.outputs.len());
    for OutputHead { name, datatype, shape, parameters } in head.outputs {
        let dtype = datatype::parse(&datatype)?;
        let size = parameters.binary_data_size;
        let elements = shape
            .iter()
            .try_fold(dtype.size_bytes(), |product, &size| product.checked_mul(size as usize));
        let (bytes, rest) = data
            .split_at_checked(size)
            .filter(|_| elements == Some(size))
            .ok_or_else(|| wrong(format!("{size} bytes of {name:?}, {datatype}{shape:?}")))?;
        data = rest;
        outputs.push(Output { name, tensor: Tensor { dtype, shape, data: bytes.to_vec() } });
    }
    if !data.is_empty() {
        return Err(wrong(format!("{} bytes are left over", data.len())));
    }
    let HeadParameters { digest, fuel } = head.parameters;
    Ok(Answer { outputs, version: head.model_version, digest, fuel, decision })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_or_lies_about_its_size_is_an_error() {
        let head = json!({
            "model_version": "1",
            "parameters": { "digest": Digest::of(b"m"), "fuel": 7 },
            "outputs": [{
                "name": "y", "datatype": "FP32", "shape": [1, 2],
                "parameters": { "binary_data_size": 8 },
            }],
        });
        let tensor = Tensor::from_f32(&[1, 2], &[1.0, f32::NAN]);
        let mut body = head.to_string().into_bytes();
        let length = body.len();
        body.extend_from_slice(&tensor.data);
        let answer = decode(&body, Some(length), None).unwrap();
        assert_eq!((&answer.outputs[0].tensor, answer.fuel), (&tensor, Fuel(7)));
        for cut in 0..body.len() {
            assert!(decode(&body[..cut], Some(length), None).is_err(), "{cut}");
        }
        assert!(decode(&[&body[..], b"x"].concat(), Some(length), None).is_err());
        let lie = String::from_utf8_lossy(&body[..length]).replace("[1,2]", "[1,3]");
        assert!(decode(&[lie.as_bytes(), &tensor.data].concat(), Some(lie.len()), None).is_err());
    }
}
