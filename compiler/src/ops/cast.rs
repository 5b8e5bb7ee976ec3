//! Casts between element types.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::cast::Cast;

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::map::{Map, Operand};
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    node.op_as::<Cast>()?;
    Some(lower_cast(lowering, node))
}

fn lower_cast(lowering: &mut Lowering, node: &TypedNode) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let from = lowering.dtype(input);
    let (to, shape) = lowering.output_type(node, 0)?;
    if from == to {
        lowering.bind(node, 0, input);
        return Ok(());
    }
    if !Map::reads(from) || !Map::writes(to) {
        let detail = format!(
            "a cast from {from} to {to} is not supported; from FP32, I32, U8, I8 and BOOL to \
             FP32, I32, U8 and I8 is"
        );
        return Err(lowering.unsupported(node, detail));
    }
    let operands = vec![Operand { dtype: from, strides: dense_strides(&shape) }];
    let map = Map { shape: shape.clone(), operands, expr: Expr::identity(), output: to };
    let output = lowering.step(node, map, &[input], to, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
