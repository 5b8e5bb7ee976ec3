//! `DynamicQuantizeLinear`.

use tract_onnx::tract_hir::internal::TypedNode;

use crate::error::CompileError;
use crate::kernels::quantised::dynamic;
use crate::lower::Lowering;
use crate::quantised::dynamic::DynamicQuantize;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    node.op_as::<DynamicQuantize>()?;
    Some(lower_dynamic(lowering, node))
}

fn lower_dynamic(lowering: &mut Lowering, node: &TypedNode) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    lowering.want_f32(node, &[input])?;
    let kernel = dynamic::DynamicQuantize { count: lowering.shape(input).iter().product() };
    let types = (0..3).map(|slot| lowering.output_type(node, slot));
    let types = types.collect::<Result<Vec<_>, _>>()?;
    let outputs = lowering.step_with_outputs(node, kernel, &[input], types);
    for (slot, output) in outputs.into_iter().enumerate() {
        lowering.bind(node, slot, output);
    }
    Ok(())
}
