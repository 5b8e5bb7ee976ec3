//! `ReduceSum`, `ReduceMean`, `ReduceMax`, `ReduceMin`, `ReduceProd`,
//! `GlobalAveragePool`, `ArgMax` and `ArgMin`: folds along axes, which stay with
//! size 1.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce as Op, Reducer};

use crate::error::CompileError;
use crate::kernels::argument::Argument;
use crate::kernels::double_fold::DoubleFold;
use crate::kernels::integer_fold::IntegerFold;
use crate::kernels::integers::Integers;
use crate::kernels::rows::{Fold, Reduce, Rows};
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Op>()?;
    Some(lower_reduce(lowering, node, op))
}

fn lower_reduce(lowering: &mut Lowering, node: &TypedNode, op: &Op) -> Result<(), CompileError> {
    let fold = match op.reducer {
        Reducer::ArgMax(last) => return lower_argument(lowering, node, op, true, last),
        Reducer::ArgMin(last) => return lower_argument(lowering, node, op, false, last),
        Reducer::Sum => Fold::Sum,
        Reducer::Prod => Fold::Product,
        Reducer::Max | Reducer::Any => Fold::Max,
        Reducer::Min | Reducer::All => Fold::Min,
        Reducer::MeanOfSquares => Fold::SumOfSquares,
    };
    let mut value = lowering.input(node, 0)?;
    let dtype = lowering.dtype(value);
    let real = dtype == DType::F32;
    let double = dtype == DType::F64;
    if !real && !double && (!Integers::supports(dtype) || fold == Fold::SumOfSquares) {
        let detail = format!("{fold:?} of type {dtype}; of FP32 it is supported");
        return Err(lowering.unsupported(node, detail));
    }
    let mut shape = lowering.shape(value);
    let reduced: usize = op.axes.iter().map(|&axis| shape[axis]).product();
    let mut axes = op.axes.to_vec();
    axes.sort_unstable();

    // Axes next to each other are folded at once, the last ones first.
    let mut first_fold = true;
    while let Some(last) = axes.pop() {
        let mut group = vec![last];
        while axes.last().is_some_and(|&axis| axis + 1 == group[0]) {
            group.insert(0, axes.remove(axes.len() - 1));
        }
        let rows = Rows::along(&shape, &group).expect("the axes of a group are neighbours");
        let fold = if first_fold || fold != Fold::SumOfSquares { fold } else { Fold::Sum };
        let is_mean = axes.is_empty() && op.reducer == Reducer::MeanOfSquares;
        let scale = if is_mean { 1.0 / reduced as f32 } else { 1.0 };
        group.iter().for_each(|&axis| shape[axis] = 1);
        value = if real {
            let kernel = Reduce { rows, fold, scale };
            lowering.step(node, kernel, &[value], dtype, shape.clone())
        } else if double {
            let scale = if is_mean { 1.0 / reduced as f64 } else { 1.0 };
            let kernel = DoubleFold { rows, fold, scale };
            lowering.step(node, kernel, &[value], dtype, shape.clone())
        } else {
            let kernel = IntegerFold { rows, dtype, fold };
            lowering.step(node, kernel, &[value], dtype, shape.clone())
        };
        first_fold = false;
    }
    lowering.bind(node, 0, value);
    Ok(())
}

fn lower_argument(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &Op,
    largest: bool,
    last: bool,
) -> Result<(), CompileError> {
    let value = lowering.input(node, 0)?;
    lowering.want_f32(node, &[value])?;
    let [axis] = op.axes[..] else {
        let detail =
            format!("an index along the axes {:?}; along one axis it is supported", op.axes);
        return Err(lowering.unsupported(node, detail));
    };
    let rows = Rows::along(&lowering.shape(value), &[axis]).expect("there is an axis");
    let (dtype, shape) = lowering.output_type(node, 0)?;
    let output = lowering.step(node, Argument { rows, largest, last }, &[value], dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
