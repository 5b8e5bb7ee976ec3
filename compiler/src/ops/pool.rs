//! `MaxPool`, `AveragePool` and sums over windows, 1-D and 2-D.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::cnn::{MaxPool, SumPool};

use super::conv::Images;
use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::conv::Window;
use crate::kernels::pool::{Pool, Pooling};
use crate::lower::Lowering;

pub fn lower_max(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<MaxPool>()?;
    Some(max(lowering, node, op))
}

pub fn lower_sum(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<SumPool>()?;
    Some(sum(lowering, node, op))
}

fn max(lowering: &mut Lowering, node: &TypedNode, op: &MaxPool) -> Result<(), CompileError> {
    if op.with_index_outputs.is_some() {
        let detail = "the second output, the indices, is not supported; the first is";
        return Err(lowering.unsupported(node, detail));
    }
    let images = Images::of(lowering, node, &op.pool_spec)?;
    pool(lowering, node, images, Pooling::Max)
}

fn sum(lowering: &mut Lowering, node: &TypedNode, op: &SumPool) -> Result<(), CompileError> {
    let images = Images::of(lowering, node, &op.pool_spec)?;
    let (y, x) = (images.y, images.x);
    let padded = y.is_padded() || x.is_padded();
    let pooling = match (op.normalize, padded && !op.count_include_pad) {
        (false, _) => Pooling::Sum { divisor: 1.0 },
        (true, false) => Pooling::Sum { divisor: (y.taps * x.taps) as f32 },
        (true, true) => Pooling::Mean {
            divisors: (0..y.output)
                .flat_map(|row| (0..x.output).map(move |column| (row, column)))
                .map(|(row, column)| (taps_inside(&y, row) * taps_inside(&x, column)) as f32)
                .collect(),
        },
    };
    pool(lowering, node, images, pooling)
}

fn pool(
    lowering: &mut Lowering,
    node: &TypedNode,
    images: Images,
    pooling: Pooling,
) -> Result<(), CompileError> {
    lowering.want_f32(node, &[images.value])?;
    let channels = images.channels;
    let pool = Pool {
        channels: images.batch * channels,
        y: images.y,
        x: images.x,
        pooling,
        then: Expr::identity(),
    };
    images.finish(lowering, node, channels, pool)
}

/// How many taps of the window at this pixel of the output are in the image.
fn taps_inside(window: &Window, output: usize) -> usize {
    let first = output * window.stride;
    let is_inside = |tap: &usize| {
        let at = first + tap * window.dilation;
        (window.before..window.before + window.input).contains(&at)
    };
    (0..window.taps).filter(is_inside).count()
}
