//! An inference request: decoded from a body, and matched with a certificate.

use std::ops::RangeInclusive;
use std::time::Duration;

use leeway_contract::{Certificate, Tensor, TensorSpec};
use serde::Deserialize;

use super::scalars::Scalars;
use super::{ProtocolError, datatype, split, wrong};

/// How far from its end a request is looked at for its parameters, in bytes.
const LONGEST_TAIL: usize = 1024;

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<Parameters>,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Option<Vec<OutputHead>>,
}

/// What a request asks for besides its tensors. Unknown parameters are ignored, as
/// the protocol wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Parameters {
    /// The first stage to run; the model's first if it is `None`.
    pub first_stage: Option<u32>,
    /// The last stage to run; the model's last if it is `None`.
    pub last_stage: Option<u32>,
    /// The microseconds that the client has left. 0 is Triton's "no limit".
    pub timeout: Option<u64>,
    /// Whether outputs are wanted as binary data where they do not say themselves.
    #[serde(default)]
    pub binary_data_output: bool,
    /// On a device: the stream that the inputs belong to.
    pub stream: Option<String>,
}

/// What may follow the inputs of a request, as far as it matters before these are read.
#[derive(Deserialize)]
struct Tail {
    #[serde(default)]
    parameters: Option<Parameters>,
}

impl Parameters {
    /// The parameters at the end of a request, where most clients have them, without reading
    /// the tensors before. `None` where that does not tell: then only decoding does.
    ///
    /// What follows the last bracket of an array and closes one object more than it opens is
    /// at the top of the request, if that is JSON at all: in a string, quotes have escapes.
    pub fn at_end(body: &[u8], head_bytes: Option<usize>) -> Option<Self> {
        let (json, _) = split(body, head_bytes).ok()?;
        let end = json.get(json.len().saturating_sub(LONGEST_TAIL)..)?;
        let place = end.iter().rposition(|byte| *byte == b']')?;
        let members = end[place + 1..].trim_ascii_start().strip_prefix(b",")?;
        let tail: Tail = serde_json::from_slice(&[&b"{"[..], members].concat()).ok()?;
        tail.parameters
    }

    /// What is left of the client's time, from the request's arrival on.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout.filter(|micros| *micros > 0).map(Duration::from_micros)
    }

    /// The stages to run: all, or those that the parameters say. Only all where machines
    /// do not agree to the bit: parts of two would be the result of neither.
    pub fn range(&self, certificate: &Certificate) -> Result<RangeInclusive<u32>, ProtocolError> {
        let last_stage = certificate.last_stage();
        let first = self.first_stage.unwrap_or(0);
        let last = self.last_stage.unwrap_or(last_stage);
        match certificate.fuel(first..=last) {
            Some(_) if !certificate.is_bit_identical() && (first, last) != (0, last_stage) => {
                Err(wrong(format!(
                    "first_stage {first} to last_stage {last} is a part of a model with relaxed \
                     SIMD, which gives other bits on other machines: run all stages on one"
                )))
            }
            Some(_) => Ok(first..=last),
            None => Err(wrong(format!(
                "first_stage {first} to last_stage {last} is no range of the model's stages, 0 to {last_stage}"
            ))),
        }
    }
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<u32>,
    datatype: String,
    #[serde(default)]
    parameters: Option<InputParameters>,
    data: Option<Scalars>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<usize>,
}

#[derive(Deserialize)]
struct OutputHead {
    name: String,
    #[serde(default)]
    parameters: Option<OutputParameters>,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<u32>,
}

/// How an output is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As an array of numbers.
    Json,
    /// As bytes after the JSON part.
    Binary,
}

/// An output that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedOutput {
    /// Its name.
    pub name: String,
    /// How it is wanted.
    pub form: Form,
    /// That many of its classes are wanted in its place; at least 1.
    pub classes: Option<u32>,
}

/// A decoded request.
#[derive(Debug)]
pub struct Request {
    /// To be echoed.
    pub id: Option<String>,
    /// Stages, and the client's time.
    pub parameters: Parameters,
    inputs: Inputs,
    /// The outputs that are wanted; all if it is `None`.
    outputs: Option<Vec<WantedOutput>>,
}

#[derive(Debug)]
enum Inputs {
    Named(Vec<(String, Tensor)>),
    /// The data of the only input. Its type and shape are the model's.
    Raw(Vec<u8>),
}

