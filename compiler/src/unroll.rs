//! Short loops (tract's `Scan`: LSTM, GRU, RNN) as straight graphs: the body once for
//! each iteration, its states passed on from one to the next. Long ones stay what they
//! are, for [`crate::ops`]. Of an `If`, both branches, and a choice between their
//! results.

use std::collections::HashMap;

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::tract_core::ops::array::{Slice, TypedConcat};
use tract_onnx::tract_hir::tract_core::ops::konst::Const;
use tract_onnx::tract_hir::tract_core::ops::logic::{IfThenElse, Iff};
use tract_onnx::tract_hir::tract_core::ops::scan::{InputMapping, Scan, ScanInfo, iteration_count};

use crate::error::CompileError;
use crate::import::{Imported, chain};
use crate::strided;

/// The most steps of a `GRU`, each of which has its own code.
pub const MOST_ITERATIONS: usize = 256;

/// The most iterations of a loop that becomes straight code.
const MOST_UNROLLED: usize = 8;

/// The graph without loops. `file` is its name in messages.
pub fn unroll(imported: Imported, file: &str) -> Result<Imported, CompileError> {
    let is_loop = |node: &&TypedNode| node.op_is::<Scan>() || node.op_is::<IfThenElse>();
    let Some(node) = imported.model.nodes.iter().find(is_loop) else {
        return Ok(imported);
    };
    let (node, operator) = imported.origin_of(node);
    let unrolled = straight(&imported.model).and_then(strided::declutter);
    match unrolled {
        Ok(model) => Ok(Imported { model, ..imported }),
        Err(error) => Err(CompileError::Unsupported {
            file: file.into(),
            node,
            operator,
            detail: format!("this loop is not supported: {}", chain(&error)),
        }),
    }
}

/// The body of a loop as a graph of its own, in which what is known of its inputs is
/// constant, and short loops are unrolled. Its inputs are the others.
pub fn body(scan: &Scan, known: &[Option<Arc<Tensor>>], name: &str) -> TractResult<TypedModel> {
    let mut copier = Copier { target: TypedModel::default(), constants: HashMap::new() };
    copier.target.symbols = scan.body.symbols.clone();
    let mut outlets = HashMap::new();
    for (index, (&inner, known)) in scan.body.inputs.iter().zip(known).enumerate() {
        let name = format!("{name}.input{index}");
        let outer = match known {
            Some(tensor) => copier.target.add_const(name, tensor.clone())?,
            None => {
                let fact = scan.body.outlet_fact(inner)?.without_value();
                copier.target.add_source(name, fact)?
            }
        };
        outlets.insert(inner, outer);
    }
    copier.copy(&scan.body, &format!("{name}."), "", &mut outlets)?;
    copier.target.outputs = scan.body.outputs.iter().map(|outlet| outlets[outlet]).collect();
    strided::declutter(copier.target)
}

/// How often a loop runs, over inputs of these types and shapes.
pub fn iterations(scan: &Scan, inputs: &[&TypedFact]) -> TractResult<usize> {
    let count = iteration_count(&scan.input_mapping, inputs).context("a loop over nothing")?;
    let count = count.to_usize().context("how often it runs is not known when compiling")?;
    ensure!(scan.skip == 0, "its first iterations are skipped");
    for (mapping, fact) in scan.input_mapping.iter().zip(inputs) {
        let Some(ScanInfo { axis, chunk }) = mapping.as_scan() else { continue };
        let (length, size) = (fact.shape[*axis].to_usize()?, chunk.unsigned_abs());
        ensure!(length == count * size, "the last iteration has less than {size} elements");
        ensure!(*chunk > 0 || size == 1, "it runs backwards with {size} elements at a time");
    }
    Ok(count)
}

