//! Ensembles of decision trees.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;

use crate::error::CompileError;
use crate::kernels::tree_records::Records;
use crate::kernels::trees::Trees;
use crate::lower::Lowering;
use crate::ml::trees::ensemble::TreeScores;
use crate::ml::trees::normal::Precision;

/// The most bytes that vectors of scores may take.
const SCORES_LIMIT_BYTES: usize = 1 << 27;
/// The most steps of all walks together: their fuel is counted in 64 bits.
const STEPS_LIMIT: u64 = 1 << 48;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<TreeScores>()?;
    Some(lower_trees(lowering, node, op))
}

fn lower_trees(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &TreeScores,
) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let shape = lowering.shape(input);
    let precision = match lowering.dtype(input) {
        DType::F64 => Precision::Double,
        _ => Precision::Single,
    };
    let records = Records::new(&op.ensemble, precision, shape[1], SCORES_LIMIT_BYTES);
    let records = records.map_err(|bytes| {
        let detail = format!(
            "its leaves have {bytes} bytes of scores for {} targets; {SCORES_LIMIT_BYTES} bytes, \
             or trees with scores for one target each, are supported",
            op.ensemble.targets
        );
        lowering.unsupported(node, detail)
    })?;
    let depths = records.trees.iter().map(|tree| tree.depth as u64 + 1).sum::<u64>();
    let steps = depths.saturating_mul(shape[0] as u64);
    if steps > STEPS_LIMIT {
        let detail = format!("its trees take {steps} steps; {STEPS_LIMIT} are supported");
        return Err(lowering.unsupported(node, detail));
    }
    let (dtype, output) = lowering.output_type(node, 0)?;
    let kernel = Trees {
        rows: shape[0],
        records,
        aggregate: op.ensemble.aggregate,
        wide_output: dtype == DType::F64,
    };
    let output = lowering.step(node, kernel, &[input], dtype, output);
    lowering.bind(node, 0, output);
    Ok(())
}
