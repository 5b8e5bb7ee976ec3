//! The same model run natively by tract, optimised for this machine: what a
//! component's outputs and speed are compared with.

use leeway_contract::Tensor;
use tract_onnx::prelude::*;

use crate::Options;
use crate::contain;
use crate::element;
use crate::error::CompileError;
use crate::import::{self, chain};

/// A model that is ready to run.
pub struct Oracle {
    plan: Arc<TypedRunnableModel>,
    file: String,
}

impl Oracle {
    /// Reads the ONNX model in `bytes` with the options that it is compiled with.
    pub fn new(bytes: &[u8], options: &Options) -> Result<Self, CompileError> {
        let directory = options.directory.as_deref();
        let imported = import::read_onnx(bytes, &options.file, directory, &options.sizes)?;
        let plan = contain::reading(&options.file, || {
            let optimized = imported.model.into_optimized();
            optimized
                .and_then(|model| model.into_runnable())
                .map_err(|error| invalid(&options.file, &error))
        })?;
        Ok(Self { plan, file: options.file.clone() })
    }

    /// Runs the whole model.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>, CompileError> {
        let fail = |error: TractError| invalid(&self.file, &error);
        let inputs: TractResult<TVec<TValue>> = inputs.iter().map(to_tract).collect();
        let outputs = self.plan.run(inputs.map_err(fail)?).map_err(fail)?;
        outputs.iter().map(|output| from_tract(output).map_err(fail)).collect()
    }
}

fn invalid(file: &str, error: &TractError) -> CompileError {
    CompileError::Invalid { file: file.into(), reason: chain(error) }
}

fn to_tract(tensor: &Tensor) -> TractResult<TValue> {
    let shape: Vec<usize> = tensor.shape.iter().map(|&size| size as usize).collect();
    let Some(datum_type) = element::datum_type(tensor.dtype) else {
        return Err(TractError::msg(format!("tract has no tensors of type {}", tensor.dtype)));
    };
    let mut copy = tract_onnx::prelude::Tensor::zero_dt(datum_type, &shape)?;
    let mut view = copy.try_as_plain_ram_mut()?;
    let bytes = view.as_bytes_mut();
    if bytes.len() != tensor.data.len() {
        return Err(TractError::msg(format!("{tensor:?} has not the bytes that its shape wants")));
    }
    bytes.copy_from_slice(&tensor.data);
    Ok(copy.into_tvalue())
}

fn from_tract(value: &TValue) -> TractResult<Tensor> {
    if value.datum_type() == DatumType::TDim {
        return from_tract(&value.cast_to::<i64>()?.into_owned().into_tvalue());
    }
    let seen = value.datum_type();
    let Some(dtype) = element::dtype(seen) else {
        return Err(TractError::msg(format!("an output of type {seen:?}")));
    };
    Ok(Tensor {
        dtype,
        shape: value.shape().iter().map(|&size| size as u32).collect(),
        data: value.try_as_plain_ram()?.as_bytes().to_vec(),
    })
}
