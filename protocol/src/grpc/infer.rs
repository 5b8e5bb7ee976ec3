//! An inference request and its response, and what they stand for.

use std::collections::HashMap;
use std::time::Duration;

use leeway_contract::Tensor;

use super::tensors::Contents;
use crate::request::{Form, Parameters, Request, WantedOutput};
use crate::response::{Answer, OutputTensor};
use crate::{ProtocolError, datatype, wrong};

/// `ModelInferRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InferRequest {
    /// A name or a digest.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// Its version, or nothing.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// To be echoed.
    #[prost(string, tag = "3")]
    pub id: String,
    /// `first_stage`, `last_stage` and `timeout`, as over HTTP.
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    /// The inputs.
    #[prost(message, repeated, tag = "5")]
    pub inputs: Vec<InputTensor>,
    /// The outputs that are wanted; all if there is none.
    #[prost(message, repeated, tag = "6")]
    pub outputs: Vec<RequestedOutput>,
    /// The data of all inputs, or none: then each has `contents`.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub raw_input_contents: Vec<Vec<u8>>,
}

/// `ModelInferRequest.InferInputTensor`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InputTensor {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The protocol's name of its type.
    #[prost(string, tag = "2")]
    pub datatype: String,
    /// The size of each dimension.
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
    /// Its elements, where they are not among the raw ones.
    #[prost(message, optional, tag = "5")]
    pub contents: Option<Contents>,
}

/// `ModelInferRequest.InferRequestedOutputTensor`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestedOutput {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// `classification`, as over HTTP.
    #[prost(map = "string, message", tag = "2")]
    pub parameters: HashMap<String, Parameter>,
}

/// `InferParameter`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Parameter {
    /// The value.
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    pub value: Option<Value>,
}

/// The value of a parameter.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    /// A truth value.
    #[prost(bool, tag = "1")]
    Bool(bool),
    /// A whole number.
    #[prost(int64, tag = "2")]
    Int(i64),
    /// A text.
    #[prost(string, tag = "3")]
    Text(String),
    /// A fraction.
    #[prost(double, tag = "4")]
    Double(f64),
    /// A whole number that is not negative.
    #[prost(uint64, tag = "5")]
    Unsigned(u64),
}

/// `ModelInferResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct InferResponse {
    /// As in the request.
    #[prost(string, tag = "1")]
    pub model_name: String,
    /// The version that answers.
    #[prost(string, tag = "2")]
    pub model_version: String,
    /// As in the request.
    #[prost(string, tag = "3")]
    pub id: String,
    /// `digest`, `fuel`, `queue_ns` and `compute_ns`, as over HTTP.
    #[prost(map = "string, message", tag = "4")]
    pub parameters: HashMap<String, Parameter>,
    /// The outputs.
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<InputTensor>,
    /// The data of all outputs, or none: then each has `contents`.
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub raw_output_contents: Vec<Vec<u8>>,
}

impl InferRequest {
    /// The request that the message stands for. With raw inputs, raw outputs are wanted.
    pub fn into_request(self) -> Result<Request, ProtocolError> {
        let (given, raws) = (self.inputs.len(), self.raw_input_contents.len());
        if raws > 0 && raws != given {
            return Err(wrong(format!("{raws} raw_input_contents for {given} inputs")));
        }
        let parameters = Parameters {
            first_stage: number(&self.parameters, "first_stage")?,
            last_stage: number(&self.parameters, "last_stage")?,
            timeout: number(&self.parameters, "timeout")?,
            stream: None,
            binary_data_output: raws > 0 || given == 0,
        };
        let mut raw = self.raw_input_contents.into_iter();
        let inputs = self.inputs.into_iter().map(|input| input.into_named(raw.next()));
        let inputs = inputs.collect::<Result<_, _>>()?;
        let form = if parameters.binary_data_output { Form::Binary } else { Form::Json };
        let wanted = |output: RequestedOutput| {
            let classes = number(&output.parameters, "classification")?;
            Ok(WantedOutput { name: output.name, form, classes })
        };
        let outputs = self.outputs.into_iter().map(wanted).collect::<Result<_, _>>()?;
        let id = Some(self.id).filter(|id| !id.is_empty());
        Request::new(id, parameters, inputs, Some(outputs))
    }
}

