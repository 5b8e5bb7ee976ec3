//! Long loops (tract's `Scan`): the body is a schedule of its own, and the loop a
//! kernel. [`crate::unroll`] has taken the short ones.

use tract_onnx::tract_hir::internal::{Arc, Tensor, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::scan::{InputMapping, Scan, ScanInfo};

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::fuse;
use crate::import::chain;
use crate::kernels::copy::Part;
use crate::kernels::repeat::{Repeat, Slice, State};
use crate::lower::Lowering;
use crate::schedule::ValueId;
use crate::unroll;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Scan>()?;
    Some(lower_loop(lowering, node, op))
}

fn lower_loop(lowering: &mut Lowering, node: &TypedNode, scan: &Scan) -> Result<(), CompileError> {
    let trips = unroll::iterations(scan, &lowering.input_facts(node));
    let trips = trips.map_err(|error| lowering.unsupported(node, chain(&error)))?;
    let known: Vec<Option<Arc<Tensor>>> = scan
        .input_mapping
        .iter()
        .enumerate()
        .map(|(input, mapping)| match mapping {
            InputMapping::Full => lowering.constant(node, input),
            _ => None,
        })
        .collect();
    let body = unroll::body(scan, &known, &node.name);
    let body = body.map_err(|error| lowering.unsupported(node, chain(&error)))?;
    let mut body = lowering.inner(body)?;

    let mut inputs = Vec::new();
    let mut repeat = Repeat::new(trips);
    let next_states = scan.output_mapping.iter().zip(&body.outputs);
    let mut next_states = next_states.filter(|(mapping, _)| mapping.state).map(|(_, &next)| next);
    let mut kept = Vec::new();
    let unknown = scan.input_mapping.iter().enumerate().filter(|(at, _)| known[*at].is_none());
    for ((at, mapping), &inside) in unknown.zip(&body.inputs) {
        let outside = lowering.input(node, at)?;
        let input = inputs.len();
        inputs.push(outside);
        match mapping {
            InputMapping::Full => repeat.shared.push((inside, input)),
            InputMapping::State => {
                let Some(next) = next_states.next() else {
                    return Err(lowering.unsupported(node, "a state that nothing changes"));
                };
                repeat.states.push(State { outside: input, inside, next });
                kept.push(inside);
            }
            InputMapping::Scan(info) => {
                let shape = lowering.shape(outside);
                repeat.taken.push(slice(input, inside, &shape, *info, trips));
            }
        }
    }
    let mut types = Vec::new();
    for slot in 0..node.outputs.len() {
        types.push(lowering.output_type(node, slot)?);
    }
    for (mapping, &inside) in scan.output_mapping.iter().zip(&body.outputs) {
        if let Some((slot, info)) = mapping.scan {
            repeat.given.push(slice(slot, inside, &types[slot].1, info, trips));
        }
        if let Some(slot) = mapping.last_value_slot {
            repeat.last.push((inside, slot));
        }
    }
    // What is the same in each iteration has no place in the body, and a state's is its
    // own until the next one is there.
    body.inputs.retain(|input| repeat.shared.iter().all(|(shared, _)| shared != input));
    body.outputs.extend(kept);
    fuse::fuse(&mut body);
    let repeat = repeat.over(body).map_err(|bytes| {
        lowering.unsupported(node, format!("its body needs {bytes} bytes of memory"))
    })?;
    let outputs = lowering.step_with_outputs(node, repeat, &inputs, types);
    for (slot, output) in outputs.into_iter().enumerate() {
        lowering.bind(node, slot, output);
    }
    Ok(())
}

/// What an iteration takes from, or gives to, the tensor of this shape that the loop
/// runs along.
pub(super) fn slice(
    outside: usize,
    inside: ValueId,
    shape: &[usize],
    info: ScanInfo,
    trips: usize,
) -> Slice {
    let strides = dense_strides(shape);
    let mut of_one = shape.to_vec();
    of_one[info.axis] = info.chunk.unsigned_abs();
    let step = strides[info.axis] as i64 * info.chunk as i64;
    let from = if info.chunk > 0 { 0 } else { (trips - 1) * strides[info.axis] };
    let to_strides = dense_strides(&of_one);
    let part = Part { input: 0, shape: of_one, from, from_strides: strides, to: 0, to_strides };
    Slice { outside, inside, part, step }
}
