//! An inference response: encoded from what a run gave.

use std::time::Duration;

use leeway_contract::{Digest, Fuel, Tensor, TensorSpec};
use serde::Serialize;

use super::request::{Form, WantedOutput};
use super::scalars::JsonData;
use super::{Encoded, ProtocolError, Request, classification, datatype};

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
    data: Option<Data<'a>>,
}

#[derive(Serialize)]
struct OutputParameters {
    binary_data_size: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Numbers(JsonData<'a>),
    Texts(&'a [String]),
}

/// What a run gave.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// As in the request.
    pub model_name: &'a str,
    /// The version that answers.
    pub model_version: &'a str,
    /// The module that ran.
    pub digest: Digest,
    /// What it burned.
    pub fuel: Fuel,
    /// How long the request waited for a worker.
    pub queue: Duration,
    /// How long the run took.
    pub compute: Duration,
    /// The outputs of the last stage that ran.
    pub specs: &'a [TensorSpec],
    /// The tensors, of which `specs` says what they are.
    pub outputs: &'a [Tensor],
    /// The names of the classes, where they are known.
    pub labels: Option<&'a [String]>,
}

/// An output as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputTensor<'a> {
    /// The tensor itself.
    Tensor(&'a Tensor),
    /// Its best classes, in the extension's text form.
    Classes {
        /// The shape of `texts`.
        shape: Vec<u32>,
        /// In row-major order.
        texts: Vec<String>,
    },
}

impl OutputTensor<'_> {
    /// The protocol's name of the elements' type.
    pub fn datatype(&self) -> &'static str {
        match self {
            OutputTensor::Tensor(tensor) => datatype::name(tensor.dtype),
            OutputTensor::Classes { .. } => classification::DATATYPE,
        }
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[u32] {
        match self {
            OutputTensor::Tensor(tensor) => &tensor.shape,
            OutputTensor::Classes { shape, .. } => shape,
        }
    }

    /// The elements as binary data, appended to `data`.
    pub fn write(&self, data: &mut Vec<u8>) {
        match self {
            OutputTensor::Tensor(tensor) => data.extend_from_slice(&tensor.data),
            OutputTensor::Classes { texts, .. } => {
                for text in texts {
                    let length = u32::try_from(text.len()).expect("a label is short");
                    data.extend_from_slice(&length.to_le_bytes());
                    data.extend_from_slice(text.as_bytes());
                }
            }
        }
    }

    /// How many bytes [`Self::write`] appends.
    pub fn binary_bytes(&self) -> usize {
        match self {
            OutputTensor::Tensor(tensor) => tensor.data.len(),
            OutputTensor::Classes { texts, .. } => texts.iter().map(|text| 4 + text.len()).sum(),
        }
    }

    fn json(&self, name: &str) -> Result<Data<'_>, ProtocolError> {
        match self {
            OutputTensor::Tensor(tensor) => JsonData::new(name, tensor).map(Data::Numbers),
            OutputTensor::Classes { texts, .. } => Ok(Data::Texts(texts)),
        }
    }
}

impl<'a> Answer<'a> {
    /// The outputs that the request wants.
    pub fn wanted(
        &self,
        request: &Request,
    ) -> Result<Vec<(WantedOutput, OutputTensor<'a>)>, ProtocolError> {
        let one = |(position, wanted): (usize, WantedOutput)| {
            let tensor = &self.outputs[position];
            let output = match wanted.classes {
                None => OutputTensor::Tensor(tensor),
                Some(count) => classification::best(&wanted.name, tensor, count, self.labels)?,
            };
            Ok((wanted, output))
        };
        request.wanted(self.specs).into_iter().map(one).collect()
    }

    /// Encodes the outputs that the request wants.
    pub fn encode(&self, request: &Request) -> Result<Encoded, ProtocolError> {
        let wanted = self.wanted(request)?;
        let mut outputs = Vec::with_capacity(wanted.len());
        let mut binary_bytes = None;
        for (WantedOutput { name, form, .. }, output) in &wanted {
            let (mut data, mut parameters) = (None, None);
            match form {
                Form::Binary => {
                    let binary_data_size = output.binary_bytes();
                    *binary_bytes.get_or_insert(0) += binary_data_size;
                    parameters = Some(OutputParameters { binary_data_size });
                }
                Form::Json => data = Some(output.json(name)?),
            }
            let (shape, datatype) = (output.shape(), output.datatype());
            outputs.push(Output { name, shape, datatype, parameters, data });
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let head = Head {
            model_name: self.model_name,
            model_version: self.model_version,
            id: request.id.as_deref(),
            parameters: Parameters {
                digest: self.digest,
                fuel: self.fuel,
                queue_ns: nanos(self.queue),
                compute_ns: nanos(self.compute),
            },
            outputs,
        };
        let mut body = serde_json::to_vec(&head).expect("a response has only string keys");
        let head_bytes = binary_bytes.map(|_| body.len());
        body.reserve_exact(binary_bytes.unwrap_or(0));
        for (wanted, output) in &wanted {
            if wanted.form == Form::Binary {
                output.write(&mut body);
            }
        }
        Ok(Encoded { body, head_bytes })
    }
}
