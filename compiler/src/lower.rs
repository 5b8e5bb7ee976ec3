//! From the typed graph to the schedule: each node is handed to the operators of
//! [`crate::ops`] until one knows it.

use std::collections::HashMap;

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::*;

use crate::element;
use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::import::Imported;
use crate::kernels::copy::{Copy, Part};
use crate::ops;
use crate::schedule::{Kernel, Origin, Schedule, Step, Value, ValueId};

/// A graph on its way to a schedule.
pub struct Lowering<'a> {
    imported: &'a Imported,
    file: &'a str,
    /// What has been made so far.
    pub schedule: Schedule,
    values: HashMap<OutletId, ValueId>,
    /// The node that is being lowered in FP32 while its tensors are FP16.
    widened: Option<usize>,
}

/// Lowers a graph. `file` is its name in messages.
pub fn lower(imported: &Imported, file: &str) -> Result<Schedule, CompileError> {
    let model = &imported.model;
    let mut lowering = Lowering {
        imported,
        file,
        schedule: Schedule::default(),
        values: HashMap::new(),
        widened: None,
    };
    for (index, &outlet) in model.inputs.iter().enumerate() {
        let node = model.node(outlet.node);
        let (dtype, shape) = lowering.type_of(node, outlet)?;
        let origin = Origin::Input(index);
        let value = Value { name: node.name.clone(), dtype, shape, origin };
        let id = lowering.schedule.add(value);
        lowering.schedule.inputs.push(id);
        lowering.values.insert(outlet, id);
    }
    let order = model.eval_order().map_err(|error| CompileError::Invalid {
        file: file.into(),
        reason: crate::import::chain(&error),
    })?;
    for id in order {
        let node = model.node(id);
        let is_input = model.inputs.iter().any(|input| input.node == id);
        if is_input || node.op_is::<tract_core::ops::konst::Const>() {
            continue;
        }
        if lowering.fold(node)? {
            continue;
        }
        lowering.widened = ops::half::is_widened(node).then_some(id);
        match ops::OPERATORS.iter().find_map(|operator| operator(&mut lowering, node)) {
            Some(lowered) => lowered?,
            None => {
                let detail =
                    format!("the operator is not supported (to tract, {})", node.op().name());
                return Err(lowering.unsupported(node, detail));
            }
        }
        lowering.widened = None;
    }
    for (index, &outlet) in model.outputs.iter().enumerate() {
        let node = model.node(outlet.node);
        let mut output = lowering.value(node, outlet)?;
        // An output needs memory of its own, even if nothing is computed.
        if lowering.schedule.value(lowering.schedule.root(output)).origin != Origin::Step {
            output = lowering.identity(node, output);
        }
        // One value may be several outputs: each has its name.
        if lowering.schedule.outputs.contains(&output) {
            let again =
                Value { origin: Origin::View(output), ..lowering.schedule.value(output).clone() };
            output = lowering.schedule.add(again);
        }
        if let Some(name) = imported.outputs.get(index) {
            lowering.schedule.values[output.0].name = name.clone();
        }
        lowering.schedule.outputs.push(output);
    }
    Ok(lowering.schedule)
}

