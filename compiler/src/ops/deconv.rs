//! `ConvTranspose`, with constant weights. The pixels of the output that lie the stride
//! apart are one phase: a convolution of the image under those taps that reach them, in
//! reverse. The phases are computed apart, or as more channels of one convolution where
//! their windows are the same, and then interleaved.

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
use crate::schedule::ValueId;

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
    let (Some(weights), Some(bias)) =
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
    let leading = shape.len() - pixels.len();
    let mut axes = Vec::new();
    for (axis, &input) in pixels.iter().enumerate() {
        let (Ok(output), Ok(pad)) =
            (computed[axis].deconvoluted.to_usize(), computed[axis].pad_before.to_usize())
        else {
            return Err(lowering.unsupported(node, "its padding is not known when compiling"));
        };
        let (stride, dilation) = (strides[axis], dilations[axis]);
        axes.push(Axis { input, output, taps: spec.kernel_shape[axis], stride, dilation, pad });
    }
    let bias = match bias[..] {
        [one] => vec![one; spec.output_channels],
        _ => bias,
    };
    let deconv = Transposed {
        batch: shape[..leading - 1].iter().product(),
        groups: op.group,
        inputs: spec.input_channels / op.group,
        outputs: spec.output_channels / op.group,
        phases: phases(&axes),
        axes,
        weights,
        bias,
    };
    let output = deconv.lower(lowering, node, input);
    let (_, shape) = lowering.output_type(node, 0)?;
    let output = lowering.view(node, output, shape);
    lowering.bind(node, 0, output);
    Ok(())
}

/// One spatial dimension.
struct Axis {
    /// Pixels of the input.
    input: usize,
    /// Pixels of the output.
    output: usize,
    /// Taps.
    taps: usize,
    /// From where one pixel of the input begins in the output to the next.
    stride: usize,
    /// From one tap to the next, in pixels of the output.
    dilation: usize,
    /// Pixels that are cut off before the output.
    pad: usize,
}

/// The pixels of the output that lie the stride apart, along one or several axes.
struct Phase {
    /// For each axis: its first pixel.
    first: Vec<usize>,
    /// For each axis: the window that slides over the input.
    windows: Vec<Window>,
    /// The taps in the order of the window, in that of the weights; none where the
    /// window only reaches further.
    taps: Vec<Option<usize>>,
}

impl Axis {
    /// The phase that begins at this pixel.
    fn phase(&self, first: usize) -> Phase {
        let Self { input, output, stride, dilation, pad, .. } = *self;
        // A tap is on the input's pixel that is so far from the output's, in strides.
        let distance = |tap: usize| (first + pad) as i64 - (dilation * tap) as i64;
        let reaches = |tap: &usize| distance(*tap).rem_euclid(stride as i64) == 0;
        let mut taps: Vec<Option<usize>> = (0..self.taps).filter(reaches).map(Some).collect();
        taps.reverse();
        let pixels = |tap: usize| distance(tap) / stride as i64;
        let (before, step) = match taps[..] {
            [Some(first), Some(second), ..] => (-pixels(first), pixels(second) - pixels(first)),
            [Some(first), ..] => (-pixels(first), 1),
            _ => (0, 1),
        };
        // It begins at the input's first pixel, or before it.
        let missing = before.min(0).unsigned_abs().div_ceil(step.unsigned_abs());
        taps.splice(..0, vec![None; missing as usize]);
        if taps.is_empty() {
            taps.push(None);
        }
        let window = Window {
            input,
            output: output.div_ceil(stride),
            taps: taps.len(),
            stride: 1,
            dilation: step as usize,
            before: (before + missing as i64 * step) as usize,
        };
        Phase { first: vec![first], windows: vec![window], taps }
    }
}

/// All phases of an image, the last axis innermost.
fn phases(axes: &[Axis]) -> Vec<Phase> {
    let none = Phase { first: Vec::new(), windows: Vec::new(), taps: vec![Some(0)] };
    axes.iter().fold(vec![none], |outer, axis| {
        let inner: Vec<Phase> = (0..axis.stride).map(|first| axis.phase(first)).collect();
        let joined = |a: &Phase, b: &Phase| Phase {
            first: [&a.first[..], &b.first].concat(),
            windows: [&a.windows[..], &b.windows].concat(),
            taps: a
                .taps
                .iter()
                .flat_map(|&a| b.taps.iter().map(move |&b| Some(a? * axis.taps + b?)))
                .collect(),
        };
        outer.iter().flat_map(|a| inner.iter().map(move |b| joined(a, b))).collect()
    })
}

/// A transposed convolution with constant weights.
struct Transposed {
    /// Images.
    batch: usize,
    /// Groups of channels.
    groups: usize,
    /// Input channels of one group.
    inputs: usize,
    /// Output channels of one group.
    outputs: usize,
    axes: Vec<Axis>,
    phases: Vec<Phase>,
    /// `[groups * outputs][inputs][taps...]`
    weights: Vec<f32>,
    /// `[groups * outputs]`
    bias: Vec<f32>,
}

impl Transposed {
    fn lower(&self, lowering: &mut Lowering, node: &TypedNode, input: ValueId) -> ValueId {
        let first = &self.phases[0];
        let is_same = |phase: &Phase| phase.windows == first.windows;
        if self.axes.len() < 3 && self.groups == 1 && self.phases.iter().all(is_same) {
            let images = self.convolve(lowering, node, input, &self.phases);
            let pixels: usize = first.windows.iter().map(|window| window.output).product();
            let channels = self.outputs * pixels;
            return self.interleave(
                lowering,
                node,
                images,
                [channels, channels * self.phases.len()],
            );
        }
        let images: Vec<ValueId> = self
            .phases
            .iter()
            .map(|phase| self.convolve(lowering, node, input, std::slice::from_ref(phase)))
            .collect();
        let size = lowering.shape(images[0]).iter().product();
        let images = self.one_after_the_other(lowering, node, &images, size);
        self.interleave(lowering, node, images, [size, size / self.batch])
    }

