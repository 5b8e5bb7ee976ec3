//! The model in tract: how it is read, and how tensors of the interface become
//! tract's and back.

use tract_nnef::prelude::{
    DatumType, Framework as _, IntoRunnable as _, TValue, TVec, TractError, TractResult, TypedRunnableModel,
    tract_core::internal::IntoTValue as _,
};
use tract_onnx_opl::WithOnnx as _;

use crate::exports::leeway::model::inference::{Error, Tensor, TensorType};

/// A model that is ready to run.
pub struct Model {
    plan: std::sync::Arc<TypedRunnableModel>,
    inputs: Vec<Fact>,
}

/// What an input must be.
struct Fact {
    name: String,
    datum_type: DatumType,
    shape: Vec<usize>,
}

impl Model {
    /// Reads an NNEF archive. The error says why tract does not take it.
    pub fn read(archive: &[u8]) -> Result<Self, String> {
        Self::read_with_tract(archive).map_err(|error| chain(&error))
    }

    fn read_with_tract(mut archive: &[u8]) -> TractResult<Self> {
        let mut nnef = tract_nnef::nnef().with_tract_resource().with_onnx();
        nnef.allow_extended_identifier_syntax(true);
        let model = nnef.model_for_read(&mut archive)?.into_decluttered()?;
        let inputs = model.inputs.iter().map(|&outlet| {
            let fact = model.outlet_fact(outlet)?;
            let shape = fact.shape.as_concrete().unwrap_or_default().to_vec();
            let name = model.node(outlet.node).name.clone();
            Ok(Fact { name, datum_type: fact.datum_type, shape })
        });
        let inputs = inputs.collect::<TractResult<_>>()?;
        Ok(Self { inputs, plan: model.into_optimized()?.into_runnable()? })
    }

    /// Runs the model.
    pub fn run(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        if inputs.len() != self.inputs.len() {
            let (wanted, seen) = (self.inputs.len(), inputs.len());
            return Err(Error::InvalidInput(format!("wanted {wanted} inputs, seen {seen}")));
        }
        let inputs = self.inputs.iter().zip(inputs).map(|(fact, input)| fact.take(input));
        let inputs = inputs.collect::<Result<TVec<TValue>, Error>>()?;
        let failed = |error: TractError| Error::Failed(chain(&error));
        let outputs = self.plan.run(inputs).map_err(failed)?;
        outputs.iter().map(|output| give(output).map_err(failed)).collect()
    }
}

impl Fact {
    fn take(&self, input: Tensor) -> Result<TValue, Error> {
        let shape: Vec<usize> = input.dimensions.iter().map(|&size| size as usize).collect();
        let size = shape.iter().product::<usize>() * self.datum_type.size_of();
        let same_type = datum_type(input.ty) == Some(self.datum_type.unquantized());
        if !same_type || shape != self.shape || input.data.len() != size {
            return Err(Error::InvalidInput(format!(
                "input {:?}: wanted {:?}{:?}, seen {:?}{shape:?} of {} bytes",
                self.name,
                self.datum_type,
                self.shape,
                input.ty,
                input.data.len()
            )));
        }
        let copied = || -> TractResult<TValue> {
            let mut tensor = tract_nnef::prelude::Tensor::zero_dt(self.datum_type, &shape)?;
            tensor.try_as_plain_ram_mut()?.as_bytes_mut().copy_from_slice(&input.data);
            Ok(tensor.into_tvalue())
        };
        copied().map_err(|error| Error::Failed(chain(&error)))
    }
}

fn give(output: &TValue) -> TractResult<Tensor> {
    // tract's type for sizes, which is a 64-bit integer to everybody else.
    if output.datum_type() == DatumType::TDim {
        return give(&output.cast_to::<i64>()?.into_owned().into_tvalue());
    }
    let ty = tensor_type(output.datum_type().unquantized());
    let ty = ty.ok_or_else(|| {
        TractError::msg(format!("an output has the type {:?}", output.datum_type()))
    })?;
    Ok(Tensor {
        dimensions: output.shape().iter().map(|&size| size as u32).collect(),
        ty,
        data: output.try_as_plain_ram()?.as_bytes().to_vec(),
    })
}

/// The interface's types that tract has.
const TYPES: [(TensorType, DatumType); 12] = [
    (TensorType::Fp16, DatumType::F16),
    (TensorType::Fp32, DatumType::F32),
    (TensorType::Fp64, DatumType::F64),
    (TensorType::U8, DatumType::U8),
    (TensorType::I32, DatumType::I32),
    (TensorType::I64, DatumType::I64),
    (TensorType::I8, DatumType::I8),
    (TensorType::Bool, DatumType::Bool),
    (TensorType::I16, DatumType::I16),
    (TensorType::U16, DatumType::U16),
    (TensorType::U32, DatumType::U32),
    (TensorType::U64, DatumType::U64),
];

fn datum_type(ty: TensorType) -> Option<DatumType> {
    TYPES.iter().find(|(of_tensor, _)| *of_tensor == ty).map(|&(_, of_tract)| of_tract)
}

fn tensor_type(datum_type: DatumType) -> Option<TensorType> {
    TYPES.iter().find(|(_, of_tract)| *of_tract == datum_type).map(|&(of_tensor, _)| of_tensor)
}

/// An error and its causes, outermost first.
fn chain(error: &TractError) -> String {
    let causes: Vec<String> = error.chain().map(|cause| cause.to_string()).collect();
    causes.join(": ")
}
