//! The certificate of cost: what the compiler promises of a component, and the
//! runtime checks before it activates it. JSON in the custom section
//! [`crate::section::CERTIFICATE`].

use std::fmt;
use std::ops::{Add, AddAssign, RangeInclusive};

use serde::{Deserialize, Serialize};

use crate::engine::RELAXED_TOLERANCE;
use crate::{Digest, EngineClaim, TensorSpec};

/// The version of the certificate's format that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// An amount of wasmtime fuel.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Fuel(pub u64);

impl Add for Fuel {
    type Output = Fuel;
    fn add(self, other: Fuel) -> Fuel {
        Fuel(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Fuel {
    fn add_assign(&mut self, other: Fuel) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Fuel {
    fn sum<I: Iterator<Item = Fuel>>(fuels: I) -> Fuel {
        fuels.fold(Fuel(0), Add::add)
    }
}

impl fmt::Display for Fuel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How the fuel of a stage is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Exact, for every input: the code was emitted so that control flow does
    /// not depend on data.
    Static,
    /// Never more, possibly less.
    Upper,
    /// The most that was seen in measurements; enforced all the same.
    Measured,
}

/// Everything that is claimed of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    /// The version of this format: [`FORMAT`].
    pub format: u32,
    /// The model that was compiled.
    pub model: Model,
    /// What compiled it.
    pub compiler: Compiler,
    /// The engine that the fuel holds for.
    pub engine: EngineClaim,
    /// The fuel of any call of `run`, over that of its stages.
    pub call_fuel: Fuel,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// The size of the linear memory, in bytes: allocated at instantiation and
    /// never grown.
    pub memory_bytes: u64,
    /// Of that, the bytes for intermediate tensors and scratch space.
    pub activation_bytes: u64,
    /// The golden vectors, whose data is in [`crate::section::GOLDEN`].
    #[serde(default)]
    pub golden: Vec<Golden>,
    /// The names of the classes, where the model is a classifier and they are
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// How raw sensor data becomes the model's input, where it is not in the
    /// graph itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preprocessing: Option<Preprocessing>,
}

/// The model that a component was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Its name, as it is deployed.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The digest of the source file.
    pub source: Digest,
}

/// What made a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiler {
    /// The program's name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// One stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// The name of the last layer in it.
    pub name: String,
    /// The tensors that enter it.
    pub inputs: Vec<TensorSpec>,
    /// The tensors that leave it.
    pub outputs: Vec<TensorSpec>,
    /// The fuel that it burns.
    pub fuel: StageFuel,
    /// How that fuel is bound.
    pub bound: Bound,
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// Bytes of weights that it reads.
    pub weight_bytes: u64,
    /// The layers in it, in order.
    #[serde(default)]
    pub layers: Vec<Layer>,
}

/// The fuel of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFuel {
    /// Once where a call starts with this stage: its inputs are received,
    /// checked and copied to their place.
    pub enter: Fuel,
    /// The stage itself.
    pub compute: Fuel,
    /// Once where a call ends with this stage: its outputs are handed over.
    pub leave: Fuel,
}

/// One emitted kernel, for people and for cost models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// The node's name in the source model.
    pub name: String,
    /// The operator, by ONNX's name where it has one.
    pub operator: String,
    /// The kernel that was chosen, for example `conv 3x16 direct`.
    pub kernel: String,
    /// The shape of its first output.
    pub shape: Vec<u32>,
    /// Multiply-accumulate operations.
    pub macs: u64,
    /// The fuel that it burns.
    pub fuel: Fuel,
    /// Bytes of weights that it reads.
    pub weight_bytes: u64,
    /// Bytes of its inputs and outputs, and of the tensors that later layers read.
    #[serde(default)]
    pub live_bytes: u64,
    /// The most bytes of tensors and scratch space that are in use at one moment
    /// of it.
    #[serde(default)]
    pub activation_bytes: u64,
}

/// One golden vector: inputs, and the outputs that the component must give for
/// them, to the bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Golden {
    /// [`crate::Tensor::digest`] of each input of the first stage.
    pub inputs: Vec<Digest>,
    /// [`crate::Tensor::digest`] of each output of the last stage.
    pub outputs: Vec<Digest>,
}

