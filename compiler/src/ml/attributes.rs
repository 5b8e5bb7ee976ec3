//! Reading attributes of a node: real numbers as they may be written, and the
//! names of classes. An error names the node, the operator and the attribute.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::*;

/// Real numbers, as floats in the attribute `name` or as a tensor in `name_as_tensor`.
/// None where there is neither.
pub fn reals(ctx: &ParsingContext, node: &NodeProto, name: &str) -> TractResult<Option<Vec<f64>>> {
    let floats = node.get_attr_opt_slice::<f32>(name)?.filter(|floats| !floats.is_empty());
    let as_tensor = format!("{name}_as_tensor");
    let of_tensor = tensor(ctx, node, &as_tensor)?;
    match (floats, of_tensor) {
        (Some(_), Some(_)) => node.bail_attr(name, &format!("given beside {as_tensor}")),
        (Some(floats), None) => Ok(Some(floats.iter().map(|&number| number.into()).collect())),
        (None, numbers) => Ok(numbers),
    }
}

/// The numbers of a tensor, where the attribute is there and not empty.
pub fn tensor(ctx: &ParsingContext, node: &NodeProto, name: &str) -> TractResult<Option<Vec<f64>>> {
    let Some(proto) = node.get_attr_opt::<&TensorProto>(name)? else { return Ok(None) };
    let tensor = ctx.load_tensor(proto).with_context(|| format!("attribute '{name}'"))?;
    let tensor = tensor.cast_to::<f64>().with_context(|| format!("attribute '{name}'"))?;
    let numbers: Vec<f64> = tensor.to_plain_array_view::<f64>()?.iter().copied().collect();
    Ok((!numbers.is_empty()).then_some(numbers))
}

/// Floats; none where the attribute is not there.
pub fn floats<'a>(node: &'a NodeProto, name: &str) -> TractResult<&'a [f32]> {
    Ok(node.get_attr_opt_slice::<f32>(name)?.unwrap_or_default())
}

/// Integers; none where the attribute is not there.
pub fn ints<'a>(node: &'a NodeProto, name: &str) -> TractResult<&'a [i64]> {
    Ok(node.get_attr_opt_slice::<i64>(name)?.unwrap_or_default())
}

/// Strings; none where the attribute is not there.
pub fn strings(node: &NodeProto, name: &str) -> TractResult<Vec<String>> {
    let strings = node.get_attr_opt_slice::<Vec<u8>>(name)?.unwrap_or_default();
    Ok(strings.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect())
}

/// A string, or what it is by default.
pub fn string<'a>(node: &'a NodeProto, name: &str, default: &'a str) -> TractResult<&'a str> {
    Ok(node.get_attr_opt::<&str>(name)?.unwrap_or(default))
}

/// An error unless an attribute has as many elements as wanted.
pub fn want(node: &NodeProto, name: &str, seen: usize, wanted: usize) -> TractResult<()> {
    node.expect_attr(name, seen == wanted, || format!("{wanted} elements, got {seen}"))
}

/// An error where one of the numbers is NaN.
pub fn no_nan(node: &NodeProto, name: &str, numbers: &[f64]) -> TractResult<()> {
    match numbers.iter().position(|number| number.is_nan()) {
        Some(at) => node.bail_attr(name, &format!("element {at} is NaN")),
        None => Ok(()),
    }
}

/// The labels of a classifier's classes, whose names are in the attributes
/// `ints` or `strings`. A component has no strings: where the labels are some, a
/// class is given by its index, and the names are in the certificate.
pub fn class_labels(node: &NodeProto, ints: &str, strings: &str) -> TractResult<Vec<i64>> {
    let numbers = self::ints(node, ints)?;
    let names = node.get_attr_opt_slice::<Vec<u8>>(strings)?.unwrap_or_default();
    match (numbers.is_empty(), names.is_empty()) {
        (false, true) => Ok(numbers.to_vec()),
        (true, false) => Ok((0..names.len() as i64).collect()),
        (true, true) => node.bail(&format!("expected one of the attributes '{ints}', '{strings}'")),
        (false, false) => node.bail_attr(ints, &format!("given beside {strings}")),
    }
}
