//! `Pad` with a constant.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::array::{Pad, PadMode};

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::kernels::copy::Part;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Pad>()?;
    Some(lower_pad(lowering, node, op))
}

fn lower_pad(lowering: &mut Lowering, node: &TypedNode, op: &Pad) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (dtype, shape) = lowering.output_type(node, 0)?;
    let PadMode::Constant(value) = &op.mode else {
        let detail = "only the mode \"constant\" is supported";
        return Err(lowering.unsupported(node, detail));
    };
    let element = value.cast_to_dt(lowering.datum_type(node, 0)).ok();
    let element = element.as_ref().and_then(|t| t.try_as_plain_ram().ok().map(|p| p.as_bytes()));
    let Some(element) = element.filter(|bytes| bytes.len() == dtype.size_bytes()) else {
        return Err(lowering.unsupported(node, "the value of the padding is not of its type"));
    };
    let fill = std::array::from_fn(|i| element[i % element.len()]);
    let from = lowering.shape(input);
    let strides = dense_strides(&shape);
    let part = Part {
        input: 0,
        from: 0,
        from_strides: dense_strides(&from),
        shape: from,
        to: op.pads.iter().zip(&strides).map(|((before, _), stride)| before * stride).sum(),
        to_strides: strides,
    };
    let output = lowering.copy(node, "pad", &[input], Some(fill), vec![part], shape);
    lowering.bind(node, 0, output);
    Ok(())
}
