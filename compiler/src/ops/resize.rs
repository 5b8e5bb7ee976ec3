//! `Resize`: axis by axis, as tract plans it: nearest neighbours are gathered,
//! the linear and cubic kernels are weighted sums.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::{TractResult, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::nn::resize as core;
use tract_onnx_opl::resize as onnx;

use super::gather;
use crate::error::CompileError;
use crate::kernels::resample::{Resample, Sum};
use crate::kernels::rows::Rows;
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    if let Some(op) = node.op_as::<core::NearestUpsample>() {
        let axes = op.scales.iter().enumerate().filter(|(_, scale)| **scale > 1);
        let axes: Vec<(usize, usize)> = axes.map(|(axis, &scale)| (axis, scale)).collect();
        return Some(repeat(lowering, node, &axes));
    }
    let op = match node.op_as::<core::Resize>() {
        Some(op) => of_core(op),
        None => node.op_as::<onnx::Resize>()?.clone(),
    };
    Some(lower_resize(lowering, node, &op))
}

/// tract's own operator is a part of ONNX's.
fn of_core(op: &core::Resize) -> onnx::Resize {
    onnx::Resize {
        axes: None,
        coord_transformer: onnx::CoordTransform::Plain(op.coord_transformer.clone()),
        interpolator: op.interpolator.clone(),
        nearest: match op.nearest {
            core::Nearest::Floor => onnx::Nearest::Floor,
            core::Nearest::RoundPreferCeil => onnx::Nearest::RoundPreferCeil,
        },
        antialias: false,
        cubic_coeff_a_bits: (-0.75f32).to_bits(),
        exclude_outside: false,
        extrapolation_value_bits: 0,
        keep_aspect_ratio_policy: onnx::AspectRatio::Stretch,
        optional_roi_input: None,
        optional_scales_input: op.optional_scales_input,
        optional_sizes_input: op.optional_sizes_input,
    }
}

/// Each index of an axis repeated.
fn repeat(
    lowering: &mut Lowering,
    node: &TypedNode,
    axes: &[(usize, usize)],
) -> Result<(), CompileError> {
    let mut value = lowering.input(node, 0)?;
    for &(axis, scale) in axes {
        let size = lowering.shape(value)[axis];
        let indices: Vec<usize> = (0..size * scale).map(|x| x / scale).collect();
        value = gather::at_known(lowering, node, value, axis, &indices);
    }
    lowering.bind(node, 0, value);
    Ok(())
}

fn lower_resize(
    lowering: &mut Lowering,
    node: &TypedNode,
    op: &onnx::Resize,
) -> Result<(), CompileError> {
    let mut value = lowering.input(node, 0)?;
    let nearest = op.interpolator == core::Interpolator::Nearest;
    if !nearest {
        lowering.want_f32(node, &[value])?;
    }
    let from = lowering.shape(value);
    let (_, to) = lowering.output_type(node, 0)?;
    let Ok(scales) = scales(lowering, node, op, &from, &to) else {
        return Err(lowering.unsupported(node, "its scales are not known when compiling"));
    };
    let crops = crops(lowering, node, op, from.len())?;
    for (axis, &scale) in scales.iter().enumerate() {
        if from[axis] == to[axis] && scale == 1.0 && crops[axis] == (0.0, 1.0) {
            continue;
        }
        let coordinate = |x: usize| match &op.coord_transformer {
            onnx::CoordTransform::Plain(coordinates) => {
                Some(coordinates.transform(x, scale, from[axis], to[axis]))
            }
            onnx::CoordTransform::TfCropAndResize => crop(x, scale, from[axis], crops[axis]),
        };
        let plan = plan(op, scale, from[axis], to[axis], coordinate);
        let taps = plan.indices.chunks(plan.window).zip(plan.weights.chunks(plan.window));
        let taps = taps.map(|(indices, weights)| {
            indices.iter().copied().zip(weights.iter().copied()).collect::<Vec<_>>()
        });
        let chosen = |taps: Vec<(usize, f32)>| {
            taps.iter().find(|(_, weight)| *weight != 0.0).map_or(0, |(index, _)| *index)
        };
        let outside = plan.extrapolated.contains(&true);
        if nearest && !outside {
            let indices: Vec<usize> = taps.map(chosen).collect();
            value = gather::at_known(lowering, node, value, axis, &indices);
        } else {
            let shape = lowering.shape(value);
            let rows = Rows::along(&shape, &[axis]).expect("there is an axis");
            let mut output = shape;
            output[axis] = to[axis];
            lowering.want_f32(node, &[value])?;
            let beyond = f32::from_bits(op.extrapolation_value_bits);
            let sums = taps.zip(&plan.extrapolated).map(|(taps, &is_outside)| {
                let taps = match nearest {
                    true => vec![(chosen(taps), if is_outside { 0.0 } else { 1.0 })],
                    false => taps,
                };
                Sum { start: if is_outside { beyond } else { 0.0 }, taps }
            });
            let sums = sums.collect();
            value = lowering.step(node, Resample { rows, sums }, &[value], DType::F32, output);
        }
    }
    lowering.bind(node, 0, value);
    Ok(())
}