fn straight(model: &TypedModel) -> TractResult<TypedModel> {
    let mut copier = Copier { target: TypedModel::default(), constants: HashMap::new() };
    copier.target.symbols = model.symbols.clone();
    let mut outlets = HashMap::new();
    copier.copy(model, "", "", &mut outlets)?;
    let moved = |from: &[OutletId]| from.iter().map(|outlet| outlets[outlet]).collect::<Vec<_>>();
    let (inputs, outputs) = (moved(&model.inputs), moved(&model.outputs));
    copier.target.inputs = inputs;
    copier.target.outputs = outputs;
    for outlet in &model.outputs {
        if let Some(label) = model.outlet_label(*outlet) {
            copier.target.set_outlet_label(outlets[outlet], label.to_owned())?;
        }
    }
    Ok(copier.target)
}

struct Copier {
    target: TypedModel,
    /// Constants of bodies, which all iterations share, by name.
    constants: HashMap<String, OutletId>,
}

impl Copier {
    /// Copies the nodes of a graph, without loops. `outlets` says where what has
    /// been copied already is. `body` and `iteration` go before their names.
    fn copy(
        &mut self,
        model: &TypedModel,
        body: &str,
        iteration: &str,
        outlets: &mut HashMap<OutletId, OutletId>,
    ) -> TractResult<()> {
        for id in model.eval_order()? {
            let node = model.node(id);
            if outlets.contains_key(&OutletId::new(id, 0)) {
                continue;
            }
            let inputs: TVec<OutletId> = node.inputs.iter().map(|input| outlets[input]).collect();
            let name = format!("{body}{iteration}{}", node.name);
            let short = node.op_as::<Scan>().map(|scan| self.is_short(scan, &inputs));
            let copies = if let Some(scan) = node.op_as::<Scan>()
                && short.transpose()? == Some(true)
            {
                self.unroll(scan, &name, &inputs)?
            } else if let Some(choice) = node.op_as::<IfThenElse>() {
                self.both(choice, &name, &inputs)?
            } else if node.op_is::<Const>() && !body.is_empty() {
                let name = format!("{body}{}", node.name);
                match self.constants.get(&name) {
                    Some(&known) => vec![known],
                    None => {
                        let copies = self.copy_node(node, name.clone(), &[])?;
                        self.constants.insert(name, copies[0]);
                        copies
                    }
                }
            } else {
                self.copy_node(node, name, &inputs)?
            };
            for (slot, copy) in copies.into_iter().enumerate() {
                outlets.insert(OutletId::new(id, slot), copy);
            }
        }
        Ok(())
    }

    /// Both branches of an `If`, and for each output the one that is wanted.
    fn both(
        &mut self,
        choice: &IfThenElse,
        name: &str,
        inputs: &[OutletId],
    ) -> TractResult<Vec<OutletId>> {
        let mut branches = Vec::new();
        for (branch, body, mapping) in [
            ("then", &choice.then_body, &choice.then_input_mapping),
            ("else", &choice.else_body, &choice.else_input_mapping),
        ] {
            let given =
                body.inputs.iter().zip(mapping).map(|(&inner, &slot)| (inner, inputs[slot]));
            let mut outlets = given.collect();
            self.copy(body, &format!("{name}."), &format!("{branch}."), &mut outlets)?;
            branches.push(body.outputs.iter().map(|outlet| outlets[outlet]).collect::<Vec<_>>());
        }
        let mut outputs = Vec::new();
        for (slot, (&of_then, &of_else)) in branches[0].iter().zip(&branches[1]).enumerate() {
            let rank = self.target.outlet_fact(of_then)?.rank();
            let mut condition = inputs[0];
            let mut seen = self.target.outlet_fact(condition)?.rank();
            for step in 0.. {
                let axis = match seen.cmp(&rank) {
                    std::cmp::Ordering::Less => AxisOp::Add(0),
                    std::cmp::Ordering::Greater => AxisOp::Rm(0),
                    std::cmp::Ordering::Equal => break,
                };
                seen = if seen < rank { seen + 1 } else { seen - 1 };
                let name = format!("{name}.{slot}.condition.{step}");
                condition = self.target.wire_node(name, axis, &[condition])?[0];
            }
            let operands = [condition, of_then, of_else];
            outputs.push(self.target.wire_node(format!("{name}.{slot}"), Iff, &operands)?[0]);
        }
        Ok(outputs)
    }

