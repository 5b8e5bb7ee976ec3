//! `Conv`, with constant weights; with others it is [`super::conv_computed`]'s. Of
//! volumes, [`super::volumes`] makes images.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::{DimLike, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::cnn::{Conv as Op, KernelFormat, PoolSpec};
use tract_onnx::tract_hir::tract_core::ops::nn::DataFormat;

use super::{conv_computed, volumes};
use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::expr::{Binary, Expr, Node};
use crate::kernels::conv::{Conv, Window};
use crate::kernels::map::{Map, Operand};
use crate::lower::Lowering;
use crate::schedule::ValueId;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Op>()?;
    Some(lower_conv(lowering, node, op))
}

fn lower_conv(lowering: &mut Lowering, node: &TypedNode, op: &Op) -> Result<(), CompileError> {
    if op.q_params.is_some() {
        return Err(lowering.unsupported(node, "quantised convolution is not supported; FP32 is"));
    }
    let input = lowering.input(node, 0)?;
    lowering.want_f32(node, &[input])?;
    let Some(weights) = lowering.constant_f32(node, 1) else {
        return conv_computed::lower(lowering, node, op);
    };
    // tract takes an addition of something computed for a bias, too.
    let computed = match lowering.constant(node, 2) {
        None => Some(lowering.input(node, 2)?),
        Some(_) => None,
    };
    let bias = lowering.constant_f32(node, 2).unwrap_or_default();
    if op.kernel_fmt != KernelFormat::OIHW {
        let detail = format!("weights in the order {:?}; OIHW is supported", op.kernel_fmt);
        return Err(lowering.unsupported(node, detail));
    }
    let outputs = op.pool_spec.output_channels;
    let bias = match bias[..] {
        [] => vec![0.0; outputs],
        [one] => vec![one; outputs],
        _ => bias,
    };
    let conv = |batch: usize, y: Window, x: Window| Conv {
        batch,
        groups: op.group,
        inputs: op.pool_spec.input_channels / op.group,
        outputs: outputs / op.group,
        y,
        x,
        weights,
        bias,
        then: Expr::identity(),
        choice: None,
    };
    match op.pool_spec.kernel_shape.len() {
        0..3 => {}
        3 => return volumes::lower_conv(lowering, node, &op.pool_spec, conv, computed),
        rank => {
            let detail = format!("{rank} spatial dimensions; 1 to 3 are supported");
            return Err(lowering.unsupported(node, detail));
        }
    }
    let images = Images::of(lowering, node, &op.pool_spec)?;
    let conv = conv(images.batch, images.y, images.x);
    images.finish(lowering, node, outputs, conv.simplified(), computed)
}

/// The window of `spec` along each axis of images of so many pixels.
pub fn windows_of(
    lowering: &Lowering,
    node: &TypedNode,
    spec: &PoolSpec,
    pixels: &[usize],
) -> Result<Vec<Window>, CompileError> {
    let computed = spec.computed_padding(pixels);
    let window = |(axis, &input): (usize, &usize)| {
        let (Ok(output), Ok(before)) =
            (computed[axis].convoluted.to_usize(), computed[axis].pad_before.to_usize())
        else {
            return Err(lowering.unsupported(node, "its padding is not known when compiling"));
        };
        let (stride, dilation) = (spec.stride(axis), spec.dilation(axis));
        Ok(Window { input, output, taps: spec.kernel_shape[axis], stride, dilation, before })
    };
    pixels.iter().enumerate().map(window).collect()
}

/// The images that a window slides over, as the kernels want them: NCHW, with
/// rows and columns.
pub struct Images {
    /// The images.
    pub value: ValueId,
    /// Their number.
    pub batch: usize,
    /// Their channels.
    pub channels: usize,
    /// Rows; a single one where the window is 1-D.
    pub y: Window,
    /// Columns.
    pub x: Window,
    format: DataFormat,
}