    /// These phases as a convolution's output channels, a phase after the other.
    fn convolve(
        &self,
        lowering: &mut Lowering,
        node: &TypedNode,
        input: ValueId,
        phases: &[Phase],
    ) -> ValueId {
        let all_taps: usize = self.axes.iter().map(|axis| axis.taps).product();
        let of_phase = |phase: &Phase| -> Vec<f32> {
            let windows = self.weights.chunks(all_taps);
            windows.flat_map(|w| phase.taps.iter().map(|tap| tap.map_or(0.0, |t| w[t]))).collect()
        };
        let mut windows = phases[0].windows.clone();
        let x = windows.pop().expect("there are one to three dimensions");
        let conv = Conv {
            batch: self.batch,
            groups: self.groups,
            inputs: self.inputs,
            outputs: self.outputs * phases.len(),
            y: windows.pop().unwrap_or(Window::SINGLE),
            x,
            weights: phases.iter().flat_map(of_phase).collect(),
            bias: self.bias.repeat(phases.len()),
            then: Expr::identity(),
            choice: None,
        };
        let channels = conv.groups * conv.outputs;
        let pixels = phases[0].windows.iter().map(|window| window.output);
        let shape = [self.batch, channels].into_iter().chain(pixels).collect();
        match windows.pop() {
            Some(z) => volumes::convolve(lowering, node, input, z, conv),
            None => lowering.step(node, conv.simplified(), &[input], DType::F32, shape),
        }
    }

    /// Values of so many elements, as one.
    fn one_after_the_other(
        &self,
        lowering: &mut Lowering,
        node: &TypedNode,
        values: &[ValueId],
        size: usize,
    ) -> ValueId {
        if let [one] = *values {
            return one;
        }
        let part = |input: usize| Part {
            input,
            shape: vec![size],
            from: 0,
            from_strides: vec![1],
            to: input * size,
            to_strides: vec![1],
        };
        let parts = (0..values.len()).map(part).collect();
        lowering.copy(node, "phases", values, None, parts, vec![values.len(), size])
    }

    /// The output from its phases, which lie `apart` elements apart, the images of a
    /// batch so many.
    fn interleave(
        &self,
        lowering: &mut Lowering,
        node: &TypedNode,
        images: ValueId,
        [apart, batch]: [usize; 2],
    ) -> ValueId {
        let channels = self.groups * self.outputs;
        let leading = [self.batch, channels];
        let outputs = self.axes.iter().map(|axis| axis.output);
        let shape: Vec<usize> = leading.into_iter().chain(outputs).collect();
        if self.phases.len() == 1 {
            return lowering.view(node, images, shape);
        }
        let pixels = self.phases[0].windows.iter().map(|window| window.output);
        let of_phase: Vec<usize> = leading.into_iter().chain(pixels).collect();
        let mut from = dense_strides(&of_phase);
        from[0] = batch;
        let to = dense_strides(&shape);
        let parts = match self.axes.iter().all(|axis| axis.output.is_multiple_of(axis.stride)) {
            true => vec![self.all_phases(apart, &of_phase, &from, &to)],
            false => self.each_phase(apart, &from, &to),
        };
        lowering.copy(node, "interleave", &[images], None, parts, shape)
    }

    /// All phases, where they have as many pixels: the axes in the output's order.
    fn all_phases(&self, apart: usize, of_phase: &[usize], from: &[usize], to: &[usize]) -> Part {
        let mut part = Part {
            input: 0,
            shape: of_phase[..2].to_vec(),
            from: 0,
            from_strides: from[..2].to_vec(),
            to: 0,
            to_strides: to[..2].to_vec(),
        };
        let mut phases = self.phases.len();
        for (axis, dim) in self.axes.iter().zip(2..) {
            phases /= axis.stride;
            part.shape.extend([of_phase[dim], axis.stride]);
            part.from_strides.extend([from[dim], phases * apart]);
            part.to_strides.extend([axis.stride * to[dim], to[dim]]);
        }
        part
    }

    /// A part for each phase.
    fn each_phase(&self, apart: usize, from: &[usize], to: &[usize]) -> Vec<Part> {
        let part = |(number, phase): (usize, &Phase)| {
            let axes = self.axes.iter().zip(&phase.first);
            let pixels = axes.map(|(axis, first)| (axis.output - first).div_ceil(axis.stride));
            let strides = self.axes.iter().zip(&to[2..]).map(|(axis, to)| axis.stride * to);
            let firsts = phase.first.iter().zip(&to[2..]).map(|(first, to)| first * to);
            Part {
                input: 0,
                shape: [self.batch, self.groups * self.outputs].into_iter().chain(pixels).collect(),
                from: number * apart,
                from_strides: from.to_vec(),
                to: firsts.sum(),
                to_strides: to[..2].iter().copied().chain(strides).collect(),
            }
        };
        let reaches = |phase: &Phase| {
            self.axes.iter().zip(&phase.first).all(|(axis, &first)| first < axis.output)
        };
        self.phases.iter().enumerate().filter(|(_, phase)| reaches(phase)).map(part).collect()
    }
}
