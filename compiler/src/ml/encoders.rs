//! What maps keys to values: `LabelEncoder`, `CategoryMapper` and `OneHotEncoder`,
//! of numbers.
//!
//! Strings as values are given by their index among the values that differ; the
//! names are in the certificate.

use std::collections::HashMap;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{NodeProto, TensorProto, tensor_proto::DataType};
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::Gather;
use tract_onnx::tract_hir::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_hir::tract_core::ops::logic::{And, Or, comp_eq, comp_lt, comp_ne};
use tract_onnx::tract_hir::tract_core::ops::math;
use tract_onnx::tract_hir::tract_core::ops::nn::{Reduce, Reducer};

use super::attributes::{floats, ints, strings, want};
use super::labels::distinct;
use crate::composed::wire::Wire;
use crate::composed::{Read, composed};

/// The most keys, where they are not next to each other.
const KEYS_LIMIT: usize = 1 << 12;
/// The longest table for keys that are about next to each other.
const TABLE_LIMIT: i128 = 1 << 16;

/// What is looked for.
#[derive(Clone)]
enum Keys {
    Ints(Vec<i64>),
    Floats(Vec<f32>),
}

/// Reads a `LabelEncoder`.
pub fn label_encoder(ctx: &ParsingContext, node: &NodeProto) -> Read {
    if !strings(node, "classes_strings")?.is_empty() {
        // Version 1: from an index to a string, or the other way.
        let names = strings(node, "classes_strings")?;
        let keys: Vec<i64> = (0..names.len() as i64).collect();
        let values = tensor1(&distinct(&names).1);
        return encoder("LabelEncoder", node, Keys::Ints(keys), values, tensor0(-1i64));
    }
    let keys = keys(ctx, node)?;
    let (values, default) = values(ctx, node)?;
    encoder("LabelEncoder", node, keys, values, default)
}

/// Reads a `CategoryMapper`, from integers to strings.
pub fn category_mapper(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    let names = strings(node, "cats_strings")?;
    let values = tensor1(&distinct(&names).1);
    let keys = Keys::Ints(ints(node, "cats_int64s")?.to_vec());
    encoder("CategoryMapper", node, keys, values, tensor0(-1i64))
}

fn keys(ctx: &ParsingContext, node: &NodeProto) -> TractResult<Keys> {
    let of_strings = "its keys are strings, which a component does not take; encode them before \
                      the model, and export it with integers";
    if !strings(node, "keys_strings")?.is_empty() {
        return node.bail_attr("keys_strings", of_strings);
    }
    if let Some(proto) = node.get_attr_opt::<&TensorProto>("keys_tensor")? {
        if proto.data_type == DataType::String as i32 {
            return node.bail_attr("keys_tensor", of_strings);
        }
        let tensor = ctx.load_tensor(proto).context("attribute 'keys_tensor'")?;
        return match tensor.datum_type().is_float() {
            true => Ok(Keys::Floats(elements::<f32>(&tensor)?)),
            false => Ok(Keys::Ints(elements::<i64>(&tensor)?)),
        };
    }
    let (of_ints, of_floats) = (ints(node, "keys_int64s")?, floats(node, "keys_floats")?);
    match of_floats.is_empty() {
        true => Ok(Keys::Ints(of_ints.to_vec())),
        false => Ok(Keys::Floats(of_floats.to_vec())),
    }
}

fn elements<T: Datum + Copy>(tensor: &Tensor) -> TractResult<Vec<T>> {
    let tensor = tensor.cast_to::<T>()?;
    Ok(tensor.to_plain_array_view::<T>()?.iter().copied().collect())
}