    fn copy_node(
        &mut self,
        node: &TypedNode,
        name: String,
        inputs: &[OutletId],
    ) -> TractResult<Vec<OutletId>> {
        let facts = node.outputs.iter().map(|output| output.fact.clone()).collect();
        let id = self.target.add_node(name, node.op.clone(), facts)?;
        for (slot, &input) in inputs.iter().enumerate() {
            self.target.add_edge(input, InletId::new(id, slot))?;
        }
        Ok((0..node.outputs.len()).map(|slot| OutletId::new(id, slot)).collect())
    }

    fn iterations(&self, scan: &Scan, inputs: &[OutletId]) -> TractResult<usize> {
        let facts = inputs.iter().map(|&input| self.target.outlet_fact(input));
        iterations(scan, &facts.collect::<TractResult<Vec<_>>>()?)
    }

    fn is_short(&self, scan: &Scan, inputs: &[OutletId]) -> TractResult<bool> {
        Ok(self.iterations(scan, inputs)? <= MOST_UNROLLED)
    }

    /// Adds all iterations, and returns what comes out of the loop.
    fn unroll(
        &mut self,
        scan: &Scan,
        name: &str,
        inputs: &[OutletId],
    ) -> TractResult<Vec<OutletId>> {
        let count = self.iterations(scan, inputs)?;
        let is_state = |mapping: &InputMapping| matches!(mapping, InputMapping::State);
        let mut states: Vec<OutletId> = inputs
            .iter()
            .zip(&scan.input_mapping)
            .filter(|(_, mapping)| is_state(mapping))
            .map(|(&input, _)| input)
            .collect();
        let outputs = scan.output_mapping.iter();
        let slots = outputs
            .map(|o| usize::from(o.scan.is_some()) + usize::from(o.last_value_slot.is_some()));
        let mut results = vec![None; slots.sum()];
        let mut parts: Vec<Vec<OutletId>> = vec![Vec::new(); scan.output_mapping.len()];
        for iteration in 0..count {
            let at = format!("{iteration}.");
            let mut state = states.iter();
            let mut outlets = HashMap::new();
            for ((&input, mapping), &inner) in
                inputs.iter().zip(&scan.input_mapping).zip(&scan.body.inputs)
            {
                let outer = match mapping {
                    InputMapping::Full => input,
                    InputMapping::State => *state.next().context("a state for each input")?,
                    InputMapping::Scan(info) => {
                        let slice = format!("{name}.{at}{}.slice", inner.node);
                        self.slice(slice, input, info, iteration, count)?
                    }
                };
                outlets.insert(inner, outer);
            }
            self.copy(&scan.body, &format!("{name}."), &at, &mut outlets)?;
            states.clear();
            for ((mapping, inner), parts) in
                scan.output_mapping.iter().zip(&scan.body.outputs).zip(&mut parts)
            {
                let value = outlets[inner];
                parts.push(value);
                if mapping.state {
                    states.push(value);
                }
                if let Some(slot) = mapping.last_value_slot {
                    results[slot] = Some(value);
                }
            }
        }
        for (index, (mapping, mut parts)) in scan.output_mapping.iter().zip(parts).enumerate() {
            let Some((slot, info)) = mapping.scan else { continue };
            if info.chunk < 0 {
                parts.reverse();
            }
            let all = match parts[..] {
                [one] => one,
                _ => {
                    let concat = TypedConcat::new(info.axis);
                    self.target.wire_node(format!("{name}.{index}.concat"), concat, &parts)?[0]
                }
            };
            results[slot] = Some(all);
        }
        results.into_iter().map(|result| result.context("an output that nothing gives")).collect()
    }

    fn slice(
        &mut self,
        name: String,
        input: OutletId,
        info: &ScanInfo,
        iteration: usize,
        count: usize,
    ) -> TractResult<OutletId> {
        let size = info.chunk.unsigned_abs();
        let at = if info.chunk > 0 { iteration } else { count - 1 - iteration };
        let slice = Slice::new(info.axis, at * size, (at + 1) * size);
        Ok(self.target.wire_node(name, slice, &[input])?[0])
    }
}