/// A whole number among the parameters, if it is there. Other parameters are ignored, as
/// the protocol wants it.
fn number<T: TryFrom<i128>>(
    parameters: &HashMap<String, Parameter>,
    name: &str,
) -> Result<Option<T>, ProtocolError> {
    let Some(Parameter { value }) = parameters.get(name) else { return Ok(None) };
    let number = match value {
        Some(Value::Int(number)) => i128::from(*number),
        Some(Value::Unsigned(number)) => i128::from(*number),
        other => {
            return Err(wrong(format!("the parameter {name:?} is {other:?}, wanted a number")));
        }
    };
    let fits = T::try_from(number).map(Some);
    fits.map_err(|_| wrong(format!("the parameter {name:?} is {number}, out of its range")))
}

impl InputTensor {
    fn into_named(self, raw: Option<Vec<u8>>) -> Result<(String, Tensor), ProtocolError> {
        let Self { name, datatype, shape, contents } = self;
        let dtype = datatype::parse(&datatype)?;
        let sizes = shape.iter().map(|size| u32::try_from(*size));
        let shape = sizes.collect::<Result<Vec<u32>, _>>();
        let shape = shape.map_err(|_| wrong(format!("input {name:?}: a size is out of range")))?;
        let data = match (raw, contents) {
            (Some(data), None) => data,
            (None, Some(contents)) => contents.to_bytes(&name, dtype)?,
            (Some(_), Some(_)) => {
                return Err(wrong(format!("input {name:?} has contents and raw_input_contents")));
            }
            (None, None) => return Err(wrong(format!("input {name:?} has no contents"))),
        };
        Ok((name, Tensor { dtype, shape, data }))
    }
}

impl Answer<'_> {
    /// The message with the outputs that the request wants: as raw data, or in typed
    /// fields where its inputs were and all outputs have such.
    pub fn to_message(&self, request: &Request) -> Result<InferResponse, ProtocolError> {
        let wanted = self.wanted(request)?;
        let typed = wanted
            .iter()
            .all(|(wanted, output)| wanted.form == Form::Json && Contents::holds(output));
        let mut outputs = Vec::with_capacity(wanted.len());
        let mut raw_output_contents = Vec::new();
        for (wanted, output) in wanted {
            let contents = typed.then(|| Contents::of(&output));
            outputs.push(InputTensor {
                name: wanted.name,
                datatype: output.datatype().to_owned(),
                shape: output.shape().iter().map(|size| i64::from(*size)).collect(),
                contents,
            });
            if !typed {
                raw_output_contents.push(raw(&output));
            }
        }
        let nanos = |time: Duration| Value::Int(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
        let fuel = Value::Int(i64::try_from(self.fuel.0).unwrap_or(i64::MAX));
        let parameters = [
            ("digest", Value::Text(self.digest.to_string())),
            ("fuel", fuel),
            ("queue_ns", nanos(self.queue)),
            ("compute_ns", nanos(self.compute)),
        ];
        let named =
            |(name, value): (&str, Value)| (name.to_owned(), Parameter { value: Some(value) });
        Ok(InferResponse {
            model_name: self.model_name.to_owned(),
            model_version: self.model_version.to_owned(),
            id: request.id.clone().unwrap_or_default(),
            parameters: parameters.map(named).into(),
            outputs,
            raw_output_contents,
        })
    }
}

fn raw(output: &OutputTensor<'_>) -> Vec<u8> {
    let mut data = Vec::with_capacity(output.binary_bytes());
    output.write(&mut data);
    data
}

#[cfg(test)]
mod tests {
    use leeway_contract::{DType, Digest, Fuel, TensorSpec};
    use prost::Message as _;

