//! `LSTM`, `GRU` and `RNN` where tract reads them otherwise than ONNX defines them, or
//! does not read them: backwards, and over sequences of unequal lengths.

use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_hir::tract_core::ops::cast::cast;
use tract_onnx::tract_hir::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_hir::tract_core::ops::logic::{Iff, comp_lt};
use tract_onnx::tract_hir::tract_core::ops::scan::{InputMapping, OutputMapping, Scan, ScanInfo};

use crate::rewired::{Read, replace, rewired};

/// The number of the input with the length of each sequence.
const LENGTHS: usize = 4;

/// Puts them into the reader.
pub fn register(onnx: &mut Onnx) {
    for operator in ["LSTM", "GRU", "RNN"] {
        replace(onnx, operator, read);
    }
}

fn read(context: &ParsingContext, node: &NodeProto) -> Read {
    let is_backward = node.get_attr_opt::<&str>("direction")? == Some("reverse");
    let is_batch_first = node.get_attr_opt::<i64>("layout")? == Some(1);
    let is_there = |name: &String| !name.is_empty();
    let lengths = node
        .input
        .get(LENGTHS)
        .is_some_and(is_there)
        .then(|| node.input[..LENGTHS].iter().filter(|name| is_there(name)).count());
    rewired(context, node, move |of_tract, prefix, model, inputs| {
        let first = model.nodes.len();
        let mut given: TVec<OutletId> = inputs.into();
        if let Some(slot) = lengths {
            // All as long as can be, which tract takes, and then what they really are.
            let shape = model.outlet_fact(inputs[0])?.shape.as_concrete();
            let shape = shape.context("a sequence whose length is not known when compiling")?;
            let (steps, batch) =
                if is_batch_first { (shape[1], shape[0]) } else { (shape[0], shape[1]) };
            let all = tensor1(&vec![i32::try_from(steps)?; batch]);
            given[slot] = model.add_const(format!("{prefix}.all"), all)?;
        }
        let outputs = of_tract.wire(prefix, model, &given)?;
        for id in first..model.nodes.len() {
            if is_backward {
                turn(model, id);
            }
            if let Some(slot) = lengths
                && model.node(id).op_is::<Scan>()
            {
                end_each(model, id, inputs[slot])?;
            }
        }
        Ok(outputs)
    })
}

/// Has a loop run in the opposite direction.
fn turn(model: &mut TypedModel, id: usize) {
    let node = model.node_mut(id);
    if let Some(scan) = node.op_as_mut::<Scan>() {
        for mapping in &mut scan.input_mapping {
            if let InputMapping::Scan(info) = mapping {
                info.chunk = -info.chunk;
            }
        }
        for (_, info) in scan.output_mapping.iter_mut().filter_map(|m| m.scan.as_mut()) {
            info.chunk = -info.chunk;
        }
    } else if let Some(sequence) = node.op_as_mut::<GruSeq>() {
        sequence.chunk = -sequence.chunk;
    }
}

/// Has the states of a loop over `[batch, steps, ...]` stay as they are, and its outputs
/// be zero, from the end of each sequence on.
fn end_each(model: &mut TypedModel, id: usize, lengths: OutletId) -> TractResult<()> {
    let (name, inputs) = (model.node(id).name.clone(), model.node(id).inputs.clone());
    let shape = model.outlet_fact(inputs[0])?.shape.as_concrete().context("a known shape")?;
    let (batch, steps) = (shape[0], shape[1]);
    let at = tensor1(&(0..steps as i64).collect::<Vec<_>>()).into_shape(&[1, steps, 1])?;
    let at = model.add_const(format!("{name}.{id}.at"), at)?;
    let mut ends =
        model.wire_node(format!("{name}.{id}.ends"), cast(DatumType::I64), &[lengths])?;
    for axis in [1, 2] {
        ends = model.wire_node(format!("{name}.{id}.ends.{axis}"), AxisOp::Add(axis), &ends)?;
    }
    let goes_on = TypedBinOp(comp_lt(), None);
    let goes_on = model.wire_node(format!("{name}.{id}.goes_on"), goes_on, &[at, ends[0]])?[0];

    let mut scan = model.node(id).op_as::<Scan>().context("a loop")?.clone();
    let chunk = scan.input_mapping[0].as_scan().context("a loop over its first input")?.chunk;
    let states = scan.body.inputs.iter().zip(&scan.input_mapping);
    let states = states.filter(|(_, mapping)| mapping.is_state()).map(|(&inside, _)| inside);
    let states: Vec<OutletId> = states.collect();
    let inside = scan.body.add_source("goes_on", bool::fact([batch, 1, 1]))?;
    scan.input_mapping.push(InputMapping::Scan(ScanInfo { axis: 1, chunk }));
    let mut given = Vec::new();
    for (slot, before) in states.into_iter().enumerate() {
        let next = scan.body.outputs[slot];
        let kept = scan.body.wire_node(format!("kept{slot}"), Iff, &[inside, next, before])?[0];
        scan.body.outputs[slot] = kept;
        let Some(along) = scan.output_mapping[slot].scan.take() else { continue };
        let zero = Tensor::zero_dt(scan.body.outlet_fact(next)?.datum_type, &[1, 1, 1])?;
        let zero = scan.body.add_const(format!("zero{slot}"), zero)?;
        given.push(scan.body.wire_node(format!("given{slot}"), Iff, &[inside, next, zero])?[0]);
        scan.output_mapping.push(OutputMapping { scan: Some(along), ..OutputMapping::default() });
    }
    scan.body.outputs.extend(given);
    model.node_mut(id).op = Box::new(scan);
    model.add_edge(goes_on, InletId::new(id, inputs.len()))
}