/// The values, and the one where there is no key.
fn values(ctx: &ParsingContext, node: &NodeProto) -> TractResult<(Tensor, Tensor)> {
    let names = strings(node, "values_strings")?;
    if !names.is_empty() {
        return Ok((tensor1(&distinct(&names).1), tensor0(-1i64)));
    }
    if let Some(proto) = node.get_attr_opt::<&TensorProto>("values_tensor")? {
        if proto.data_type == DataType::String as i32 {
            let names: Vec<String> =
                proto.string_data.iter().map(|s| String::from_utf8_lossy(s).into()).collect();
            return Ok((tensor1(&distinct(&names).1), tensor0(-1i64)));
        }
        let values = ctx.load_tensor(proto).context("attribute 'values_tensor'")?;
        let default = match node.get_attr_opt::<&TensorProto>("default_tensor")? {
            Some(proto) => ctx.load_tensor(proto).context("attribute 'default_tensor'")?,
            None if values.datum_type().is_float() => tensor0(-0.0f32),
            None => tensor0(-1i64),
        };
        let default = default.cast_to_dt(values.datum_type())?.into_owned();
        node.expect_attr("default_tensor", default.len() == 1, "one element")?;
        return Ok((values, default.into_shape(&[])?));
    }
    let (of_ints, of_floats) = (ints(node, "values_int64s")?, floats(node, "values_floats")?);
    if of_floats.is_empty() {
        let default = node.get_attr_opt::<i64>("default_int64")?.unwrap_or(-1);
        return Ok((tensor1(of_ints), tensor0(default)));
    }
    let default = node.get_attr_opt::<f32>("default_float")?.unwrap_or(-0.0);
    Ok((tensor1(of_floats), tensor0(default)))
}

/// The operator that maps `keys` to `values`. Of equal keys the last one counts.
fn encoder(name: &str, node: &NodeProto, keys: Keys, values: Tensor, default: Tensor) -> Read {
    let count = match &keys {
        Keys::Ints(keys) => keys.len(),
        Keys::Floats(keys) => keys.len(),
    };
    node.expect_attr("keys", count > 0, "at least one key")?;
    want(node, "values", values.len(), count)?;
    let values = values.into_shape(&[count])?;
    let default = default.into_shape(&[1])?;
    if let Keys::Ints(keys) = &keys
        && let Some(table) = Table::of(keys)
    {
        let indices: Vec<i64> =
            table.places.iter().map(|p| p.map_or(count, |p| p) as i64).collect();
        let all = Tensor::stack_tensors(0, &[values, default])?.into_arc_tensor();
        return composed(name, 1, move |wire, inputs| {
            let place = table.place(wire, inputs[0])?;
            let indices = wire.constant(tensor1(&indices))?;
            let all = wire.constant(all.clone())?;
            // Of constants, so that tract makes one table of both.
            let all = wire.op(Gather::new(0), &[all, indices])?;
            Ok(tvec!(wire.op(Gather::new(0), &[all, place])?))
        });
    }
    node.expect_attr("keys", count <= KEYS_LIMIT, || {
        format!("at most {KEYS_LIMIT} keys, or integers next to each other, got {count}")
    })?;
    let all = Tensor::stack_tensors(0, &[values, default])?.into_arc_tensor();
    composed(name, 1, move |wire, inputs| {
        let place = search(wire, inputs[0], &keys)?;
        let all = wire.constant(all.clone())?;
        Ok(tvec!(wire.op(Gather::new(0), &[all, place])?))
    })
}

/// Keys that are about next to each other: where the value is for each integer
/// from `first` on. The first and the last place are for what is no key.
struct Table {
    first: i64,
    places: Vec<Option<usize>>,
}

impl Table {
    fn of(keys: &[i64]) -> Option<Self> {
        let (first, last) = (*keys.iter().min()?, *keys.iter().max()?);
        let size = i128::from(last) - i128::from(first) + 1;
        if size > TABLE_LIMIT || first == i64::MIN || last == i64::MAX {
            return None;
        }
        let mut places = vec![None; size as usize + 2];
        for (at, key) in keys.iter().enumerate() {
            places[(key - first) as usize + 1] = Some(at);
        }
        Some(Self { first, places })
    }

