//! Convolution of volumes, which have three spatial dimensions, as one of images: there
//! is an image for each plane of the output, and the planes of the input under the
//! window's taps along the depth are channels of it.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::cnn::PoolSpec;
use tract_onnx::tract_hir::tract_core::ops::nn::DataFormat;

use super::conv::{add_to_channels, windows_of};
use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::kernels::conv::{Conv, Window};
use crate::kernels::copy::Part;
use crate::lower::Lowering;
use crate::schedule::ValueId;

/// Lowers a convolution of volumes. `conv` makes that of one plane, from the batch and
/// the windows along rows and columns; `bias` is added if it is computed.
pub fn lower_conv(
    lowering: &mut Lowering,
    node: &TypedNode,
    spec: &PoolSpec,
    conv: impl FnOnce(usize, Window, Window) -> Conv,
    bias: Option<ValueId>,
) -> Result<(), CompileError> {
    if !matches!(spec.data_format, DataFormat::NCHW | DataFormat::CHW) {
        let detail = format!("volumes in the order {:?}; NCHW is supported", spec.data_format);
        return Err(lowering.unsupported(node, detail));
    }
    let volumes = lowering.input(node, 0)?;
    let shape = lowering.shape(volumes);
    let (images, pixels) = shape.split_at(shape.len() - 3);
    let windows = windows_of(lowering, node, spec, pixels)?;
    let batch = images[..images.len() - 1].iter().product();
    let conv = conv(batch, windows[1], windows[2]);
    let output = convolve(lowering, node, volumes, windows[0], conv);
    let output = bias.map_or(output, |bias| add_to_channels(lowering, node, output, bias));
    let (_, shape) = lowering.output_type(node, 0)?;
    let output = lowering.view(node, output, shape);
    lowering.bind(node, 0, output);
    Ok(())
}

/// Convolves `volumes`, a batch of channels of planes, under the window `z` along the
/// depth. `conv` is the convolution of planes; its weights are in the order output,
/// input, depth, row, column. The result has the axes of the input.
pub fn convolve(
    lowering: &mut Lowering,
    node: &TypedNode,
    volumes: ValueId,
    z: Window,
    conv: Conv,
) -> ValueId {
    let (batch, channels) = (conv.batch, conv.groups * conv.inputs);
    let plane = conv.y.input * conv.x.input;
    let (volumes, depth) = match z.is_padded() {
        true => (padded(lowering, node, volumes, batch * channels, z, plane), z.reach()),
        false => (volumes, z.input),
    };
    let shape = vec![batch, z.output, channels, z.taps, plane];
    let from_strides =
        vec![channels * depth * plane, z.stride * plane, depth * plane, z.dilation * plane, 1];
    let to_strides = dense_strides(&shape);
    let part = Part { input: 0, shape, from: 0, from_strides, to: 0, to_strides };
    let images = vec![batch * z.output, channels * z.taps, conv.y.input, conv.x.input];
    let images = lowering.copy(node, "planes", &[volumes], None, vec![part], images);
    let (y, x, outputs) = (conv.y.output, conv.x.output, conv.groups * conv.outputs);
    let conv = Conv { batch: batch * z.output, inputs: conv.inputs * z.taps, ..conv };
    let shape = vec![batch * z.output, outputs, y, x];
    let images = lowering.step(node, conv.simplified(), &[images], DType::F32, shape);
    let images = lowering.view(node, images, vec![batch, z.output, outputs, y, x]);
    lowering.transpose(node, images, &[0, 2, 1, 3, 4])
}

/// As many channels of volumes with zeros before and after their planes, as far as the
/// window reaches.
fn padded(
    lowering: &mut Lowering,
    node: &TypedNode,
    volumes: ValueId,
    channels: usize,
    z: Window,
    plane: usize,
) -> ValueId {
    let reach = z.reach();
    let kept = z.input.min(reach.saturating_sub(z.before));
    let part = Part {
        input: 0,
        shape: vec![channels, kept, plane],
        from: 0,
        from_strides: vec![z.input * plane, plane, 1],
        to: z.before * plane,
        to_strides: vec![reach * plane, plane, 1],
    };
    let parts = if kept > 0 { vec![part] } else { Vec::new() };
    lowering.copy(node, "pad", &[volumes], Some([0; 16]), parts, vec![channels, reach, plane])
}
