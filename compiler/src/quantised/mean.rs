//! Means over windows of quantised images: `QLinearAveragePool` and
//! `QLinearGlobalAveragePool`, which [`super::fold`] also makes of their counterparts on
//! reals.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::tract_downcast_rs::Downcast;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::cnn::HirSumPool;

use super::conv::Conv;
use super::grid::{Grid, want_8_bit};
use super::linear::{Dequantize, Quantize};
use super::product::{self, Target, Zeros};
use super::{Slots, integers};
use crate::kernels::quantised::outcome::Outcome;

/// The mean of each channel's pixels, over all axes from the third on, which stay with a
/// size of 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mean {
    /// The zero point of the images.
    pub zero_point: i32,
    /// What becomes of the sums.
    pub outcome: Outcome,
}

/// Reads `QLinearAveragePool`.
pub fn average_pool(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    // tract's own reader says what the window is.
    let read = context.framework.op_register.0.get("AveragePool");
    let (op, _) = read.context("tract reads AveragePool")?(context, node)?;
    let op = op.as_op().downcast_ref::<Box<dyn Expansion>>().context("an expansion")?;
    let pool = Downcast::as_any(&**op).downcast_ref::<HirSumPool>().context("a pool")?.clone();
    let has_pads = node
        .get_attr_opt_tvec::<usize>("pads")?
        .is_some_and(|pads| pads.iter().any(|&pad| pad > 0));
    let is_automatic = node
        .get_attr_opt::<&str>("auto_pad")?
        .is_some_and(|automatic| automatic.starts_with("SAME"));
    let is_ceiled = node.get_attr_opt::<i64>("ceil_mode")?.unwrap_or(0) != 0;
    let counts_all = !is_ceiled && ((!has_pads && !is_automatic) || pool.count_include_pad);
    let slots = Slots::of(node, 5).want(node, 2)?.want(node, 4)?;
    Ok((expand(ReadPool { slots, pool, counts_all }), vec![]))
}

/// Reads `QLinearGlobalAveragePool`.
pub fn global_average_pool(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    Ok((expand(ReadGlobal { slots: Slots::of(node, 5) }), vec![]))
}

/// The images' scale and zero point, and those of the result.
fn numbers(
    node: &str,
    model: &TypedModel,
    inputs: &[OutletId],
    slots: &Slots,
) -> TractResult<((f32, i32), Target)> {
    want_8_bit(node, model.outlet_fact(inputs[0])?.datum_type)?;
    let at = |number| slots.pick(inputs, number);
    let scale = at(1).context("a mean without scales")?;
    let images = product::single(node, model, "the images", (scale, at(2)), &[])?;
    let result = product::result(node, model, inputs, slots, 3)?;
    Ok((images, result.context("a mean without a scale of its result")?))
}

#[derive(Clone, Debug)]
struct ReadPool {
    slots: Slots,
    pool: HirSumPool,
    /// Whether the mean is over the same number of pixels everywhere.
    counts_all: bool,
}

impl Expansion for ReadPool {
    fn name(&self) -> StaticName {
        "QLinearAveragePool".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        let at = |number| self.slots.get(number).map(|slot| &inputs[slot]);
        product::result_rule(s, at(3), at(4), &outputs[0])?;
        s.equals(&outputs[0].rank, &inputs[0].rank)?;
        s.given(&inputs[0].shape, move |s, shape| {
            let axes = self.pool.pool_spec.kernel_shape.len();
            ensure!(shape.len() == 2 + axes, "a window of {axes} axes over {shape:?}");
            let mut output = shape.clone();
            let window = self.pool.pool_spec.computed_padding(&shape[2..]);
            for (size, axis) in output[2..].iter_mut().zip(window) {
                *size = axis.convoluted;
            }
            s.equals(&outputs[0].shape, output)
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let ((scale, zero_point), result) = numbers(prefix, model, inputs, &self.slots)?;
        let shape = model.outlet_fact(inputs[0])?.shape.as_concrete();
        let shape: TVec<usize> = shape.context("a shape that is not known")?.into();
        if !self.counts_all {
            // A mean of reals: the number of pixels differs.
            let grid = Grid::uniform(shape.len(), scale, zero_point);
            let name = format!("{prefix}.images");
            let images = model.wire_node(name, Dequantize { grid }, &inputs[..1])?;
            let mean = self.pool.wire(&format!("{prefix}.mean"), model, &images)?;
            let grid = Grid::uniform(shape.len(), result.scale, result.zero_point);
            return model.wire_node(prefix, Quantize { grid, dtype: result.dtype }, &mean);
        }
        // A convolution with ones.
        let mut spec = self.pool.pool_spec.clone();
        (spec.input_channels, spec.output_channels) = (shape[1], shape[1]);
        let window: usize = spec.kernel_shape.iter().product();
        let mut ones: TVec<usize> = tvec!(shape[1], 1);
        ones.extend(spec.kernel_shape.iter().copied());
        let ones = Tensor::from_shape(&ones, &vec![1i8; shape[1] * window])?;
        let ones = model.add_const(format!("{prefix}.ones"), ones)?;
        let conv = Conv {
            spec,
            groups: shape[1],
            input: Zeros::Known(vec![zero_point]),
            weights: Zeros::Known(vec![0]),
            bias: Vec::new(),
            outcome: of_mean(scale, result, window),
        };
        model.wire_node(prefix, conv, &[inputs[0], ones])
    }
}

/// The outcome of sums of `count` numbers whose mean is wanted.
fn of_mean(scale: f32, result: Target, count: usize) -> Outcome {
    // In the order in which ONNX Runtime has it.
    let of_sum = Target { scale: result.scale * count as f32, ..result };
    product::outcome(vec![scale], Some(of_sum))
}

#[derive(Clone, Debug)]
struct ReadGlobal {
    slots: Slots,
}

impl Expansion for ReadGlobal {
    fn name(&self) -> StaticName {
        "QLinearGlobalAveragePool".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        let at = |number| self.slots.get(number).map(|slot| &inputs[slot]);
        product::result_rule(s, at(3), at(4), &outputs[0])?;
        s.given(&inputs[0].shape, move |s, shape| s.equals(&outputs[0].shape, reduced(&shape)))
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let ((scale, zero_point), result) = numbers(prefix, model, inputs, &self.slots)?;
        let pixels = model.outlet_fact(inputs[0])?.shape.iter().skip(2).product::<TDim>();
        let outcome = of_mean(scale, result, pixels.to_usize()?);
        model.wire_node(prefix, Mean { zero_point, outcome }, &inputs[..1])
    }
}

/// The shape of the means of tensors of this shape.
fn reduced(shape: &[TDim]) -> TVec<TDim> {
    let size = |(axis, size): (usize, &TDim)| if axis < 2 { size.clone() } else { 1.to_dim() };
    shape.iter().enumerate().map(size).collect()
}

impl Op for Mean {
    fn name(&self) -> StaticName {
        "QuantisedMean".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Mean {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let mut shape: TVec<usize> = inputs[0].shape().into();
        let pixels: usize = shape[2..].iter().product();
        shape[2..].fill(1);
        let numbers = integers(&inputs[0])?;
        let sum = |channel: &[i32]| channel.iter().map(|q| q - self.zero_point).sum::<i32>();
        let sums = numbers.chunks(pixels.max(1)).map(|channel| (sum(channel), 0));
        Ok(tvec!(product::store(&self.outcome, &shape, sums)?.into_tvalue()))
    }
}

impl TypedOp for Mean {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = reduced(inputs[0].shape.dims());
        Ok(tvec!(product::datum_type(&self.outcome).fact(shape)))
    }

    as_op!();
}
