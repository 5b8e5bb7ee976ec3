//! `Pad` with a constant, with the edge, or with a reflection.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::array::{Pad, PadMode};

use super::gather;
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
        return pad_from_inside(lowering, node, op);
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

/// Padding that repeats what is inside: a choice of indices along each axis.
fn pad_from_inside(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &Pad,
) -> Result<(), CompileError> {
    let mut value = lowering.input(node, 0)?;
    for (axis, &(before, after)) in op.pads.iter().enumerate() {
        if before + after == 0 {
            continue;
        }
        let size = lowering.shape(value)[axis];
        // A reflection, which leaves out the edge itself, repeats after this.
        let period = 2 * size.max(2) - 2;
        let reflected = |at: isize| {
            let at = at.rem_euclid(period as isize) as usize;
            at.min(period - at).min(size - 1)
        };
        let indices: Vec<usize> = (-(before as isize)..(size + after) as isize)
            .map(|at| match op.mode {
                PadMode::Reflect => reflected(at),
                _ => at.clamp(0, size as isize - 1) as usize,
            })
            .collect();
        value = gather::at_known(lowering, node, value, axis, &indices);
    }
    lowering.bind(node, 0, value);
    Ok(())
}
