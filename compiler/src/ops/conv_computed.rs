//! `Conv` whose weights are computed: the pixels of each window are copied into a column
//! (im2col), and the rest is a product of two computed matrices.

use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv, KernelFormat};

use super::conv::Images;
use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::conv::Window;
use crate::kernels::copy::Part;
use crate::kernels::matmul::MatMul;
use crate::lower::Lowering;
use crate::schedule::ValueId;

/// Lowers such a convolution.
pub fn lower(lowering: &mut Lowering, node: &TypedNode, op: &Conv) -> Result<(), CompileError> {
    let weights = lowering.input(node, 1)?;
    lowering.want_f32(node, &[weights])?;
    let rank = op.pool_spec.kernel_shape.len();
    if op.kernel_fmt != KernelFormat::OIHW || rank > 2 {
        let detail = format!(
            "computed weights in the order {:?} along {rank} dimensions; OIHW and up to 2 \
             dimensions are supported, constant weights along 3",
            op.kernel_fmt
        );
        return Err(lowering.unsupported(node, detail));
    }
    let bias = match lowering.constant_f32(node, 2) {
        Some(bias) if bias.iter().all(|&x| x == 0.0) => None,
        _ => Some(lowering.input(node, 2)?),
    };
    let images = Images::of(lowering, node, &op.pool_spec)?;
    let (batch, outputs) = (images.batch, op.pool_spec.output_channels);
    let columns = columns(lowering, node, &images);
    let taps = images.y.taps * images.x.taps;
    let kernel = MatMul {
        batch: batch * op.group,
        m: outputs / op.group,
        k: images.channels / op.group * taps,
        n: images.y.output * images.x.output,
        then: Expr::identity(),
        form: None,
    };
    let weights = repeated(lowering, node, weights, batch);
    images.finish_from(lowering, node, outputs, kernel, &[weights, columns], bias)
}

/// The windows, `[batch][channels][taps][pixels of the output]`.
fn columns(lowering: &mut Lowering, node: &TypedNode, images: &Images) -> ValueId {
    let Images { value, batch, channels, y, x, .. } = *images;
    let (taps, pixels) = (y.taps * x.taps, y.output * x.output);
    let all = batch * channels;
    let mut parts = Vec::new();
    for tap in 0..taps {
        let rows = valid(&y, tap / x.taps);
        let columns = valid(&x, tap % x.taps);
        if rows.is_empty() || columns.is_empty() {
            continue;
        }
        let from =
            |w: &Window, tap: usize, first: usize| first * w.stride + tap * w.dilation - w.before;
        parts.push(Part {
            input: 0,
            shape: vec![all, rows.len(), columns.len()],
            from: from(&y, tap / x.taps, rows.start) * x.input
                + from(&x, tap % x.taps, columns.start),
            from_strides: vec![y.input * x.input, y.stride * x.input, x.stride],
            to: (tap * y.output + rows.start) * x.output + columns.start,
            to_strides: vec![taps * pixels, x.output, 1],
        });
    }
    let is_whole = |part: &Part| part.shape[1..].iter().product::<usize>() == pixels;
    let fill = (parts.len() < taps || !parts.iter().all(is_whole)).then_some([0; 16]);
    lowering.copy(node, "windows", &[value], fill, parts, vec![batch, channels, taps, pixels])
}

/// The pixels of the output for which this tap is inside the image.
fn valid(w: &Window, tap: usize) -> std::ops::Range<usize> {
    let at = tap * w.dilation;
    let first = w.before.saturating_sub(at).div_ceil(w.stride);
    let end = (w.before + w.input).saturating_sub(at).div_ceil(w.stride);
    first..end.min(w.output)
}

/// The weights, once for each image.
fn repeated(lowering: &mut Lowering, node: &TypedNode, weights: ValueId, times: usize) -> ValueId {
    if times == 1 {
        return weights;
    }
    let each = lowering.shape(weights).iter().product();
    let shape = vec![times, each];
    let part = Part {
        input: 0,
        shape: shape.clone(),
        from: 0,
        from_strides: vec![0, 1],
        to: 0,
        to_strides: dense_strides(&shape),
    };
    lowering.copy(node, "repeat", &[weights], None, vec![part], shape)
}
