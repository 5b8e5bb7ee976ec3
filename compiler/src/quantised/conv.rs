//! Convolutions of quantised images: `ConvInteger` and `QLinearConv`.
//!
//! What [`super::fold`] makes of a convolution between quantised tensors is a
//! `QLinearConv` with more than ONNX's has: without a scale for its result, that is
//! FP32; its bias may be FP32, or have a scale of its own; and the result may be
//! clamped.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::cnn::Conv as Geometry;
use tract_onnx::tract_hir::tract_core::ops::cnn::{PaddingSpec, PoolSpec};
use tract_onnx::tract_hir::tract_core::ops::nn::DataFormat;

use super::grid::{Along, Grid, want_8_bit};
use super::product::{self, Bias, Zeros, zero_of};
use super::{Slots, integers, refuse, tract_name};
use crate::kernels::quantised::outcome::Outcome;

/// A convolution of images with weights. Its inputs are these two, and then zero points
/// that are computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// The window.
    pub spec: PoolSpec,
    /// Groups of channels.
    pub groups: usize,
    /// The zero point of the images.
    pub input: Zeros,
    /// Those of the weights: one, or one for each output channel.
    pub weights: Zeros,
    /// What is added to the sums of each output channel; none for zeros.
    pub bias: Vec<i32>,
    /// What becomes of the sums; its channels are the output channels.
    pub outcome: Outcome,
}

/// Reads `ConvInteger`.
pub fn conv_integer(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let slots = Slots::of(node, 4).want(node, 2)?;
    let numbers = Numbers { zero_point: 2, weights: 1, result: None };
    Ok((expand(ReadConv { slots, numbers, geometry: geometry(node)?, clamp: None }), vec![]))
}

/// Reads `QLinearConv`.
pub fn q_linear_conv(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let slots = Slots::of(node, 10).want(node, 5)?;
    let numbers = Numbers { zero_point: 2, weights: 3, result: Some(6) };
    let clamp = product::clamp(node)?;
    Ok((expand(ReadConv { slots, numbers, geometry: geometry(node)?, clamp }), vec![]))
}

/// The numbers of inputs that differ between operators.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    /// Of the images.
    zero_point: usize,
    weights: usize,
    /// The scale of the result; its zero point and the bias follow. `None` for sums.
    result: Option<usize>,
}

#[derive(Clone, Debug)]
struct ReadConv {
    slots: Slots,
    numbers: Numbers,
    geometry: Geometry,
    /// The bounds of the result.
    clamp: Option<(f32, f32)>,
}

/// The attributes that say how the window lies.
fn geometry(node: &NodeProto) -> TractResult<Geometry> {
    let mut padding = PaddingSpec::Valid;
    let automatic = node.get_attr_opt::<&str>("auto_pad")?.unwrap_or("NOTSET");
    match automatic {
        "SAME_UPPER" => padding = PaddingSpec::SameUpper,
        "SAME_LOWER" => padding = PaddingSpec::SameLower,
        "VALID" => {}
        "NOTSET" => {
            if let Some(pads) = node.get_attr_opt_tvec::<usize>("pads")? {
                let (before, after) = pads.split_at(pads.len() / 2);
                padding = PaddingSpec::Explicit(before.into(), after.into());
            }
        }
        other => return refuse(tract_name(node), format!("its auto_pad is {other:?}")),
    }
    Ok(Geometry {
        padding,
        kernel_shape: node.get_attr_opt_tvec("kernel_shape")?,
        dilations: node.get_attr_opt_tvec("dilations")?,
        strides: node.get_attr_opt_tvec("strides")?,
        group: node.get_attr_opt("group")?,
        ..Geometry::default()
    })
}