impl Request {
    /// Decodes a body whose JSON part has `head_bytes`, or which is all JSON. A
    /// JSON part of 0 bytes is Triton's raw binary request: the body is the data of
    /// the model's only input, and the outputs are wanted as binary data.
    pub fn decode(body: &[u8], head_bytes: Option<usize>) -> Result<Self, ProtocolError> {
        if head_bytes == Some(0) {
            let parameters = Parameters { binary_data_output: true, ..Parameters::default() };
            let inputs = Inputs::Raw(body.to_vec());
            return Ok(Self { id: None, parameters, inputs, outputs: None });
        }
        let (json, mut binary) = split(body, head_bytes)?;
        let head: Head = serde_json::from_slice(json)
            .map_err(|error| wrong(format!("not an inference request: {error}")))?;
        let mut inputs = Vec::with_capacity(head.inputs.len().min(64));
        for input in head.inputs {
            inputs.push(input.into_tensor(&mut binary)?);
        }
        if !binary.is_empty() {
            let left = binary.len();
            return Err(wrong(format!("{left} bytes of binary data belong to no input")));
        }
        let parameters = head.parameters.unwrap_or_default();
        let wanted = |output: OutputHead| output.into_wanted(parameters.binary_data_output);
        let outputs = head.outputs.map(|outputs| outputs.into_iter().map(wanted).collect());
        Self::new(head.id, parameters, inputs, outputs)
    }

    /// A request from its parts, however they came.
    pub fn new(
        id: Option<String>,
        parameters: Parameters,
        inputs: Vec<(String, Tensor)>,
        outputs: Option<Vec<WantedOutput>>,
    ) -> Result<Self, ProtocolError> {
        for output in outputs.iter().flatten() {
            if output.classes == Some(0) {
                let name = &output.name;
                return Err(wrong(format!("output {name:?}: 0 classes, wanted at least 1")));
            }
        }
        // The protocol's clients send an empty list where they want all.
        let outputs = outputs.filter(|outputs| !outputs.is_empty());
        Ok(Self { id, parameters, inputs: Inputs::Named(inputs), outputs })
    }

    /// Leaves the client no more time than this.
    pub fn shorten(&mut self, time: Duration) {
        let time = self.parameters.timeout().map_or(time, |timeout| timeout.min(time));
        // 0 would be no limit.
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        self.parameters.timeout = Some(micros);
    }

    /// The inputs in the order of `specs`, of which each must be there once, and
    /// no other.
    pub fn take_inputs(&mut self, specs: &[TensorSpec]) -> Result<Vec<Tensor>, ProtocolError> {
        let inputs = std::mem::replace(&mut self.inputs, Inputs::Named(Vec::new()));
        let mut given = match (inputs, specs) {
            (Inputs::Named(given), _) => given,
            (Inputs::Raw(data), [spec]) => {
                let tensor = Tensor { dtype: spec.dtype, shape: spec.shape.clone(), data };
                vec![(spec.name.clone(), tensor)]
            }
            (Inputs::Raw(_), _) => {
                let count = specs.len();
                return Err(wrong(format!("raw binary data is for one input, there are {count}")));
            }
        };
        let mut inputs = Vec::with_capacity(specs.len());
        for spec in specs {
            let position = given.iter().position(|(name, _)| *name == spec.name);
            let position =
                position.ok_or_else(|| wrong(format!("the input {:?} is missing", spec.name)))?;
            let (_, tensor) = given.remove(position);
            datatype::check(spec, &tensor)?;
            inputs.push(tensor);
        }
        match given.first() {
            None => Ok(inputs),
            Some((name, _)) => {
                let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
                Err(wrong(format!("the input {name:?} is not one of {names:?}, or is there twice")))
            }
        }
    }

    /// Checks that the outputs that are wanted are among `specs`.
    pub fn check_outputs(&self, specs: &[TensorSpec]) -> Result<(), ProtocolError> {
        for WantedOutput { name, .. } in self.outputs.iter().flatten() {
            if !specs.iter().any(|spec| spec.name == *name) {
                let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
                return Err(wrong(format!("the output {name:?} is not one of {names:?}")));
            }
        }
        Ok(())
    }

    /// The outputs to return, each with its position in `specs`. `check_outputs`
    /// has accepted the same `specs`.
    pub fn wanted(&self, specs: &[TensorSpec]) -> Vec<(usize, WantedOutput)> {
        let form = if self.parameters.binary_data_output { Form::Binary } else { Form::Json };
        let position = |name: &String| specs.iter().position(|spec| spec.name == *name);
        match &self.outputs {
            Some(outputs) => outputs
                .iter()
                .filter_map(|output| Some((position(&output.name)?, output.clone())))
                .collect(),
            None => {
                let all = |spec: &TensorSpec| WantedOutput {
                    name: spec.name.clone(),
                    form,
                    classes: None,
                };
                specs.iter().map(all).enumerate().collect()
            }
        }
    }
}

