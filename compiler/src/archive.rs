//! The typed graph as an NNEF archive (Khronos NNEF 1.0 with tract's extensions,
//! in a tar file), for an interpreter that reads it.
//!
//! What is read, and refused, is what [`crate::compile`] reads; but no operator
//! is lowered, so that everything goes that tract itself can write and run.

use leeway_contract::TensorSpec;
use tract_nnef::ast::dump::Dumper;
use tract_nnef::ast::{LValue, ProtoModel, QuantFormat};
use tract_nnef::framework::Nnef;
use tract_nnef::internal::*;
use tract_nnef::{ser, tensors};
use tract_onnx_opl::WithOnnx as _;

use crate::Options;
use crate::contain;
use crate::element;
use crate::error::CompileError;
use crate::import::{self, Imported};

/// A model for an interpreter.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The tar file.
    pub bytes: Vec<u8>,
    /// The model's inputs.
    pub inputs: Vec<TensorSpec>,
    /// The model's outputs.
    pub outputs: Vec<TensorSpec>,
    /// Multiply-accumulate operations, as far as tract counts them.
    pub macs: u64,
    /// Bytes of constants.
    pub weight_bytes: u64,
}

/// Reads the ONNX model in `bytes` and writes it as an archive. The same model
/// and options give the same bytes.
pub fn archive(bytes: &[u8], options: &Options) -> Result<Archive, CompileError> {
    let directory = options.directory.as_deref();
    let imported = import::read_onnx(bytes, &options.file, directory, &options.sizes)?;
    contain::reading(&options.file, || {
        let writer = Writer { imported: &imported, file: &options.file };
        Ok(Archive {
            bytes: writer.tar()?,
            inputs: writer.inputs()?,
            outputs: writer.outputs()?,
            macs: writer.macs(),
            weight_bytes: writer.weight_bytes(),
        })
    })
}

/// The NNEF with the extensions that an interpreter must know: tract's own
/// operators and those of ONNX.
fn nnef() -> Nnef {
    let mut nnef = tract_nnef::nnef().with_tract_resource().with_onnx();
    nnef.allow_extended_identifier_syntax(true);
    nnef.extern_all_constants(true);
    nnef
}

struct Writer<'a> {
    imported: &'a Imported,
    file: &'a str,
}