impl Expansion for ReadConv {
    fn name(&self) -> StaticName {
        if self.numbers.result.is_some() { "QLinearConv".into() } else { "ConvInteger".into() }
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        let at = |number| self.slots.get(number).map(|slot| &inputs[slot]);
        match self.numbers.result {
            None => s.equals(&outputs[0].datum_type, DatumType::I32)?,
            Some(result) => product::result_rule(s, at(result), at(result + 1), &outputs[0])?,
        }
        let weights = at(self.numbers.weights).context("a convolution without weights")?;
        s.equals(&inputs[0].rank, &weights.rank)?;
        s.equals(&outputs[0].rank, &inputs[0].rank)?;
        s.given_2(&inputs[0].shape, &weights.shape, move |s, images, weights| {
            let weights: Option<TVec<usize>> =
                weights.iter().map(|dim| dim.to_usize().ok()).collect();
            match weights {
                None => Ok(()),
                Some(weights) => {
                    self.check(&weights)?;
                    s.equals(&outputs[0].shape, self.geometry.output_shape(&images, &weights)?)
                }
            }
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let at = |number| self.slots.pick(inputs, number);
        let weights = at(self.numbers.weights).context("a convolution without weights")?;
        let mut operands: TVec<OutletId> = tvec!(inputs[0], weights);
        for &operand in &operands {
            want_8_bit(prefix, model.outlet_fact(operand)?.datum_type)?;
        }
        let spec = self.spec(prefix, model, inputs[0], weights)?;
        let of_weights = self.numbers.weights;
        let op = match self.numbers.result {
            None => {
                let mut zeros = |number| Zeros::read(prefix, model, at(number), &mut operands);
                let (input, weights) = (zeros(self.numbers.zero_point)?, zeros(3)?);
                let (bias, outcome) = (Vec::new(), Outcome::Sums);
                Conv { groups: self.groups(), spec, input, weights, bias, outcome }
            }
            Some(result) => {
                let missing = || format!("{prefix} has no scales");
                let of_input = (at(1).with_context(missing)?, at(self.numbers.zero_point));
                let input = product::single(prefix, model, "the images", of_input, &[])?;
                let shape =
                    model.outlet_fact(weights)?.shape.as_concrete().with_context(missing)?;
                let scale = at(of_weights + 1).with_context(missing)?;
                let along = Along { axis: 0, block: 0 };
                let grid = Grid::read(prefix, model, scale, at(of_weights + 2), shape, along)?;
                let scale: Vec<f32> = grid.scale.iter().map(|scale| input.0 * scale).collect();
                let bias = Bias::read(
                    prefix,
                    model,
                    (at(result + 2), at(result + 3)),
                    &scale,
                    spec.output_channels,
                )?;
                let result = product::result(prefix, model, inputs, &self.slots, result)?;
                let outcome = product::outcome(scale, result);
                let (bias, outcome) = bias.into(outcome, self.clamp, result);
                Conv {
                    groups: self.groups(),
                    spec,
                    input: Zeros::Known(vec![input.1]),
                    weights: Zeros::Known(grid.zero_point),
                    bias,
                    outcome,
                }
            }
        };
        if let Zeros::Known(zeros) = &op.weights
            && zeros.len() > 1
            && zeros.len() != op.spec.output_channels
        {
            return refuse(prefix, format!("{} zero points of its weights", zeros.len()));
        }
        model.wire_node(prefix, op, &operands)
    }
}

impl ReadConv {
    fn groups(&self) -> usize {
        self.geometry.group.unwrap_or(1)
    }

    /// Checks that the attributes are as many as the weights' axes.
    fn check(&self, weights: &[usize]) -> TractResult<()> {
        let axes = weights.len().checked_sub(2).context("weights without axes")?;
        ensure!(axes > 0, "weights of shape {weights:?}");
        let Geometry { padding, kernel_shape, dilations, strides, .. } = &self.geometry;
        let listed = [kernel_shape, dilations, strides].into_iter().flatten();
        ensure!(listed.clone().all(|list| list.len() == axes), "attributes for other axes");
        ensure!(listed.flatten().all(|&size| size > 0), "an attribute that is 0");
        ensure!(
            kernel_shape.as_ref().is_none_or(|shape| shape[..] == weights[2..]),
            "kernel_shape"
        );
        if let PaddingSpec::Explicit(before, after) = padding {
            ensure!(before.len() == axes && after.len() == axes, "pads for other axes");
        }
        ensure!(weights.iter().all(|&size| size > 0), "weights of shape {weights:?}");
        Ok(())
    }

    fn spec(
        &self,
        node: &str,
        model: &TypedModel,
        images: OutletId,
        weights: OutletId,
    ) -> TractResult<PoolSpec> {
        let images = &model.outlet_fact(images)?.shape;
        let weights = model.outlet_fact(weights)?.shape.as_concrete();
        let weights = weights.context("weights of a shape that is not known")?;
        self.check(weights)?;
        let groups = self.groups();
        let channels = weights[1] * groups;
        if images.rank() != weights.len()
            || images[1] != channels.to_dim()
            || groups == 0
            || !weights[0].is_multiple_of(groups)
        {
            let detail = format!(
                "weights of shape {weights:?} in {groups} groups, for images of shape {images:?}"
            );
            return refuse(node, detail);
        }
        Ok(PoolSpec {
            data_format: DataFormat::NCHW,
            kernel_shape: weights[2..].into(),
            padding: self.geometry.padding.clone(),
            dilations: self.geometry.dilations.clone(),
            strides: self.geometry.strides.clone(),
            input_channels: channels,
            output_channels: weights[0],
        })
    }
}

impl Op for Conv {
    fn name(&self) -> StaticName {
        "QuantisedConv".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Conv {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (zero, weight_zeros) = (self.input.of(&inputs)?[0], self.weights.of(&inputs)?);
        let images: Vec<i32> = integers(&inputs[0])?.into_iter().map(|q| q - zero).collect();
        let size = inputs[0].shape();
        let per_output = inputs[1].len() / self.spec.output_channels;
        let weights = integers(&inputs[1])?.into_iter().enumerate();
        let weights: Vec<i32> =
            weights.map(|(at, q)| q - zero_of(&weight_zeros, at / per_output)).collect();
        let padding = self.spec.computed_padding(&size[2..]);
        let pixels: Vec<usize> = padding.iter().map(|axis| axis.convoluted).collect();
        let (channels, outputs) = (self.spec.input_channels, self.spec.output_channels);
        let per_group = channels / self.groups;

        let taps = positions(&self.spec.kernel_shape);
        let plane: usize = size[2..].iter().product();
        // For each pixel of the result, the taps in the image: their index and place.
        let windows: Vec<Vec<(usize, usize)>> = positions(&pixels)
            .iter()
            .map(|pixel| {
                let place = |tap: &Vec<usize>| {
                    (0..tap.len()).try_fold(0, |place, axis| {
                        let at = pixel[axis] * self.spec.stride(axis)
                            + tap[axis] * self.spec.dilation(axis);
                        let at = at.checked_sub(padding[axis].pad_before)?;
                        (at < size[axis + 2]).then_some(place * size[axis + 2] + at)
                    })
                };
                let taps = taps.iter().enumerate();
                taps.filter_map(|(index, tap)| Some((index, place(tap)?))).collect()
            })
            .collect();
        let mut sums = Vec::with_capacity(size[0] * outputs * windows.len());
        for image in 0..size[0] {
            for output in 0..outputs {
                let first = image * channels + output / (outputs / self.groups) * per_group;
                for window in &windows {
                    let mut sum = self.bias.get(output).copied().unwrap_or(0);
                    for channel in 0..per_group {
                        let image = &images[(first + channel) * plane..][..plane];
                        let of_channel = output * per_output + channel * taps.len();
                        for &(tap, place) in window {
                            sum = sum.wrapping_add(image[place] * weights[of_channel + tap]);
                        }
                    }
                    sums.push((sum, output));
                }
            }
        }
        let shape: Vec<usize> = [size[0], outputs].into_iter().chain(pixels).collect();
        Ok(tvec!(product::store(&self.outcome, &shape, sums.into_iter())?.into_tvalue()))
    }
}

/// All indices of a tensor of this shape, row-major.
fn positions(shape: &[usize]) -> Vec<Vec<usize>> {
    shape.iter().fold(vec![Vec::new()], |all, &size| {
        let longer = |position: Vec<usize>| {
            (0..size).map(move |at| position.iter().copied().chain([at]).collect())
        };
        all.into_iter().flat_map(longer).collect()
    })
}

impl TypedOp for Conv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = self.spec.output_shape(&inputs[0].shape)?.shape;
        Ok(tvec!(product::datum_type(&self.outcome).fact(shape)))
    }

    fn cost(&self, inputs: &[&TypedFact]) -> TractResult<TVec<(Cost, TDim)>> {
        let outputs = self.spec.output_shape(&inputs[0].shape)?;
        let outputs: TDim = outputs.shape.iter().product();
        let window: usize = self.spec.kernel_shape.iter().product();
        let products = window * self.spec.input_channels / self.groups;
        Ok(tvec!((Cost::FMA(DatumType::I32), outputs * products)))
    }

    as_op!();
}