    /// The index into the table, of the shape of the input.
    fn place(&self, wire: &mut Wire, input: OutletId) -> TractResult<OutletId> {
        let input = wire.cast(input, i64::datum_type())?;
        let last = self.first + (self.places.len() as i64 - 2);
        let low = wire.constant(tensor0(self.first - 1))?;
        let high = wire.constant(tensor0(last))?;
        let above = wire.binary(Box::new(math::Max), input, low)?;
        let within = wire.binary(Box::new(math::Min), above, high)?;
        wire.binary(Box::new(math::Sub), within, low)
    }
}

/// The index of the key that each element is, or the number of keys.
fn search(wire: &mut Wire, input: OutletId, keys: &Keys) -> TractResult<OutletId> {
    let shape = wire.fact(input)?.shape.to_tvec();
    let rank = shape.len();
    let input = match keys {
        Keys::Ints(_) => wire.cast(input, i64::datum_type())?,
        Keys::Floats(_) => wire.cast(input, f32::datum_type())?,
    };
    let input = wire.op(AxisOp::Add(rank), &[input])?;
    let (constant, count) = match keys {
        Keys::Ints(keys) => (tensor1(keys), keys.len()),
        Keys::Floats(keys) => (tensor1(keys), keys.len()),
    };
    let constant = wire.constant(constant)?;
    let mut is_key = wire.binary(comp_eq(), input, constant)?;
    if let Keys::Floats(keys) = keys
        && keys.iter().any(|key| key.is_nan())
    {
        let is_nan = wire.binary(comp_ne(), input, input)?;
        let of_nan: Vec<bool> = keys.iter().map(|key| key.is_nan()).collect();
        let of_nan = wire.constant(tensor1(&of_nan))?;
        let both = wire.binary(Box::new(And), is_nan, of_nan)?;
        is_key = wire.binary(Box::new(Or), is_key, both)?;
    }
    // One more than its index where it is the key, and the largest of those.
    let numbers: Vec<i64> = (1..=count as i64).collect();
    let numbers = wire.constant(tensor1(&numbers))?;
    let none = wire.constant(tensor0(0i64))?;
    let found = wire.select(is_key, numbers, none)?;
    let last = wire.op(Reduce::new(tvec!(rank), Reducer::Max), &[found])?;
    let last = wire.op(AxisOp::Rm(rank), &[last])?;
    let one = wire.constant(tensor0(1i64))?;
    let index = wire.binary(Box::new(math::Sub), last, one)?;
    let is_none = wire.binary(comp_lt(), last, one)?;
    let default = wire.constant(tensor0(count as i64))?;
    wire.select(is_none, default, index)
}

/// Reads a `OneHotEncoder` of integers. What is no category gives zeros, also
/// where the attribute `zeros` asks for a failure: a component has none to give.
pub fn one_hot_encoder(_ctx: &ParsingContext, node: &NodeProto) -> Read {
    if !strings(node, "cats_strings")?.is_empty() {
        let what = "strings, which a component does not take; encode them as integers before the \
                    model, whose cats_int64s are supported";
        return node.bail_attr("cats_strings", what);
    }
    let categories = ints(node, "cats_int64s")?.to_vec();
    node.expect_attr("cats_int64s", !categories.is_empty(), "at least one category")?;
    let mut columns = HashMap::new();
    for (column, category) in categories.iter().enumerate() {
        if columns.insert(*category, column).is_some() {
            return node.bail_attr("cats_int64s", &format!("{category} is there twice"));
        }
    }
    composed("OneHotEncoder", 1, move |wire, inputs| {
        let rank = wire.fact(inputs[0])?.rank();
        let input = wire.cast(inputs[0], i64::datum_type())?;
        let input = wire.op(AxisOp::Add(rank), &[input])?;
        let categories = wire.constant(tensor1(&categories))?;
        let is_category = wire.binary(comp_eq(), input, categories)?;
        Ok(tvec!(wire.cast(is_category, f32::datum_type())?))
    })
}
