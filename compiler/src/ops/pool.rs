//! `MaxPool`, `AveragePool` and sums over windows: 1-D and 2-D ones of FP32, and
//! others through [`super::windows`].

use std::ops::Range;

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::cnn::{self, PaddingSpec, SumPool};

use super::conv::Images;
use super::windows;
use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::conv::Window;
use crate::kernels::pool::{Pool, Pooling};
use crate::kernels::quantised::pool::MaxPool;
use crate::kernels::windows::Over;
use crate::lower::Lowering;

pub fn lower_max(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<cnn::MaxPool>()?;
    Some(max(lowering, node, op))
}

pub fn lower_sum(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<SumPool>()?;
    Some(sum(lowering, node, op))
}

fn max(lowering: &mut Lowering, node: &TypedNode, op: &cnn::MaxPool) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let is_plain = matches!(lowering.dtype(input), DType::F32 | DType::I8 | DType::U8)
        && op.pool_spec.kernel_shape.len() <= 2;
    if !is_plain || op.with_index_outputs.is_some() {
        let indices = op.with_index_outputs.is_some();
        return windows::lower(lowering, node, &op.pool_spec, |_| Over::Max { indices });
    }
    let images = Images::of(lowering, node, &op.pool_spec)?;
    if let dtype @ (DType::I8 | DType::U8) = lowering.dtype(images.value) {
        let (channels, y, x) = (images.channels, images.y, images.x);
        let signed = dtype == DType::I8;
        let pool = MaxPool { channels: images.batch * channels, y, x, signed };
        return images.finish(lowering, node, channels, pool, None);
    }
    pool(lowering, node, images, Pooling::Max)
}

fn sum(lowering: &mut Lowering, node: &TypedNode, op: &SumPool) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    if op.pool_spec.kernel_shape.len() > 2 || lowering.dtype(input) == DType::F64 {
        return windows::lower(lowering, node, &op.pool_spec, |axes| match op.normalize {
            true => Over::Mean { counted: counted_of_all(axes, op) },
            false => Over::Sum,
        });
    }
    let images = Images::of(lowering, node, &op.pool_spec)?;
    let pooling = match op.normalize {
        true => mean(&images, op),
        false => Pooling::Sum { divisor: 1.0 },
    };
    pool(lowering, node, images, pooling)
}

/// The mean over the taps that count: those in the image or, with
/// `count_include_pad`, also those in its padding.
fn mean(images: &Images, op: &SumPool) -> Pooling {
    let axes = op.pool_spec.kernel_shape.len();
    let (y, x) = (&images.y, &images.x);
    let (rows, columns) = (counted(y, op, axes.checked_sub(2)), counted(x, op, Some(axes - 1)));
    let divisors: Vec<f32> = (0..y.output)
        .flat_map(|row| (0..x.output).map(move |column| (row, column)))
        .map(|(row, column)| (taps_inside(y, row, &rows) * taps_inside(x, column, &columns)) as f32)
        .collect();
    match divisors.iter().all(|divisor| *divisor == divisors[0]) {
        true => Pooling::Sum { divisor: divisors[0] },
        false => Pooling::Mean { divisors },
    }
}

/// The pixels of the padded image that count. With ONNX's `ceil_mode` the last
/// window can reach beyond the padding, where nothing counts. `axis` is `None` for
/// the rows of a 1-D window.
fn counted(window: &Window, op: &SumPool, axis: Option<usize>) -> Range<usize> {
    let image = window.before..window.before + window.input;
    match (&op.pool_spec.padding, axis) {
        _ if !op.count_include_pad => image,
        (PaddingSpec::ExplicitOnnxPool(_, after, true), Some(axis)) => 0..image.end + after[axis],
        _ => 0..usize::MAX,
    }
}

/// The pixels of each axis that count, from the first one of the image on.
fn counted_of_all(axes: &[Window], op: &SumPool) -> Vec<Range<i64>> {
    let pixels = axes.iter().enumerate().map(|(axis, window)| {
        let counted = counted(window, op, Some(axis));
        let from_image = |at: usize| at.min(1 << 30) as i64 - window.before as i64;
        from_image(counted.start)..from_image(counted.end)
    });
    pixels.collect()
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
    images.finish(lowering, node, channels, pool, None)
}

/// How many taps of the window at this pixel of the output are among `pixels` of
/// the padded image.
fn taps_inside(window: &Window, output: usize, pixels: &Range<usize>) -> usize {
    let first = output * window.stride;
    (0..window.taps).filter(|tap| pixels.contains(&(first + tap * window.dilation))).count()
}
