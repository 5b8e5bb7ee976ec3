//! `Tile`: a tensor repeated along its axes.

use tract_onnx::tract_hir::internal::{DimLike, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::array::Tile;

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::kernels::copy::Part;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    node.op_as::<Tile>()?;
    Some(lower_tile(lowering, node))
}

fn lower_tile(lowering: &mut Lowering, node: &TypedNode) -> Result<(), CompileError> {
    let op = node.op_as::<Tile>().expect("it is a Tile");
    let input = lowering.input(node, 0)?;
    let from = lowering.shape(input);
    let (_, to) = lowering.output_type(node, 0)?;
    if op.multipliers.iter().any(|times| times.to_usize().is_err()) {
        return Err(lowering.unsupported(node, "how often is not known when compiling"));
    }
    // Each axis as two: the repetition, along which the input stands still, and
    // the axis itself.
    let (from_strides, to_strides) = (dense_strides(&from), dense_strides(&to));
    let mut part = Part {
        input: 0,
        shape: Vec::new(),
        from: 0,
        from_strides: Vec::new(),
        to: 0,
        to_strides: Vec::new(),
    };
    for axis in 0..from.len() {
        part.shape.extend([to[axis] / from[axis], from[axis]]);
        part.from_strides.extend([0, from_strides[axis]]);
        part.to_strides.extend([from[axis] * to_strides[axis], to_strides[axis]]);
    }
    let output = lowering.copy(node, "tile", &[input], None, vec![part], to);
    lowering.bind(node, 0, output);
    Ok(())
}