impl Lowering<'_> {
    /// The error for a node that cannot be compiled: what is not supported, and
    /// what is.
    pub fn unsupported(&self, node: &TypedNode, detail: impl Into<String>) -> CompileError {
        let (node, operator) = self.imported.origin_of(node);
        CompileError::Unsupported { file: self.file.into(), node, operator, detail: detail.into() }
    }

    /// Lowers a graph inside the graph, in which nodes have the names that begin with
    /// that of a node of this one.
    pub fn inner(&self, model: TypedModel) -> Result<Schedule, CompileError> {
        let operators = self.imported.operators.clone();
        lower(&Imported { model, operators, outputs: Vec::new(), labels: None }, self.file)
    }

    /// The types and shapes at a node's inputs.
    pub fn input_facts(&self, node: &TypedNode) -> Vec<&TypedFact> {
        node.inputs.iter().map(|&outlet| self.fact(outlet)).collect()
    }

    /// The type and shape of what comes out of an outlet.
    fn type_of(
        &self,
        node: &TypedNode,
        outlet: OutletId,
    ) -> Result<(DType, Vec<usize>), CompileError> {
        let (dtype, shape) = self.type_of_fact(node, self.fact(outlet))?;
        match dtype {
            DType::F16 if self.widened == Some(outlet.node) => Ok((DType::F32, shape)),
            dtype => Ok((dtype, shape)),
        }
    }

    fn type_of_fact(
        &self,
        node: &TypedNode,
        fact: &TypedFact,
    ) -> Result<(DType, Vec<usize>), CompileError> {
        let Some(shape) = fact.shape.as_concrete() else {
            let detail = format!("its shape {:?} is not known when compiling", fact.shape);
            return Err(self.unsupported(node, detail));
        };
        let Some(dtype) = element::dtype(fact.datum_type) else {
            let detail = format!("tensors of type {:?} are not supported", fact.datum_type);
            return Err(self.unsupported(node, detail));
        };
        Ok((dtype, shape.to_vec()))
    }

    fn fact(&self, outlet: OutletId) -> &TypedFact {
        &self.imported.model.node(outlet.node).outputs[outlet.slot].fact
    }

    /// tract's name for the type of a node's output.
    pub fn datum_type(&self, node: &TypedNode, slot: usize) -> DatumType {
        node.outputs[slot].fact.datum_type
    }

    /// Makes constants of a node's outputs where they are known: they have no
    /// elements, or all that the node reads is known. Whether it did.
    fn fold(&mut self, node: &TypedNode) -> Result<bool, CompileError> {
        let known = |lowering: &Self, outlet: &OutletId| {
            let id = lowering.values.get(outlet).copied();
            let is_empty = lowering.fact(*outlet).shape.iter().any(|dim| *dim == 0.to_dim());
            is_empty
                || lowering.fact(*outlet).konst.is_some()
                || id.is_some_and(|id| lowering.schedule.is_constant(id))
        };
        let slots = 0..node.outputs.len();
        let types: Vec<_> = slots.map(|slot| self.output_type(node, slot)).collect();
        let is_empty = |(_, shape): &(DType, Vec<usize>)| shape.contains(&0);
        if types.iter().all(|ty| ty.as_ref().is_ok_and(is_empty)) {
            for (slot, ty) in types.into_iter().enumerate() {
                let (dtype, shape) = ty?;
                let value = self.known(node, dtype, shape, Vec::new());
                self.bind(node, slot, value);
            }
            return Ok(true);
        }
        if !node.inputs.iter().all(|outlet| known(self, outlet)) {
            return Ok(false);
        }
        let inputs: TractResult<TVec<TValue>> =
            node.inputs.iter().map(|&outlet| self.known_tensor(outlet)).collect();
        let outputs = inputs.and_then(|inputs| node.op().eval_out_of_plan(inputs));
        let Ok(Some(outputs)) = outputs else {
            return Ok(false);
        };
        for (slot, output) in outputs.into_iter().enumerate() {
            let value = self.constant_value(node, &output.into_arc_tensor())?;
            self.bind(node, slot, value);
        }
        Ok(true)
    }

    /// The tensor at an outlet that is known.
    fn known_tensor(&self, outlet: OutletId) -> TractResult<TValue> {
        let fact = self.fact(outlet);
        if let Some(tensor) = &fact.konst {
            return Ok(tensor.clone().into_tvalue());
        }
        let shape = fact.shape.as_concrete().context("a shape that is not known")?;
        let mut tensor = Tensor::zero_dt(fact.datum_type, shape)?;
        if let Some(&id) = self.values.get(&outlet)
            && let Origin::Constant(bytes) = &self.schedule.value(self.schedule.root(id)).origin
        {
            let mut plain = tensor.try_as_plain_ram_mut()?;
            ensure!(plain.as_bytes().len() == bytes.len(), "a constant of another type");
            plain.as_bytes_mut().copy_from_slice(bytes);
        }
        Ok(tensor.into_tvalue())
    }

    /// The tensor at a node's input, where it is known when compiling.
    pub fn constant(&self, node: &TypedNode, input: usize) -> Option<Arc<Tensor>> {
        self.fact(node.inputs[input]).konst.clone()
    }

    /// The `f32` elements of the tensor at a node's input, where it is known.
    pub fn constant_f32(&self, node: &TypedNode, input: usize) -> Option<Vec<f32>> {
        let tensor = self.constant(node, input)?;
        let tensor = tensor.cast_to::<f32>().ok()?;
        let view = tensor.to_plain_array_view::<f32>().ok()?;
        Some(view.iter().copied().collect())
    }

    /// The value at a node's input.
    pub fn input(&mut self, node: &TypedNode, input: usize) -> Result<ValueId, CompileError> {
        let value = self.value(node, node.inputs[input])?;
        match self.widened {
            Some(_) if self.dtype(value) == DType::F16 => Ok(ops::half::widen(self, node, value)),
            _ => Ok(value),
        }
    }

    fn value(&mut self, node: &TypedNode, outlet: OutletId) -> Result<ValueId, CompileError> {
        if let Some(&id) = self.values.get(&outlet) {
            return Ok(id);
        }
        let Some(tensor) = self.fact(outlet).konst.clone() else {
            return Err(self.unsupported(node, "one of its inputs was not computed before it"));
        };
        let id = self.constant_value(self.imported.model.node(outlet.node), &tensor)?;
        self.values.insert(outlet, id);
        Ok(id)
    }

    /// Adds a constant.
    fn constant_value(
        &mut self,
        node: &TypedNode,
        tensor: &Arc<Tensor>,
    ) -> Result<ValueId, CompileError> {
        let fact = TypedFact::dt_shape(tensor.datum_type(), tensor.shape());
        let (dtype, shape) = self.type_of_fact(node, &fact)?;
        let tensor = match tensor.datum_type() {
            DatumType::TDim => tensor.cast_to::<i64>().map(|t| t.into_owned().into_arc_tensor()),
            _ => Ok(tensor.clone()),
        };
        let Ok(tensor) = tensor else {
            return Err(self.unsupported(node, "one of its inputs is a size that is not known"));
        };
        let Ok(bytes) = tensor.try_as_plain_ram().map(|plain| plain.as_bytes().to_vec()) else {
            return Err(self.unsupported(node, "a constant of an opaque type"));
        };
        Ok(self.known(node, dtype, shape, bytes))
    }

    /// The shape of a value.
    pub fn shape(&self, id: ValueId) -> Vec<usize> {
        self.schedule.value(id).shape.clone()
    }

    /// The type of a value's elements.
    pub fn dtype(&self, id: ValueId) -> DType {
        self.schedule.value(id).dtype
    }

    /// The type and shape of a node's output.
    pub fn output_type(
        &self,
        node: &TypedNode,
        slot: usize,
    ) -> Result<(DType, Vec<usize>), CompileError> {
        self.type_of(node, OutletId::new(node.id, slot))
    }

    /// An error unless all values are of type F32.
    pub fn want_f32(&self, node: &TypedNode, values: &[ValueId]) -> Result<(), CompileError> {
        match values.iter().map(|&v| self.dtype(v)).find(|&dtype| dtype != DType::F32) {
            None => Ok(()),
            Some(dtype) => {
                Err(self
                    .unsupported(node, format!("on tensors of type {dtype}; FP32 is supported")))
            }
        }
    }

    /// Says what a node's output is.
    pub fn bind(&mut self, node: &TypedNode, slot: usize, value: ValueId) {
        let wanted = self.datum_type(node, slot);
        let value = match self.widened {
            Some(_) if wanted == DatumType::F16 => ops::half::narrow(self, node, value),
            _ => value,
        };
        self.values.insert(OutletId::new(node.id, slot), value);
    }

    /// Adds a step with one output.
    pub fn step(
        &mut self,
        node: &TypedNode,
        kernel: impl Kernel,
        inputs: &[ValueId],
        dtype: DType,
        shape: Vec<usize>,
    ) -> ValueId {
        self.step_with_outputs(node, kernel, inputs, vec![(dtype, shape)])[0]
    }

    /// Adds a step with outputs of these types and shapes.
    pub fn step_with_outputs(
        &mut self,
        node: &TypedNode,
        kernel: impl Kernel,
        inputs: &[ValueId],
        types: Vec<(DType, Vec<usize>)>,
    ) -> Vec<ValueId> {
        let (name, operator) = self.imported.origin_of(node);
        let add = |(dtype, shape)| {
            self.schedule.add(Value { name: name.clone(), dtype, shape, origin: Origin::Step })
        };
        let outputs: Vec<ValueId> = types.into_iter().map(add).collect();
        self.schedule.steps.push(Step {
            name,
            operator,
            kernel: Box::new(kernel),
            inputs: inputs.to_vec(),
            outputs: outputs.clone(),
        });
        outputs
    }

    /// Adds a value that is known when compiling: little-endian bytes.
    pub fn known(
        &mut self,
        node: &TypedNode,
        dtype: DType,
        shape: Vec<usize>,
        bytes: Vec<u8>,
    ) -> ValueId {
        debug_assert_eq!(shape.iter().product::<usize>() * dtype.size_bytes(), bytes.len());
        let name = node.name.clone();
        self.schedule.add(Value { name, dtype, shape, origin: Origin::Constant(bytes) })
    }

    /// The same bytes with another shape.
    pub fn view(&mut self, node: &TypedNode, of: ValueId, shape: Vec<usize>) -> ValueId {
        if self.shape(of) == shape {
            return of;
        }
        debug_assert_eq!(
            self.shape(of).iter().product::<usize>(),
            shape.iter().product::<usize>(),
            "a view has as many elements"
        );
        let dtype = self.dtype(of);
        self.schedule.add(Value { name: node.name.clone(), dtype, shape, origin: Origin::View(of) })
    }

    /// The value with its axes in another order: axis `i` of the result is axis
    /// `order[i]` of the value.
    pub fn transpose(&mut self, node: &TypedNode, value: ValueId, order: &[usize]) -> ValueId {
        let shape = self.shape(value);
        let to_shape: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        let moved: Vec<usize> = order.iter().copied().filter(|&axis| shape[axis] > 1).collect();
        if moved.is_sorted() {
            return self.view(node, value, to_shape);
        }
        let strides = dense_strides(&shape);
        let part = Part {
            input: 0,
            shape: to_shape.clone(),
            from: 0,
            from_strides: order.iter().map(|&axis| strides[axis]).collect(),
            to: 0,
            to_strides: dense_strides(&to_shape),
        };
        self.copy(node, "transpose", &[value], None, vec![part], to_shape)
    }

    /// Adds a copy.
    pub fn copy(
        &mut self,
        node: &TypedNode,
        what: &'static str,
        inputs: &[ValueId],
        fill: Option<[u8; 16]>,
        parts: Vec<Part>,
        shape: Vec<usize>,
    ) -> ValueId {
        let dtype = self.dtype(inputs[0]);
        let element_bytes = dtype.size_bytes();
        let bytes = shape.iter().product::<usize>() * element_bytes;
        let fill = fill.map(|pattern| (bytes, pattern));
        self.step(node, Copy { what, element_bytes, fill, parts }, inputs, dtype, shape)
    }

    fn identity(&mut self, node: &TypedNode, value: ValueId) -> ValueId {
        let shape = self.shape(value);
        let strides = dense_strides(&shape);
        let part = Part {
            input: 0,
            shape: shape.clone(),
            from: 0,
            from_strides: strides.clone(),
            to: 0,
            to_strides: strides,
        };
        self.copy(node, "identity", &[value], None, vec![part], shape)
    }
}