impl Input {
    /// The tensor, with its data from the JSON part or from the front of
    /// `binary`. Its length is checked with the certificate.
    fn into_tensor(self, binary: &mut &[u8]) -> Result<(String, Tensor), ProtocolError> {
        let name = self.name;
        let dtype = datatype::parse(&self.datatype)?;
        let size = self.parameters.unwrap_or_default().binary_data_size;
        let data = match (self.data, size) {
            (Some(scalars), None) => scalars.to_bytes(&name, dtype)?,
            (None, Some(size)) => {
                let (data, rest) = binary.split_at_checked(size).ok_or_else(|| {
                    let left = binary.len();
                    wrong(format!("input {name:?}: {size} bytes of binary data, {left} are left"))
                })?;
                *binary = rest;
                data.to_vec()
            }
            _ => {
                let wanted = "wanted either \"data\" or the parameter \"binary_data_size\"";
                return Err(wrong(format!("input {name:?}: {wanted}")));
            }
        };
        Ok((name, Tensor { dtype, shape: self.shape, data }))
    }
}

impl OutputHead {
    fn into_wanted(self, binary_outputs: bool) -> WantedOutput {
        let parameters = self.parameters.unwrap_or_default();
        let binary = parameters.binary_data.unwrap_or(binary_outputs);
        let form = if binary { Form::Binary } else { Form::Json };
        WantedOutput { name: self.name, form, classes: parameters.classification }
    }
}

#[cfg(test)]
mod tests {
    use leeway_contract::DType;

    use super::*;

    fn spec(name: &str) -> TensorSpec {
        TensorSpec { name: name.into(), dtype: DType::F32, shape: vec![1, 2] }
    }

    #[test]
    fn raw_data_is_the_only_input() {
        let data = [1, 2, 3, 4, 5, 6, 7, 8];
        let mut request = Request::decode(&data, Some(0)).unwrap();
        let inputs = request.take_inputs(&[spec("x")]).unwrap();
        assert_eq!((&inputs[0].data[..], &inputs[0].shape[..]), (&data[..], &[1, 2][..]));
        assert_eq!(request.wanted(&[spec("y")])[0].1.form, Form::Binary);
        let mut request = Request::decode(&data, Some(0)).unwrap();
        let error = request.take_inputs(&[spec("x"), spec("z")]).unwrap_err().to_string();
        assert!(error.contains("there are 2"), "{error}");
        let error = Request::decode(&data[1..], Some(0)).unwrap().take_inputs(&[spec("x")]);
        assert!(error.unwrap_err().to_string().contains("wanted 8 bytes of data, seen 7"));
    }

    #[test]
    fn nulls_and_empty_lists_are_as_if_absent() {
        let json = br#"{"id": null, "parameters": null, "outputs": [],
            "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": null,
            "data": [1, 2]}], "model_name": "ignored"}"#;
        let mut request = Request::decode(json, None).unwrap();
        assert_eq!((&request.id, request.parameters.timeout()), (&None, None));
        assert_eq!(request.wanted(&[spec("y"), spec("z")]).len(), 2);
        assert_eq!(request.take_inputs(&[spec("x")]).unwrap().len(), 1);
    }

    #[test]
    fn the_clients_time_is_in_microseconds_and_0_is_none() {
        let timeout = |text: &str| {
            let json = format!(r#"{{"inputs": [], "parameters": {{"timeout": {text}}}}}"#);
            Request::decode(json.as_bytes(), None).map(|request| request.parameters.timeout())
        };
        assert_eq!(timeout("1500"), Ok(Some(Duration::from_micros(1500))));
        assert_eq!(timeout("0"), Ok(None));
        assert!(timeout("-1").is_err() && timeout("\"1\"").is_err() && timeout("1.5").is_err());
    }

    #[test]
    fn parameters_at_the_end_are_those_of_the_request() {
        let input = r#"{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}"#;
        let first = |members: &str| format!(r#"{{"inputs": [{input}]{members}}}"#);
        let at_end = |json: &str| Parameters::at_end(json.as_bytes(), None);
        let told = first(r#", "id": "7", "parameters": {"timeout": 20, "last_stage": 1, "y": {}}"#);
        let seen = at_end(&told).unwrap();
        assert_eq!(seen, Request::decode(told.as_bytes(), None).unwrap().parameters);
        assert_eq!((seen.timeout, seen.last_stage), (Some(20), Some(1)));
        // Those of an input are not the request's, and neither is a text.
        for json in [
            first(""),
            first(r#", "id": "a]", "parameters": {"timeout": 20}"#),
            first(r#", "id": "a],\"parameters\": {\"timeout\": 20}}""#),
            first(r#", "parameters": {"a": [], "timeout": 20}"#),
            first(r#", "outputs": [{"name": "y", "parameters": {"timeout": 20}}]"#),
            format!(r#"{{"parameters": {{"timeout": 20}}, "inputs": [{input}]}}"#),
            r#"{"inputs": [{"name": "x", "shape": [2], "parameters": {"timeout": 20}}]}"#.into(),
        ] {
            assert_eq!(at_end(&json), None, "{json}");
        }
        let binary = [told.as_bytes(), b"],\"parameters\": {}}"].concat();
        assert_eq!(Parameters::at_end(&binary, Some(told.len())), Some(seen));
        assert_eq!(Parameters::at_end(&binary, Some(binary.len() + 1)), None);
    }
}
