//! Reading a model: ONNX in, tract's decluttered typed graph out, all shapes
//! known.

use std::collections::BTreeMap;
use std::path::Path;

use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use crate::attention;
use crate::contain;
use crate::corrected;
use crate::error::CompileError;
use crate::padded;
use crate::quantised::{self, Refusal};
use crate::{loops, ml, recurrent, source, strided};

pub mod analyse;
pub mod guard;
mod ranks;
pub mod vocabulary;

use analyse::Source;

/// A graph, and what its file says of its nodes.
pub struct Imported {
    /// Decluttered: constants folded, shapes concrete.
    pub model: TypedModel,
    /// The operator of each node, by the node's name in the file.
    pub operators: BTreeMap<String, String>,
    /// The names of the model's outputs, in order.
    pub outputs: Vec<String>,
    /// The names of its classes, where they are strings in the file.
    pub labels: Option<Vec<String>>,
}

impl Imported {
    /// The node in the file that a node of the graph came from: its name and its
    /// ONNX operator. Where there is none, the graph's own names.
    pub fn origin_of(&self, node: &TypedNode) -> (String, String) {
        // tract derives the names of nodes from those in the file: `relu1` may
        // have become `relu1.low.cast`.
        let candidates = self.operators.range(..=node.name.clone()).rev();
        let origin = candidates.take(64).find(|(name, _)| {
            node.name.strip_prefix(name.as_str()).is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(|c: char| !c.is_alphanumeric())
            })
        });
        match origin {
            Some((name, operator)) if !name.is_empty() => (name.clone(), operator.clone()),
            _ => (node.name.clone(), node.op().name().into_owned()),
        }
    }
}

/// Reads the model in `bytes`. `file` is its name in messages; weights in files
/// beside it are looked for in `directory`. `sizes` gives symbolic dimensions a
/// size, by name.
pub fn read_onnx(
    bytes: &[u8],
    file: &str,
    directory: Option<&Path>,
    sizes: &BTreeMap<String, usize>,
) -> Result<Imported, CompileError> {
    contain::reading(file, || read_onnx_trusting(bytes, file, directory, sizes))
}

fn read_onnx_trusting(
    bytes: &[u8],
    file: &str,
    directory: Option<&Path>,
    sizes: &BTreeMap<String, usize>,
) -> Result<Imported, CompileError> {
    let mut onnx = onnx();
    quantised::register(&mut onnx);
    attention::register(&mut onnx);
    ml::register(&mut onnx);
    padded::register(&mut onnx);
    corrected::register(&mut onnx);
    recurrent::register(&mut onnx);
    ranks::register(&mut onnx);
    let mut proto = onnx
        .proto_model_for_read(&mut &bytes[..])
        .map_err(|error| reader_error(&error, file, &BTreeMap::new()))?;
    // Shapes in symbols that are about to be replaced would contradict what is
    // inferred; the other ones help to infer.
    let onnx = onnx.with_ignore_value_info(source::has_symbolic_values(&proto));
    let weight_bytes = guard::check(&proto, file, directory)?;
    let operators = guard::operators(&proto);
    let labels = ml::prepare(&mut proto, file)?;
    let invalid = |error: TractError| reader_error(&error, file, &operators);
    loops::rewrite(&mut proto).map_err(|refusal| invalid(refusal.into()))?;
    quantised::rewrite(&mut proto).map_err(|refusal| invalid(refusal.into()))?;
    vocabulary::check(&proto, &onnx, file)?;
    let directory = directory.and_then(Path::to_str);
    let mut model = onnx.parse(&proto, directory).map_err(invalid)?.model;

    for input in 0..model.inputs.len() {
        let name = model.node(model.inputs[input].node).name.clone();
        let fact = model.input_fact(input).map_err(invalid)?.clone();
        let shape = concrete_shape(file, &name, &fact, sizes)?;
        let fact = InferenceFact { shape: ShapeFactoid::from(shape), ..fact };
        model.set_input_fact(input, fact).map_err(invalid)?;
    }
    // What the file says of its outputs may be in the symbols just replaced.
    for output in 0..model.outputs.len() {
        model.set_output_fact(output, InferenceFact::default()).map_err(invalid)?;
    }
    let source = Source { file, operators: &operators, weight_bytes };
    analyse::analyse(&mut model, &source)?;
    let model = model.into_typed().map_err(invalid)?;
    analyse::check_typed(&model, &source)?;
    let model = strided::declutter(model).map_err(invalid)?;
    analyse::check_typed(&model, &source)?;
    let outputs = source::output_names(&proto, file)?;
    Ok(Imported { model, operators, outputs, labels })
}

/// What the reader says of a model: that it is not valid, or that an operator is not
/// supported.
fn reader_error(
    error: &TractError,
    file: &str,
    operators: &BTreeMap<String, String>,
) -> CompileError {
    match error.downcast_ref::<Refusal>() {
        Some(Refusal { node, detail }) => CompileError::Unsupported {
            file: file.into(),
            node: node.clone(),
            operator: operators.get(node).cloned().unwrap_or_default(),
            detail: detail.clone(),
        },
        None => CompileError::Invalid { file: file.into(), reason: chain(error) },
    }
}

fn concrete_shape(
    file: &str,
    input: &str,
    fact: &InferenceFact,
    sizes: &BTreeMap<String, usize>,
) -> Result<TVec<usize>, CompileError> {
    if fact.shape.is_open() {
        return Err(CompileError::Invalid {
            file: file.into(),
            reason: format!("input {input:?} has no shape"),
        });
    }
    let mut shape = TVec::new();
    for (axis, dim) in fact.shape.dims().enumerate() {
        let known = dim.concretize();
        let size = match &known {
            Some(dim) => match dim.to_usize() {
                Ok(size) => Some(size),
                Err(_) => sizes.get(&dim.to_string()).copied().or((axis == 0).then_some(1)),
            },
            None => (axis == 0).then_some(1),
        };
        shape.push(size.ok_or_else(|| CompileError::SymbolicDimension {
            file: file.into(),
            input: input.into(),
            axis,
            seen: known.map_or_else(|| "?".into(), |dim| dim.to_string()),
        })?);
    }
    Ok(shape)
}

/// An error and its causes, outermost first.
pub fn chain(error: &TractError) -> String {
    let causes: Vec<String> = error.chain().map(|cause| cause.to_string()).collect();
    causes.join(": ")
}