/// What is cut out of each axis: where it begins and ends, of the whole.
fn crops(
    lowering: &Lowering,
    node: &TypedNode,
    op: &onnx::Resize,
    rank: usize,
) -> Result<Vec<(f32, f32)>, CompileError> {
    let mut crops = vec![(0.0, 1.0); rank];
    if op.coord_transformer != onnx::CoordTransform::TfCropAndResize {
        return Ok(crops);
    }
    let axes = op.resized_axes(rank).unwrap_or_default();
    let roi = op.optional_roi_input.and_then(|input| lowering.constant_f32(node, input));
    let Some(roi) = roi.filter(|roi| roi.len() == 2 * axes.len()) else {
        let detail = "the roi of \"tf_crop_and_resize\" is computed; a constant is supported";
        return Err(lowering.unsupported(node, detail));
    };
    for (number, &axis) in axes.iter().enumerate() {
        crops[axis] = (roi[number], roi[number + axes.len()]);
    }
    Ok(crops)
}

/// The coordinate of an index of the output; `None` outside of the image.
fn crop(x: usize, scale: f32, size: usize, (start, end): (f32, f32)) -> Option<f32> {
    let last = size as f32 - 1.0;
    let span = last * (end - start);
    let width = scale * size as f32;
    let from_start = if width == 1.0 { span / 2.0 } else { x as f32 * span / (width - 1.0) };
    let coordinate = from_start + start * last;
    (0.0..=last).contains(&coordinate).then_some(coordinate)
}

/// What each axis is scaled by.
fn scales(
    lowering: &Lowering,
    node: &TypedNode,
    op: &onnx::Resize,
    from: &[usize],
    to: &[usize],
) -> TractResult<Vec<f32>> {
    let axes = op.resized_axes(from.len())?;
    let mut scales = vec![1.0; from.len()];
    let given = op.optional_scales_input.filter(|&input| input < node.inputs.len());
    let given = given.and_then(|input| lowering.constant_f32(node, input));
    if let Some(given) = given.filter(|given| given.len() == axes.len()) {
        axes.iter().zip(given).for_each(|(&axis, scale)| scales[axis] = scale);
        return Ok(scales);
    }
    let ratio = |size: f32, axis: usize| size / from[axis] as f32;
    if op.keep_aspect_ratio_policy == onnx::AspectRatio::Stretch {
        axes.iter().for_each(|&axis| scales[axis] = ratio(to[axis] as f32, axis));
        return Ok(scales);
    }
    // One scale for all: the smallest or the largest of those asked for.
    let sizes = op.optional_sizes_input.and_then(|input| lowering.constant_f32(node, input));
    let sizes = sizes.unwrap_or_default();
    let ratios = axes.iter().zip(sizes).map(|(&axis, size)| ratio(size, axis));
    let pick = match op.keep_aspect_ratio_policy {
        onnx::AspectRatio::NotLarger => f32::min,
        _ => f32::max,
    };
    let scale = ratios.reduce(pick).unwrap_or(1.0);
    axes.iter().for_each(|&axis| scales[axis] = scale);
    Ok(scales)
}

fn plan(
    op: &onnx::Resize,
    scale: f32,
    from: usize,
    to: usize,
    coordinate: impl Fn(usize) -> Option<f32>,
) -> core::AxisPlan {
    let window = core::window_size(&op.interpolator, op.antialias, scale);
    let a = op.cubic_coeff_a();
    core::plan_axis(from, to, window, op.exclude_outside, coordinate, |r, weights| {
        match op.interpolator {
            core::Interpolator::Linear => core::linear_weights(r, scale, op.antialias, weights),
            core::Interpolator::Cubic => core::cubic_weights(r, scale, a, op.antialias, weights),
            core::Interpolator::Nearest => {
                let right = r == 1.0
                    || match op.nearest {
                        onnx::Nearest::Floor => false,
                        onnx::Nearest::Ceil => true,
                        onnx::Nearest::RoundPreferFloor => r > 0.5,
                        onnx::Nearest::RoundPreferCeil => r >= 0.5,
                    };
                weights.copy_from_slice(if right { &[0.0, 1.0] } else { &[1.0, 0.0] });
            }
        }
    })
}