impl Writer<'_> {
    fn invalid(&self, reason: String) -> CompileError {
        CompileError::Invalid { file: self.file.into(), reason }
    }

    fn unwritable(&self, error: &TractError) -> CompileError {
        let reason = import::chain(error);
        CompileError::Uninterpretable { file: self.file.into(), reason }
    }

    fn inputs(&self) -> Result<Vec<TensorSpec>, CompileError> {
        let inputs = self.imported.model.inputs.iter();
        inputs.map(|&outlet| self.spec(outlet, None)).collect()
    }

    fn outputs(&self) -> Result<Vec<TensorSpec>, CompileError> {
        if self.imported.model.outputs.is_empty() {
            return Err(self.invalid("it has no output".into()));
        }
        let outputs = self.imported.model.outputs.iter().enumerate();
        outputs.map(|(i, &outlet)| self.spec(outlet, self.imported.outputs.get(i))).collect()
    }

    fn spec(&self, outlet: OutletId, name: Option<&String>) -> Result<TensorSpec, CompileError> {
        let model = &self.imported.model;
        let node = model.node(outlet.node);
        let name = name.unwrap_or(&node.name).clone();
        let fact = model.outlet_fact(outlet).map_err(|error| self.unwritable(&error))?;
        let Some(shape) = fact.shape.as_concrete() else {
            let reason = format!(
                "the output {name:?} has a shape that depends on data, {:?}; a component's \
                 outputs have fixed shapes: pad it to its largest size in the model",
                fact.shape
            );
            return Err(CompileError::Uninterpretable { file: self.file.into(), reason });
        };
        let Some(dtype) = element::dtype(fact.datum_type.unquantized()) else {
            let reason = format!(
                "{name:?} has elements of type {:?}, which no tensor of a component has",
                fact.datum_type
            );
            return Err(CompileError::Uninterpretable { file: self.file.into(), reason });
        };
        Ok(TensorSpec { name, dtype, shape: shape.iter().map(|&size| size as u32).collect() })
    }

    fn macs(&self) -> u64 {
        let model = &self.imported.model;
        let of_node = |node: &TypedNode| -> Option<u64> {
            let inputs = model.node_input_facts(node.id).ok()?;
            let costs = node.op.cost(&inputs).ok()?;
            let fused = costs.iter().filter(|(cost, _)| matches!(cost, Cost::FMA(_)));
            Some(fused.filter_map(|(_, count)| count.to_usize().ok()).sum::<usize>() as u64)
        };
        model.nodes().iter().filter_map(of_node).sum()
    }

    fn weight_bytes(&self) -> u64 {
        let constants = self.imported.model.nodes().iter().filter_map(|node| {
            let constant = node.op_as::<tract_core::ops::konst::Const>()?;
            Some(constant.val().volume() as u64 * constant.val().datum_type().size_of() as u64)
        });
        constants.sum()
    }

    /// As `Nnef::write_to_tar`, but with the graph's fragments in the order of
    /// their names, which there is that of a hash map.
    fn tar(&self) -> Result<Vec<u8>, CompileError> {
        let nnef = nnef();
        let mut graph = self.imported.model.clone();
        number_names(&mut graph);
        let fail = |error: TractError| self.unwritable(&error);
        let mut proto = ser::to_proto_model(&nnef, &graph).map_err(fail)?;
        proto.doc.fragments.sort_by(|a, b| a.decl.id.cmp(&b.decl.id));
        drop_properties(&mut proto);
        if !proto.resources.is_empty() {
            let reason = "a model inside the model cannot be interpreted".into();
            return Err(CompileError::Uninterpretable { file: self.file.into(), reason });
        }
        let mut tar = tar::Builder::new(Vec::new());
        let mut text = Vec::new();
        Dumper::new(&nnef, &mut text).document(&proto.doc).map_err(fail)?;
        append(&mut tar, "graph.nnef", &text);
        if let Some(formats) = proto.quantization {
            let mut formats: Vec<_> = formats.into_iter().collect();
            formats.sort_by(|a, b| a.0.cmp(&b.0));
            let lines: String = formats.iter().map(|(id, format)| quantised(id, format)).collect();
            append(&mut tar, "graph.quant", lines.as_bytes());
        }
        let mut constants: Vec<_> = proto.tensors.into_iter().collect();
        constants.sort_by(|a, b| a.0.cmp(&b.0));
        for (label, tensor) in constants {
            let mut data = Vec::new();
            tensors::write_tensor(&mut data, &tensor).map_err(fail)?;
            append(&mut tar, &format!("{}.dat", label.0), &data);
        }
        Ok(tar.into_inner().expect("a vector takes all that is written"))
    }
}

/// Adds a file. Its date is that of the oldest that such archives may have.
fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, data: &[u8]) {
    const YEAR_1980: u64 = 315_532_800;
    let mut header = tar::Header::new_gnu();
    header.set_size(data.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(YEAR_1980);
    let appended = tar.append_data(&mut header, path, data);
    appended.expect("a vector takes all that is written, and names of nodes are paths");
}

/// Gives the nodes names that are identifiers of NNEF and file names, and that
/// are all different.
fn number_names(graph: &mut TypedModel) {
    graph.outlet_labels.clear();
    graph.properties.clear();
    for node in &mut graph.nodes {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = node.name.chars().take(40).map(plain).collect();
        node.name = format!("n{}_{name}", node.id);
    }
}

/// Drops what tract says of itself: texts, which it does not read as constants.
/// No node's name begins like theirs.
fn drop_properties(proto: &mut ProtoModel) {
    const OF_TRACT: &str = "tract_";
    proto.doc.fragments.retain(|fragment| fragment.decl.id.0 != "tract_core_properties");
    proto.doc.graph_def.body.retain(|assignment| {
        !matches!(&assignment.left, LValue::Identifier(id) if id.0.starts_with(OF_TRACT))
    });
    proto.tensors.retain(|id, _| !id.0.starts_with(OF_TRACT));
}

/// A line of `graph.quant`.
fn quantised(id: &Identifier, format: &QuantFormat) -> String {
    let id = &id.0;
    let QuantFormat::Linear { params, bits, signed } = format;
    match params {
        QParams::ZpScale { zero_point, scale } => format!(
            "\"{id}\": zero_point_linear_quantize(zero_point = {zero_point}, scale = {scale}, \
             bits = {bits}, signed = {signed}, symmetric = {});\n",
            *zero_point == 0
        ),
        QParams::MinMax { min, max } => {
            format!("\"{id}\": linear_quantize(max = {max}, min = {min}, bits = {bits});\n")
        }
    }
}