/// `model input = (raw * scale) - mean`, per channel, in the given layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// The factor for each channel, or one for all.
    pub scale: Vec<f32>,
    /// What is subtracted for each channel, or once for all.
    pub mean: Vec<f32>,
    /// The order of the dimensions, for example `NCHW`.
    pub layout: String,
}

/// A certificate that is not one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Not JSON, or a field is missing or of another type.
    #[error("the certificate does not parse: {0}")]
    Parse(#[from] serde_json::Error),
    /// Another version of the format.
    #[error(
        "the certificate's format is {seen}, this program reads {FORMAT}: build the model again"
    )]
    Format {
        /// The version in the certificate.
        seen: u64,
    },
    /// A claim that contradicts itself or another one.
    #[error("the certificate's claim {claim:?} is invalid: {reason}")]
    Claim {
        /// Where in the certificate.
        claim: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Certificate {
    /// Reads a certificate and checks that it is consistent in itself.
    pub fn from_json(json: &[u8]) -> Result<Self, CertificateError> {
        #[derive(Deserialize)]
        struct Version {
            format: u64,
        }
        let Version { format } = serde_json::from_slice(json)?;
        if format != u64::from(FORMAT) {
            return Err(CertificateError::Format { seen: format });
        }
        let certificate: Self = serde_json::from_slice(json)?;
        certificate.check()?;
        Ok(certificate)
    }

    /// The certificate as JSON, as it stands in the component.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a certificate has only string keys and finite numbers")
    }

    /// The number of the last stage.
    pub fn last_stage(&self) -> u32 {
        self.stages.len() as u32 - 1
    }

    /// The inputs of the whole model.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.stages[0].inputs
    }

    /// The outputs of the whole model.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.stages[self.stages.len() - 1].outputs
    }

    /// The fuel that `run(first, last, ..)` burns; `None` where that is not a
    /// range of stages.
    pub fn fuel(&self, range: RangeInclusive<u32>) -> Option<Fuel> {
        let (first, last) = (*range.start() as usize, *range.end() as usize);
        if first > last || last >= self.stages.len() {
            return None;
        }
        let compute: Fuel = self.stages[first..=last].iter().map(|s| s.fuel.compute).sum();
        Some(
            self.call_fuel + self.stages[first].fuel.enter + compute + self.stages[last].fuel.leave,
        )
    }

    /// Whether the outputs, and what crosses the cuts, are the same bits on every
    /// machine.
    pub fn is_bit_identical(&self) -> bool {
        !self.engine.relaxed_simd
    }

    /// How far the outputs of two machines may be apart, as
    /// [`crate::Tensor::difference`] measures it; `None` where they are the same bits.
    pub fn tolerance(&self) -> Option<f32> {
        (!self.is_bit_identical()).then_some(RELAXED_TOLERANCE)
    }

    /// The fuel of the whole model.
    pub fn total_fuel(&self) -> Fuel {
        self.fuel(0..=self.last_stage()).unwrap_or_default()
    }

    /// Multiply-accumulate operations of the whole model.
    pub fn macs(&self) -> u64 {
        self.stages.iter().map(|s| s.macs).sum()
    }

    /// All layers in order, each with the number of its stage.
    pub fn layers(&self) -> impl Iterator<Item = (u32, &Layer)> {
        let stages = (0..).zip(&self.stages);
        stages.flat_map(|(number, stage)| stage.layers.iter().map(move |layer| (number, layer)))
    }

    /// The bytes of tensors and scratch space in use at the fullest layer: no plan
    /// needs fewer for activations.
    pub fn least_activation_bytes(&self) -> u64 {
        self.layers().map(|(_, layer)| layer.activation_bytes).max().unwrap_or(0)
    }

    /// The bytes of the tensors at the layer that has most: its inputs, its outputs,
    /// and what later layers read.
    pub fn live_bytes(&self) -> u64 {
        self.layers().map(|(_, layer)| layer.live_bytes).max().unwrap_or(0)
    }

    /// How the whole model's fuel is bound: as its weakest stage is.
    pub fn bound(&self) -> Bound {
        let any = |bound| self.stages.iter().any(|s| s.bound == bound);
        match () {
            () if any(Bound::Measured) => Bound::Measured,
            () if any(Bound::Upper) => Bound::Upper,
            () => Bound::Static,
        }
    }

    fn check(&self) -> Result<(), CertificateError> {
        let fail = |claim: String, reason: String| Err(CertificateError::Claim { claim, reason });
        if self.stages.is_empty() {
            return fail("stages".into(), "a model has at least one stage, seen none".into());
        }
        for (i, stage) in self.stages.iter().enumerate() {
            for (kind, specs) in [("inputs", &stage.inputs), ("outputs", &stage.outputs)] {
                let claim = format!("stages[{i}].{kind}");
                // A model whose outputs are constants takes nothing.
                let may_be_empty = kind == "inputs" && i == 0;
                if specs.is_empty() && !may_be_empty {
                    return fail(claim, "at least one tensor is needed, seen none".into());
                }
                for spec in specs {
                    if spec.size_bytes().is_none_or(|bytes| bytes as u64 > self.memory_bytes) {
                        let reason = format!(
                            "{spec} is larger than the claimed memory of {} bytes",
                            self.memory_bytes
                        );
                        return fail(claim, reason);
                    }
                }
            }
            if i > 0 && stage.inputs != self.stages[i - 1].outputs {
                let reason = "they are not the outputs of the stage before".into();
                return fail(format!("stages[{i}].inputs"), reason);
            }
        }
        for (i, golden) in self.golden.iter().enumerate() {
            if golden.inputs.len() != self.inputs().len()
                || golden.outputs.len() != self.outputs().len()
            {
                let reason = "its tensors are not as many as the model's".into();
                return fail(format!("golden[{i}]"), reason);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::DType;

    pub(crate) fn example() -> Certificate {
        let spec =
            |name: &str| TensorSpec { name: name.into(), dtype: DType::F32, shape: vec![1, 4] };
        let stage = |name: &str, from: &str, to: &str, compute| Stage {
            name: name.into(),
            inputs: vec![spec(from)],
            outputs: vec![spec(to)],
            fuel: StageFuel { enter: Fuel(10), compute: Fuel(compute), leave: Fuel(1) },
            bound: Bound::Static,
            macs: 16,
            weight_bytes: 64,
            layers: vec![],
        };
        Certificate {
            format: FORMAT,
            model: Model { name: "m".into(), version: "1".into(), source: Digest::of(b"onnx") },
            compiler: Compiler { name: "leeway".into(), version: "0".into() },
            engine: EngineClaim::of_compiled("48.0.8", "table"),
            call_fuel: Fuel(5),
            stages: vec![stage("a", "x", "h", 100), stage("b", "h", "y", 200)],
            memory_bytes: 65536,
            activation_bytes: 32,
            golden: vec![],
            labels: None,
            preprocessing: None,
        }
    }

    #[test]
    fn fuel_of_a_range_counts_its_own_ends_only() {
        let certificate = example();
        assert_eq!(certificate.fuel(0..=1), Some(Fuel(5 + 10 + 100 + 200 + 1)));
        assert_eq!(certificate.fuel(1..=1), Some(Fuel(5 + 10 + 200 + 1)));
        assert_eq!(certificate.fuel(1..=2), None);
        let backwards = RangeInclusive::new(1, 0);
        assert_eq!(certificate.fuel(backwards), None);
    }

    #[test]
    fn json_round_trips() {
        let certificate = example();
        assert_eq!(Certificate::from_json(&certificate.to_json()).unwrap(), certificate);
    }

    #[test]
    fn another_format_is_named_before_anything_else_is_read() {
        let error = Certificate::from_json(br#"{"format": 7}"#).unwrap_err();
        assert!(matches!(error, CertificateError::Format { seen: 7 }), "{error}");
    }

    #[test]
    fn stages_that_do_not_join_are_refused() {
        let mut certificate = example();
        certificate.stages[1].inputs[0].shape = vec![2];
        let error = Certificate::from_json(&certificate.to_json()).unwrap_err();
        assert!(error.to_string().contains("stages[1].inputs"), "{error}");
    }

    #[test]
    fn a_tensor_larger_than_the_memory_is_refused() {
        let mut certificate = example();
        certificate.stages[1].outputs[0].shape = vec![u32::MAX, u32::MAX, u32::MAX];
        let error = Certificate::from_json(&certificate.to_json()).unwrap_err();
        assert!(error.to_string().contains("stages[1].outputs"), "{error}");
    }
}
