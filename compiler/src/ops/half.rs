//! FP16: stored so, computed in FP32, and rounded once for each operator.
//!
//! Element-wise functions and what only moves elements read and write FP16 as it is.
//! All other operators are lowered as if their tensors were FP32, between casts.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::{DatumType, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::array::{
    CumSum, ScatterElements, ScatterNd, ScatterReduction,
};
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, Deconv, MaxPool, SumPool};
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_hir::tract_core::ops::fft::Fft;
use tract_onnx::tract_hir::tract_core::ops::nn::grid_sample::GridSample;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, RmsNorm, Softmax, resize};
use tract_onnx_opl::lrn::Lrn;

use crate::emit::nest::dense_strides;
use crate::expr::Expr;
use crate::kernels::map::{Map, Operand};
use crate::lower::Lowering;
use crate::schedule::{Origin, ValueId};

/// Whether a node computes on FP16 with a kernel that has FP32 only.
pub fn is_widened(node: &TypedNode) -> bool {
    let computes = node.op_is::<EinSum>()
        || node.op_is::<Conv>()
        || node.op_is::<Deconv>()
        || node.op_is::<MaxPool>()
        || node.op_is::<SumPool>()
        || node.op_is::<Reduce>()
        || node.op_is::<Softmax>()
        || node.op_is::<RmsNorm>()
        || node.op_is::<CumSum>()
        || node.op_is::<Fft>()
        || node.op_is::<GridSample>()
        || node.op_as::<ScatterElements>().is_some_and(|op| op.reduction != ScatterReduction::None)
        || node.op_as::<ScatterNd>().is_some_and(|op| op.reduction != ScatterReduction::None)
        || node.op_is::<Lrn>()
        || node.op_is::<resize::Resize>()
        || node.op_is::<tract_onnx_opl::resize::Resize>();
    computes && !node.outputs.iter().any(|output| output.fact.datum_type == DatumType::F64)
}

/// FP32 with the same numbers.
pub fn widen(lowering: &mut Lowering, node: &TypedNode, value: ValueId) -> ValueId {
    let shape = lowering.shape(value);
    let root = lowering.schedule.value(lowering.schedule.root(value));
    if let Origin::Constant(bytes) = &root.origin {
        let halves = bytes.as_chunks::<2>().0.iter();
        let floats = halves.map(|&b| tract_onnx::prelude::f16::from_le_bytes(b).to_f32());
        let bytes = floats.flat_map(f32::to_le_bytes).collect();
        return lowering.known(node, DType::F32, shape, bytes);
    }
    cast(lowering, node, value, DType::F32)
}

/// FP16 of the nearest numbers.
pub fn narrow(lowering: &mut Lowering, node: &TypedNode, value: ValueId) -> ValueId {
    cast(lowering, node, value, DType::F16)
}

fn cast(lowering: &mut Lowering, node: &TypedNode, value: ValueId, to: DType) -> ValueId {
    let dtype = lowering.dtype(value);
    if dtype == to {
        return value;
    }
    let shape = lowering.shape(value);
    let operands = vec![Operand::new(dtype, dense_strides(&shape))];
    let map = Map { shape: shape.clone(), operands, expr: Expr::identity(), output: to };
    lowering.step(node, map, &[value], to, shape)
}