    use super::*;

    fn parameter(value: Value) -> Parameter {
        Parameter { value: Some(value) }
    }

    fn input(contents: Option<Contents>) -> InputTensor {
        let (name, datatype) = ("x".to_owned(), "FP32".to_owned());
        InputTensor { name, datatype, shape: vec![2], contents }
    }

    fn specs() -> [TensorSpec; 1] {
        [TensorSpec { name: "x".into(), dtype: DType::F32, shape: vec![2] }]
    }

    fn answer<'a>(specs: &'a [TensorSpec], outputs: &'a [Tensor]) -> Answer<'a> {
        Answer {
            model_name: "m",
            model_version: "1",
            digest: Digest::of(b"m"),
            fuel: Fuel(5),
            queue: Duration::ZERO,
            compute: Duration::from_nanos(7),
            specs,
            outputs,
            labels: None,
        }
    }

    #[test]
    fn typed_and_raw_inputs_are_the_same_and_are_answered_in_kind() {
        let tensor = Tensor::from_f32(&[2], &[1.5, f32::NAN]);
        let typed = Contents::of(&OutputTensor::Tensor(&tensor));
        let typed = InferRequest { inputs: vec![input(Some(typed))], ..InferRequest::default() };
        let raw_input_contents = vec![tensor.data.clone()];
        let raw = InferRequest {
            inputs: vec![input(None)],
            raw_input_contents,
            ..InferRequest::default()
        };
        let (specs, outputs) = (specs(), [tensor.clone()]);
        for (message, is_raw) in [(typed, false), (raw, true)] {
            // Over the wire.
            let message = InferRequest::decode(&*message.encode_to_vec()).unwrap();
            let mut request = message.into_request().unwrap();
            assert_eq!(request.take_inputs(&specs).unwrap(), outputs);
            let answer = answer(&specs, &outputs).to_message(&request).unwrap();
            let answer = InferResponse::decode(&*answer.encode_to_vec()).unwrap();
            assert_eq!(answer.raw_output_contents.len(), usize::from(is_raw));
            assert_eq!(answer.outputs[0].contents.is_some(), !is_raw);
            assert_eq!(answer.parameters["compute_ns"], parameter(Value::Int(7)));
            let raw = answer.raw_output_contents.into_iter().next();
            let (_, seen) = answer.outputs[0].clone().into_named(raw).unwrap();
            assert_eq!(seen, tensor);
        }
    }

    #[test]
    fn parameters_are_numbers_of_either_kind_within_their_range() {
        let request = |name: &str, value| InferRequest {
            parameters: [(name.to_owned(), parameter(value))].into(),
            ..InferRequest::default()
        };
        for value in [Value::Int(3), Value::Unsigned(3)] {
            let request = request("timeout", value).into_request().unwrap();
            assert_eq!(request.parameters.timeout(), Some(Duration::from_micros(3)));
        }
        for value in [Value::Int(-1), Value::Text("3".into()), Value::Unsigned(1 << 32)] {
            let error = request("first_stage", value).into_request().unwrap_err();
            assert!(error.to_string().contains("first_stage"), "{error}");
        }
        assert!(request("priority", Value::Bool(true)).into_request().is_ok());
    }

    #[test]
    fn data_twice_or_not_at_all_is_refused() {
        let contents = || Some(Contents::default());
        for (contents, raw, words) in [
            (None, vec![], "no contents"),
            (contents(), vec![vec![]], "and raw_input_contents"),
            (None, vec![vec![], vec![]], "2 raw_input_contents for 1"),
        ] {
            let message = InferRequest {
                inputs: vec![input(contents)],
                raw_input_contents: raw,
                ..InferRequest::default()
            };
            let error = message.into_request().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let shape = vec![-1];
        let message = InferRequest {
            inputs: vec![InputTensor { shape, ..input(contents()) }],
            ..InferRequest::default()
        };
        assert!(message.into_request().unwrap_err().to_string().contains("out of range"));
    }
}
