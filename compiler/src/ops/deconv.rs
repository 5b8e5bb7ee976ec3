//! `ConvTranspose`, with constant weights: a convolution, with the taps in reverse, of
//! the image with zeros between its pixels.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::{DimLike, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::cnn::{Deconv, KernelFormat};
use tract_onnx::tract_hir::tract_core::ops::nn::DataFormat;

use super::volumes;
use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::expr::Expr;
use crate::kernels::conv::{Conv, Window};
use crate::kernels::copy::Part;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Deconv>()?;
    Some(lower_deconv(lowering, node, op))
}

fn lower_deconv(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &Deconv,
) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    lowering.want_f32(node, &[input])?;
    let spec = &op.pool_spec;
    let (Some(mut weights), Some(bias)) =
        (lowering.constant_f32(node, 1), lowering.constant_f32(node, 2))
    else {
        let detail = "its weights or bias are computed; only constant ones are supported";
        return Err(lowering.unsupported(node, detail));
    };
    let shape = lowering.shape(input);
    let pixels = match spec.data_format {
        DataFormat::NCHW => shape[2..].to_vec(),
        DataFormat::CHW => shape[1..].to_vec(),
        other => {
            let detail = format!("images in the order {other:?}; NCHW is supported");
            return Err(lowering.unsupported(node, detail));
        }
    };
    if op.kernel_format != KernelFormat::OIHW || pixels.len() > 3 {
        let detail = format!(
            "weights in the order {:?}, {} spatial dimensions; OIHW, and 1 to 3 are supported",
            op.kernel_format,
            pixels.len()
        );
        return Err(lowering.unsupported(node, detail));
    }
    let (strides, dilations) = (spec.strides(), spec.dilations());
    let computed = spec.padding.compute_for_deconv(
        &pixels,
        &spec.kernel_shape,
        &dilations,
        &strides,
        &op.adjustments,
    );
    let Ok(computed) = computed else {
        return Err(lowering.unsupported(node, "its padding is not known when compiling"));
    };
    let mut windows = Vec::new();
    for (axis, &size) in pixels.iter().enumerate() {
        let reach = dilations[axis] * (spec.kernel_shape[axis] - 1);
        let (Ok(output), Ok(pad)) =
            (computed[axis].deconvoluted.to_usize(), computed[axis].pad_before.to_usize())
        else {
            return Err(lowering.unsupported(node, "its padding is not known when compiling"));
        };
        let Some(before) = reach.checked_sub(pad) else {
            let detail = format!("padding of {pad}; up to the kernel's {reach} is supported");
            return Err(lowering.unsupported(node, detail));
        };
        windows.push(Window {
            input: (size - 1) * strides[axis] + 1,
            output,
            taps: spec.kernel_shape[axis],
            stride: 1,
            dilation: dilations[axis],
            before,
        });
    }

    // The image with zeros between its pixels.
    let leading = shape.len() - pixels.len();
    let mut spread = shape.clone();
    windows.iter().enumerate().for_each(|(axis, window)| spread[leading + axis] = window.input);
    let mut to_strides = dense_strides(&spread);
    strides.iter().enumerate().for_each(|(axis, stride)| to_strides[leading + axis] *= stride);
    let part =
        Part { input: 0, from: 0, from_strides: dense_strides(&shape), shape, to: 0, to_strides };
    let images = match strides.iter().all(|&stride| stride == 1) {
        true => input,
        false => lowering.copy(node, "spread", &[input], Some([0; 16]), vec![part], spread),
    };

    let taps: usize = spec.kernel_shape.iter().product();
    weights.chunks_mut(taps).for_each(<[f32]>::reverse);
    let bias = match bias[..] {
        [one] => vec![one; spec.output_channels],
        _ => bias,
    };
    let x = windows.pop().expect("there are one to three dimensions");
    let conv = Conv {
        batch: lowering.shape(images)[..leading - 1].iter().product(),
        groups: op.group,
        inputs: spec.input_channels / op.group,
        outputs: spec.output_channels / op.group,
        y: windows.pop().unwrap_or(Window::SINGLE),
        x,
        weights,
        bias,
        then: Expr::identity(),
        choice: None,
    };
    let (_, shape) = lowering.output_type(node, 0)?;
    let kernel_shape = match spec.data_format {
        DataFormat::CHW => [&[1], &shape[..]].concat(),
        _ => shape.clone(),
    };
    let step = match windows.pop() {
        Some(z) => volumes::convolve(lowering, node, images, z, conv),
        None => lowering.step(node, conv.simplified(), &[images], DType::F32, kernel_shape),
    };
    let output = lowering.view(node, step, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
