//! `QuantizeLinear` and `DequantizeLinear`: between real numbers and 8-bit
//! integers.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

use super::grid::{Along, Grid, want_8_bit};
use super::{Slots, refuse, tract_name};

/// What `QuantizeLinear` becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantize {
    /// The scales and zero points of the result.
    pub grid: Grid,
    /// The type of the result: `I8` or `U8`.
    pub dtype: DatumType,
}

/// What `DequantizeLinear` becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dequantize {
    /// The scales and zero points of the operand.
    pub grid: Grid,
}

/// Reads `QuantizeLinear`.
pub fn quantize(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let wanted: Option<DatumType> = match node.get_attr_opt::<i64>("output_dtype")? {
        None | Some(0) => None,
        Some(_) => node.get_attr_opt("output_dtype")?,
    };
    let op = ReadQuantize { slots: Slots::of(node, 3).want(node, 2)?, along: along(node)?, wanted };
    Ok((expand(op), vec![]))
}

/// Reads `DequantizeLinear`.
pub fn dequantize(
    _: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let op = ReadDequantize { slots: Slots::of(node, 3).want(node, 2)?, along: along(node)? };
    Ok((expand(op), vec![]))
}

fn along(node: &NodeProto) -> TractResult<Along> {
    let block = node.get_attr_opt::<i64>("block_size")?.unwrap_or(0);
    let axis = node.get_attr_opt("axis")?.unwrap_or(1);
    match usize::try_from(block) {
        Ok(block) => Ok(Along { axis, block }),
        Err(_) => refuse(tract_name(node), format!("its block_size is {block}")),
    }
}

#[derive(Clone, Debug)]
struct ReadQuantize {
    slots: Slots,
    along: Along,
    /// The type that an attribute asks for.
    wanted: Option<DatumType>,
}

impl Expansion for ReadQuantize {
    fn name(&self) -> StaticName {
        "QuantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        match (self.slots.get(2), self.wanted) {
            (Some(zero_point), _) => {
                s.equals(&outputs[0].datum_type, &inputs[zero_point].datum_type)?;
            }
            (None, Some(dtype)) => s.equals(&outputs[0].datum_type, dtype)?,
            (None, None) => s.equals(&outputs[0].datum_type, DatumType::U8)?,
        }
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?;
        if fact.datum_type != DatumType::F32 {
            let detail = format!("of numbers of type {:?}; of FP32 it is", fact.datum_type);
            return refuse(prefix, detail);
        }
        let shape: TVec<usize> =
            fact.shape.as_concrete().context("a shape that is not known")?.into();
        let zero_point = self.slots.pick(inputs, 2);
        let dtype = match zero_point {
            Some(outlet) => model.outlet_fact(outlet)?.datum_type,
            None => self.wanted.unwrap_or(DatumType::U8),
        };
        want_8_bit(prefix, dtype)?;
        let grid = Grid::read(prefix, model, inputs[1], zero_point, &shape, self.along)?;
        model.wire_node(prefix, Quantize { grid, dtype }, &inputs[..1])
    }
}

#[derive(Clone, Debug)]
struct ReadDequantize {
    slots: Slots,
    along: Along,
}

impl Expansion for ReadDequantize {
    fn name(&self) -> StaticName {
        "DequantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_output_arity(outputs, 1)?;
        if let Some(zero_point) = self.slots.get(2) {
            s.equals(&inputs[0].datum_type, &inputs[zero_point].datum_type)?;
        }
        s.equals(&outputs[0].datum_type, &inputs[1].datum_type)?;
        s.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let fact = model.outlet_fact(inputs[0])?.clone();
        let shape = fact.shape.as_concrete().context("a shape that is not known")?;
        if model.outlet_fact(inputs[1])?.datum_type != DatumType::F32 {
            return refuse(prefix, "to numbers that are not FP32; to FP32 it is supported");
        }
        let zero_point = self.slots.pick(inputs, 2);
        let grid = Grid::read(prefix, model, inputs[1], zero_point, shape, self.along)?;
        if fact.datum_type == DatumType::I32 {
            if grid.zero_point.iter().any(|&zero_point| zero_point != 0) {
                return refuse(prefix, "a zero point of I32 that is not 0; 0 is supported");
            }
        } else {
            want_8_bit(prefix, fact.datum_type)?;
        }
        // Larger weights than tract computes when it reads a model.
        if let Some(integers) = &fact.konst {
            return Ok(tvec!(model.add_const(prefix, grid.dequantize(integers)?)?));
        }
        model.wire_node(prefix, Dequantize { grid }, &inputs[..1])
    }
}

impl Op for Quantize {
    fn name(&self) -> StaticName {
        "Quantize".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Quantize {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(tvec!(self.grid.quantize(&inputs[0], self.dtype)?.into_tvalue()))
    }
}

impl TypedOp for Quantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(self.dtype.fact(inputs[0].shape.clone())))
    }

    as_op!();
}

impl Op for Dequantize {
    fn name(&self) -> StaticName {
        "Dequantize".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Dequantize {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(tvec!(self.grid.dequantize(&inputs[0])?.into_tvalue()))
    }
}

impl TypedOp for Dequantize {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(DatumType::F32.fact(inputs[0].shape.clone())))
    }

    as_op!();
}