impl Images {
    /// The images at the node's first input, under the window of `spec`.
    pub fn of(
        lowering: &mut Lowering,
        node: &TypedNode,
        spec: &PoolSpec,
    ) -> Result<Self, CompileError> {
        let input = lowering.input(node, 0)?;
        let shape = lowering.shape(input);
        let data = match spec.data_format.shape(&shape[..]) {
            Ok(data) => data,
            Err(error) => return Err(lowering.unsupported(node, error.to_string())),
        };
        let batch = data.n().map_or(1, |&n| n);
        let channels = *data.c();
        let pixels = data.hw_dims().to_vec();
        if pixels.len() > 2 || pixels.is_empty() {
            let detail = format!("{} spatial dimensions; 1 and 2 are supported", pixels.len());
            return Err(lowering.unsupported(node, detail));
        }
        let mut windows = windows_of(lowering, node, spec, &pixels)?;
        let x = windows.pop().expect("there are one or two dimensions");
        let y = windows.pop().unwrap_or(Window::SINGLE);
        let value = match spec.data_format {
            DataFormat::NCHW | DataFormat::CHW => input,
            DataFormat::NHWC | DataFormat::HWC => {
                let mut order: Vec<usize> = (0..shape.len()).collect();
                let channel = order.pop().expect("there is an axis of channels");
                order.insert(usize::from(spec.data_format == DataFormat::NHWC), channel);
                lowering.transpose(node, input, &order)
            }
        };
        Ok(Self { value, batch, channels, y, x, format: spec.data_format })
    }

    /// Adds the step with `kernel`, which gives images of this many channels, and
    /// the addition of `bias` to each pixel, if it is computed; and binds the
    /// result to the node's output, in the node's own order of axes.
    pub fn finish(
        self,
        lowering: &mut Lowering,
        node: &TypedNode,
        channels: usize,
        kernel: impl crate::schedule::Kernel,
        bias: Option<ValueId>,
    ) -> Result<(), CompileError> {
        let images = self.value;
        self.finish_from(lowering, node, channels, kernel, &[images], bias)
    }

    /// The same with a kernel that reads these.
    pub fn finish_from(
        self,
        lowering: &mut Lowering,
        node: &TypedNode,
        channels: usize,
        kernel: impl crate::schedule::Kernel,
        inputs: &[ValueId],
        bias: Option<ValueId>,
    ) -> Result<(), CompileError> {
        let (dtype, shape) = lowering.output_type(node, 0)?;
        let rank = shape.len();
        let step = |lowering: &mut Lowering, shape: Vec<usize>| {
            let images = lowering.step(node, kernel, inputs, dtype, shape);
            bias.map_or(images, |bias| add_to_channels(lowering, node, images, bias))
        };
        let output = match self.format {
            DataFormat::NCHW => step(lowering, shape),
            DataFormat::CHW | DataFormat::NHWC | DataFormat::HWC => {
                // The kernel's shape has the channels on axis 1, as folds into
                // it expect.
                let mut kernel_shape = vec![self.batch, channels];
                if rank - 1 - usize::from(self.format == DataFormat::NHWC) == 2 {
                    kernel_shape.push(self.y.output);
                }
                kernel_shape.push(self.x.output);
                let step = step(lowering, kernel_shape);
                match self.format {
                    DataFormat::CHW => lowering.view(node, step, shape),
                    _ => {
                        let rank = lowering.shape(step).len();
                        let mut order: Vec<usize> = (0..rank).collect();
                        let channel = order.remove(1);
                        order.push(channel);
                        let moved = lowering.transpose(node, step, &order);
                        lowering.view(node, moved, shape)
                    }
                }
            }
        };
        lowering.bind(node, 0, output);
        Ok(())
    }
}

/// Adds a number for each channel, or a single one, to images whose channels are
/// on axis 1.
pub fn add_to_channels(
    lowering: &mut Lowering,
    node: &TypedNode,
    images: ValueId,
    bias: ValueId,
) -> ValueId {
    let shape = lowering.shape(images);
    let mut of_bias = vec![0; shape.len()];
    of_bias[1] = usize::from(lowering.schedule.value(bias).elements() > 1);
    let operand = |strides| Operand::new(DType::F32, strides);
    let map = Map {
        shape: shape.clone(),
        operands: vec![operand(dense_strides(&shape)), operand(of_bias)],
        expr: Expr::of(vec![Node::Operand(0), Node::Operand(1), Node::Binary(Binary::Add, 0, 1)]),
        output: DType::F32,
    };
    lowering.step(node, map, &[images, bias], DType::F32, shape)
}
