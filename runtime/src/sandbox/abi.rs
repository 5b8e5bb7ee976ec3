//! The Rust side of the WIT package `leeway:model`: how tensors enter a guest's
//! memory and leave it. Lists of bytes are copied whole, once each way.

use leeway_contract::{DType, Tensor};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::error::GuestError;

/// `tensor-type`.
#[derive(Clone, Copy, ComponentType, Lower, Lift)]
#[component(enum)]
#[repr(u8)]
pub(super) enum TensorType {
    #[component(name = "FP16")]
    F16,
    #[component(name = "FP32")]
    F32,
    #[component(name = "FP64")]
    F64,
    #[component(name = "BF16")]
    BF16,
    #[component(name = "U8")]
    U8,
    #[component(name = "I32")]
    I32,
    #[component(name = "I64")]
    I64,
    #[component(name = "I8")]
    I8,
    #[component(name = "BOOL")]
    Bool,
    #[component(name = "I16")]
    I16,
    #[component(name = "U16")]
    U16,
    #[component(name = "U32")]
    U32,
    #[component(name = "U64")]
    U64,
}

impl From<DType> for TensorType {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::F16 => TensorType::F16,
            DType::F32 => TensorType::F32,
            DType::F64 => TensorType::F64,
            DType::BF16 => TensorType::BF16,
            DType::U8 => TensorType::U8,
            DType::I32 => TensorType::I32,
            DType::I64 => TensorType::I64,
            DType::I8 => TensorType::I8,
            DType::Bool => TensorType::Bool,
            DType::I16 => TensorType::I16,
            DType::U16 => TensorType::U16,
            DType::U32 => TensorType::U32,
            DType::U64 => TensorType::U64,
        }
    }
}

impl From<TensorType> for DType {
    fn from(ty: TensorType) -> Self {
        match ty {
            TensorType::F16 => DType::F16,
            TensorType::F32 => DType::F32,
            TensorType::F64 => DType::F64,
            TensorType::BF16 => DType::BF16,
            TensorType::U8 => DType::U8,
            TensorType::I32 => DType::I32,
            TensorType::I64 => DType::I64,
            TensorType::I8 => DType::I8,
            TensorType::Bool => DType::Bool,
            TensorType::I16 => DType::I16,
            TensorType::U16 => DType::U16,
            TensorType::U32 => DType::U32,
            TensorType::U64 => DType::U64,
        }
    }
}

/// `tensor` on its way in, borrowed.
#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(super) struct Input<'a> {
    dimensions: &'a [u32],
    ty: TensorType,
    data: &'a [u8],
}

impl<'a> From<&'a Tensor> for Input<'a> {
    fn from(tensor: &'a Tensor) -> Self {
        Self { dimensions: &tensor.shape, ty: tensor.dtype.into(), data: &tensor.data }
    }
}

/// `tensor` on its way out.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Output {
    dimensions: Vec<u32>,
    ty: TensorType,
    data: Vec<u8>,
}

impl From<Output> for Tensor {
    fn from(output: Output) -> Self {
        Self { dtype: output.ty.into(), shape: output.dimensions, data: output.data }
    }
}

/// `error`.
#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum Error {
    #[component(name = "invalid-range")]
    InvalidRange(String),
    #[component(name = "invalid-input")]
    InvalidInput(String),
    #[component(name = "failed")]
    Failed(String),
}

impl From<Error> for GuestError {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidRange(message) => GuestError::InvalidRange(message),
            Error::InvalidInput(message) => GuestError::InvalidInput(message),
            Error::Failed(message) => GuestError::Failed(message),
        }
    }
}

/// The parameters of `run`.
pub(super) type RunParams<'a> = (u32, u32, &'a [Input<'a>]);
/// The results of `run`.
pub(super) type RunResults = (Result<Vec<Output>, Error>,);
/// The results of `stage-count`.
pub(super) type StageCountResults = (u32,);
