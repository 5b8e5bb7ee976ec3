//! An inference request: decoded from a body, and matched with a certificate.

use std::ops::RangeInclusive;

use leeway_contract::{Certificate, Tensor, TensorSpec};
use serde::Deserialize;

use super::scalars::Scalars;
use super::{ProtocolError, datatype, wrong};

#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Option<Vec<WantedOutput>>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    binary_data_output: bool,
    first_stage: Option<u32>,
    last_stage: Option<u32>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<u32>,
    datatype: String,
    #[serde(default)]
    parameters: InputParameters,
    data: Option<Scalars>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<usize>,
}

#[derive(Deserialize)]
struct WantedOutput {
    name: String,
    #[serde(default)]
    parameters: OutputParameters,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<serde_json::Value>,
}

/// A decoded request.
#[derive(Debug)]
pub(crate) struct Request {
    /// To be echoed.
    pub(super) id: Option<String>,
    first_stage: Option<u32>,
    last_stage: Option<u32>,
    inputs: Vec<(String, Tensor)>,
    /// The names of the outputs that are wanted; all if it is `None`.
    outputs: Option<Vec<(String, bool)>>,
    binary_outputs: bool,
}

impl Request {
    /// Decodes a body whose JSON part has `head_bytes`, or which is all JSON.
    pub(crate) fn decode(body: &[u8], head_bytes: Option<usize>) -> Result<Self, ProtocolError> {
        let length = head_bytes.unwrap_or(body.len());
        let (json, mut binary) = body.split_at_checked(length).ok_or_else(|| {
            wrong(format!("the JSON part shall have {length} bytes, the body has {}", body.len()))
        })?;
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
        let binary_outputs = head.parameters.binary_data_output;
        let wanted = |output: WantedOutput| output.into_wanted(binary_outputs);
        let outputs = head.outputs.map(|outputs| outputs.into_iter().map(wanted).collect());
        Ok(Self {
            id: head.id,
            first_stage: head.parameters.first_stage,
            last_stage: head.parameters.last_stage,
            inputs,
            outputs: outputs.transpose()?,
            binary_outputs,
        })
    }

    /// The stages to run: all, or those that the parameters say.
    pub(crate) fn range(
        &self,
        certificate: &Certificate,
    ) -> Result<RangeInclusive<u32>, ProtocolError> {
        let last_stage = certificate.last_stage();
        let first = self.first_stage.unwrap_or(0);
        let last = self.last_stage.unwrap_or(last_stage);
        match certificate.fuel(first..=last) {
            Some(_) => Ok(first..=last),
            None => Err(wrong(format!(
                "first_stage {first} to last_stage {last} is no range of the model's stages, 0 to {last_stage}"
            ))),
        }
    }

    /// The inputs in the order of `specs`, of which each must be there once, and
    /// no other.
    pub(crate) fn take_inputs(
        &mut self,
        specs: &[TensorSpec],
    ) -> Result<Vec<Tensor>, ProtocolError> {
        let mut given = std::mem::take(&mut self.inputs);
        let mut inputs = Vec::with_capacity(specs.len());
        for spec in specs {
            let position = given.iter().position(|(name, _)| *name == spec.name);
            let position =
                position.ok_or_else(|| wrong(format!("the input {:?} is missing", spec.name)))?;
            let (_, tensor) = given.remove(position);
            spec.check(&tensor).map_err(|error| wrong(format!("input {error}")))?;
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
    pub(crate) fn check_outputs(&self, specs: &[TensorSpec]) -> Result<(), ProtocolError> {
        for (name, _) in self.outputs.iter().flatten() {
            if !specs.iter().any(|spec| spec.name == *name) {
                let names: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
                return Err(wrong(format!("the output {name:?} is not one of {names:?}")));
            }
        }
        Ok(())
    }

    /// The outputs to return, by their position in `specs`, and whether each is
    /// wanted as binary data. `check_outputs` has accepted the same `specs`.
    pub(super) fn wanted<'a>(&'a self, specs: &'a [TensorSpec]) -> Vec<(usize, bool)> {
        let position = |name: &String| specs.iter().position(|spec| spec.name == *name);
        match &self.outputs {
            Some(outputs) => outputs
                .iter()
                .filter_map(|(name, binary)| Some((position(name)?, *binary)))
                .collect(),
            None => (0..specs.len()).map(|i| (i, self.binary_outputs)).collect(),
        }
    }
}

impl Input {
    /// The tensor, with its data from the JSON part or from the front of
    /// `binary`. Its length is checked with the certificate.
    fn into_tensor(self, binary: &mut &[u8]) -> Result<(String, Tensor), ProtocolError> {
        let name = self.name;
        let dtype = datatype::parse(&self.datatype)?;
        let data = match (self.data, self.parameters.binary_data_size) {
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

impl WantedOutput {
    fn into_wanted(self, binary_outputs: bool) -> Result<(String, bool), ProtocolError> {
        if self.parameters.classification.is_some() {
            let name = self.name;
            return Err(wrong(format!("output {name:?}: there is no classification here")));
        }
        Ok((self.name, self.parameters.binary_data.unwrap_or(binary_outputs)))
    }
}
