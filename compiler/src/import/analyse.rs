//! Inference of types and shapes with limits: tract's own algorithm, which runs a
//! node as soon as all its inputs are known, with a look at what would come out
//! before it runs.
//!
//! A few bytes of a file can ask for any number of bytes that way (a shape and
//! `ConstantOfShape`), or for any amount of work (two of those and `Conv`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tract_onnx::tract_hir::internal::*;

use super::guard::{RANK_LIMIT, TENSOR_LIMIT_BYTES};
use crate::error::CompileError;

/// The most bytes that all constants computed from a file's may have together,
/// beside [`GROWTH`] times those in the file.
pub const FOLDED_LIMIT_BYTES: u64 = 1 << 28;
/// How many times the bytes of the file's constants those computed from them may
/// take: 8-bit weights become floats, and are then laid out anew.
pub const GROWTH: u64 = 16;
/// The most multiplications in products of constants.
pub const FOLDED_LIMIT_PRODUCTS: f64 = (1u64 << 30) as f64;
/// The most visits of nodes, for each node of the graph.
const VISITS: usize = 64;

/// Operators that sum products of their inputs: their work is more than the
/// size of their outputs.
const PRODUCTS: [&str; 23] = [
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "QLinearConv",
    "DeformConv",
    "MatMul",
    "MatMulInteger",
    "QLinearMatMul",
    "QGemm",
    "Gemm",
    "Einsum",
    "RNN",
    "GRU",
    "LSTM",
    "Scan",
    "Attention",
    "DFT",
    "STFT",
    "MatMulNBits",
    "MultiHeadAttention",
    "GroupQueryAttention",
    "LRN",
    "CumSum",
];
/// Operators that slide a window, whose size is an attribute, over their input.
const WINDOWS: [&str; 4] = ["MaxPool", "AveragePool", "LpPool", "QLinearAveragePool"];
/// Operators that run a body, or take random numbers, as often as they are told.
const NEVER_FOLDED: [&str; 4] = ["Scan", "Loop", "NonMaxSuppression", "Multinomial"];

/// Operators whose constants say how large their output is. tract takes some of
/// them for 32-bit numbers when it infers shapes, and for what they are later.
const EXPANDING: [&str; 8] =
    ["ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample"];

/// What is known of the file whose graph is analysed.
pub struct Source<'a> {
    /// Its name, for messages.
    pub file: &'a str,
    /// The ONNX operator of each node.
    pub operators: &'a BTreeMap<String, String>,
    /// The bytes of its constants.
    pub weight_bytes: u64,
}

impl Source<'_> {
    fn invalid(&self, error: &TractError) -> CompileError {
        super::reader_error(error, self.file, self.operators)
    }

    fn limit(&self, what: String, seen: String, limit: impl ToString) -> CompileError {
        CompileError::Limit { file: self.file.into(), what, seen, limit: limit.to_string() }
    }

    fn operator<'b>(&'b self, node: &'b InferenceNode) -> &'b str {
        self.operators.get(&node.name).map_or("", String::as_str)
    }

    fn what(&self, node: &InferenceNode) -> String {
        match self.operator(node) {
            "" => format!("value {:?}", node.name),
            operator => format!("node {:?} ({operator})", node.name),
        }
    }

    fn folded_limit(&self) -> u64 {
        FOLDED_LIMIT_BYTES.saturating_add(self.weight_bytes.saturating_mul(GROWTH))
    }
}

/// Infers what can be known of every value, within the limits.
pub fn analyse(model: &mut InferenceModel, source: &Source) -> Result<(), CompileError> {
    let invalid = |error: TractError| source.invalid(&error);
    let mut visit: BTreeSet<usize> = (0..model.nodes.len()).collect();
    let mut observers: HashMap<OutletId, Vec<usize>> = HashMap::new();
    for node in model.nodes() {
        for (slot, output) in node.outputs.iter().enumerate() {
            check_fact(&output.fact, OutletId::new(node.id, slot), model, source)?;
        }
        for outlet in node.op.observe_outlets(model, node).map_err(invalid)? {
            observers.entry(outlet).or_default().push(node.id);
        }
    }
    let mut folds = Folds { bytes: BTreeMap::new(), products: 0.0 };
    let mut visits = model.nodes.len().saturating_mul(VISITS);
    while let Some(id) = visit.pop_first() {
        if visits == 0 {
            let seen = format!("no end after {VISITS} visits of each node");
            return Err(source.limit("inference of its shapes".into(), seen, VISITS));
        }
        visits -= 1;
        folds.before(model, id, source)?;
        let changed = infer(model, id).with_context(|| format!("node {}", model.node(id)));
        for (outlet, fact) in changed.map_err(invalid)? {
            check_fact(&fact, outlet, model, source)?;
            model.set_outlet_fact(outlet, fact).map_err(invalid)?;
            let readers = model.node(outlet.node).outputs[outlet.slot].successors.iter();
            visit.extend(readers.map(|reader| reader.node).filter(|&reader| reader != outlet.node));
            if outlet.node != id {
                visit.insert(outlet.node);
            }
            visit.extend(observers.get(&outlet).into_iter().flatten());
        }
    }
    Ok(())
}

/// One step: what it adds to the facts of a node's neighbours.
fn infer(model: &mut InferenceModel, id: usize) -> TractResult<Vec<(OutletId, InferenceFact)>> {
    let node = model.node(id);
    let observed = node.op.observe_outlets(model, node)?;
    let outputs: Vec<OutletId> =
        (0..node.outputs.len()).map(|slot| OutletId::new(id, slot)).collect();
    let wanted = node.op.nboutputs()?;
    ensure!(wanted == outputs.len(), "{} outputs, wanted {wanted}", outputs.len());
    let inputs = node.inputs.clone();
    let facts = |outlets: &[OutletId]| -> TractResult<Vec<InferenceFact>> {
        outlets.iter().map(|&outlet| model.outlet_fact(outlet).cloned()).collect()
    };
    let before = (facts(&inputs)?, facts(&outputs)?, facts(&observed)?);
    let (of_inputs, of_outputs, of_observed) = model.node_mut(id).op.infer(
        before.0.iter().collect(),
        before.1.iter().collect(),
        before.2.iter().collect(),
    )?;
    let outlets = inputs.iter().chain(&outputs).chain(&observed);
    let inferred = of_inputs.iter().chain(&of_outputs).chain(&of_observed);
    let mut changed = Vec::new();
    for (&outlet, fact) in outlets.zip(inferred) {
        let old = model.outlet_fact(outlet)?;
        let unified = fact.unify(old)?;
        if unified != *old {
            changed.push((outlet, unified));
        }
    }
    Ok(changed)
}

/// What has been computed from constants.
struct Folds {
    /// For each node: bytes.
    bytes: BTreeMap<usize, u64>,
    products: f64,
}

impl Folds {
    /// Checks, before a node is visited, what comes out if it is run.
    fn before(
        &mut self,
        model: &InferenceModel,
        id: usize,
        source: &Source,
    ) -> Result<(), CompileError> {
        let node = model.node(id);
        let (inputs, outputs) = model.node_facts(id).map_err(|error| source.invalid(&error))?;
        let operator = source.operator(node);
        if EXPANDING.contains(&operator)
            && let Some(number) = inputs.iter().find_map(|fact| beyond_i32(fact))
        {
            let seen = format!("{number} among its constants");
            return Err(source.limit(source.what(node), seen, i32::MAX));
        }
        if inputs.is_empty() || !inputs.iter().all(|fact| fact.value.is_concrete()) {
            return Ok(());
        }
        if NEVER_FOLDED.contains(&operator) {
            let seen = "all its inputs are constants".into();
            return Err(source.limit(source.what(node), seen, "an input that is computed"));
        }
        let observed = node.op.observe_outlets(model, node);
        let observed = observed.map_err(|error| source.invalid(&error))?;
        let observed = observed.iter().filter_map(|&outlet| model.outlet_fact(outlet).ok());
        let (of_inputs, of_outputs) = (inputs.clone(), outputs);
        // The same without running it.
        let mut op = node.op.clone();
        let inferred = op.infer_facts(of_inputs, of_outputs, observed.collect());
        let (_, inferred, _) = inferred
            .with_context(|| format!("node {node}"))
            .map_err(|error| source.invalid(&error))?;
        let of_input: u64 = inputs.iter().filter_map(|fact| bytes_of(fact)).sum();
        let mut bytes = 0u64;
        for fact in &inferred {
            // Where only the elements say how many come out (NonZero), no more
            // than a few times what went in.
            let of_output = match size_of(fact) {
                _ if operator == "Range" => range_bytes(&inputs),
                Size::Bytes(bytes) => bytes,
                Size::Huge => u64::MAX,
                Size::Unknown => of_input.saturating_mul(8),
            };
            bytes = bytes.saturating_add(of_output);
        }
        bytes = bytes.saturating_add(columns_bytes(operator, &inputs, &inferred));
        self.bytes.insert(id, bytes);
        let total = self.bytes.values().fold(0u64, |sum, &bytes| sum.saturating_add(bytes));
        if total > source.folded_limit() {
            let seen = match bytes {
                u64::MAX => "it asks for a tensor of unknown or huge size".into(),
                _ => format!("{total} bytes of constants are computed up to here"),
            };
            return Err(source.limit(
                source.what(node),
                seen,
                format!("{} bytes", source.folded_limit()),
            ));
        }
        self.products += products(operator, &inputs, &inferred);
        if self.products > FOLDED_LIMIT_PRODUCTS {
            let seen = format!("about {:e} products of constants up to here", self.products);
            return Err(source.limit(
                source.what(node),
                seen,
                format!("{FOLDED_LIMIT_PRODUCTS:e}"),
            ));
        }
        Ok(())
    }
}

/// The first integer of a constant that is beyond 32 bits.
fn beyond_i32(fact: &InferenceFact) -> Option<i64> {
    let tensor = fact.value.concretize()?;
    if !tensor.datum_type().is_integer() && !tensor.datum_type().is_tdim() {
        return None;
    }
    let tensor = tensor.cast_to::<i64>().ok()?;
    let view = tensor.to_plain_array_view::<i64>().ok()?;
    view.iter().copied().find(|&number| i32::try_from(number).is_err())
}

/// The bytes of a range from its start, limit and step.
fn range_bytes(inputs: &[&InferenceFact]) -> u64 {
    let number = |fact: &InferenceFact| {
        let tensor = fact.value.concretize()?;
        let tensor = tensor.cast_to::<f64>().ok()?;
        tensor.to_plain_array_view::<f64>().ok()?.first().copied()
    };
    let numbers: Vec<f64> = inputs.iter().filter_map(|fact| number(fact)).collect();
    let [start, limit, step] = numbers[..] else { return u64::MAX };
    let count = ((limit - start) / step).ceil();
    // As a cast does: NaN, for a step of zero, is no count.
    if count.is_nan() { u64::MAX } else { (count * 8.0) as u64 }
}

/// An estimate of the multiplications of an operator: for a product of matrices,
/// the root of the product of the three sizes is their exact number.
fn products(operator: &str, inputs: &[&InferenceFact], outputs: &[InferenceFact]) -> f64 {
    let out = outputs.iter().map(volume).fold(1.0, f64::max);
    let mut sizes: Vec<f64> = inputs.iter().map(|fact| volume(fact)).collect();
    sizes.sort_by(f64::total_cmp);
    let largest = sizes.pop().unwrap_or(1.0);
    match operator {
        operator if PRODUCTS.contains(&operator) => {
            (out * largest * sizes.pop().unwrap_or(1.0)).sqrt()
        }
        operator if WINDOWS.contains(&operator) => out * largest,
        _ => 0.0,
    }
}

/// The bytes of the matrix of windows that tract makes to convolve.
fn columns_bytes(operator: &str, inputs: &[&InferenceFact], outputs: &[InferenceFact]) -> u64 {
    if !operator.contains("Conv") {
        return 0;
    }
    // Of the inputs, the kernel is the one with the most elements for a channel;
    // which it is does not matter to a bound.
    let channels = |fact: &InferenceFact| {
        let shape = fact.shape.as_concrete_finite().ok().flatten();
        shape.and_then(|shape| shape.first().copied()).unwrap_or(1).max(1) as f64
    };
    let windows = inputs.iter().map(|fact| volume(fact) / channels(fact)).fold(1.0, f64::max);
    let pixels = outputs.iter().map(|fact| {
        let shape = fact.shape.as_concrete_finite().ok().flatten();
        volume(fact) / shape.and_then(|shape| shape.get(1).copied()).unwrap_or(1).max(1) as f64
    });
    (pixels.fold(1.0, f64::max) * windows * 4.0) as u64
}

fn volume(fact: &InferenceFact) -> f64 {
    let shape = fact.shape.as_concrete_finite().ok().flatten();
    shape.map_or(1.0, |shape| shape.iter().map(|&size| size as f64).product())
}

/// The bytes that a tensor takes.
enum Size {
    Bytes(u64),
    /// More than can be counted, or a negative number.
    Huge,
    Unknown,
}

fn size_of(fact: &InferenceFact) -> Size {
    let Some(dims) = fact.shape.concretize() else { return Size::Unknown };
    let element = fact.datum_type.concretize().map_or(4, |dt| dt.size_of() as u64);
    let mut bytes = element;
    for dim in &dims {
        match dim.to_i64() {
            Ok(size) => match u64::try_from(size).ok().and_then(|size| bytes.checked_mul(size)) {
                Some(product) => bytes = product,
                None => return Size::Huge,
            },
            Err(_) => return Size::Unknown,
        }
    }
    Size::Bytes(bytes)
}

fn bytes_of(fact: &InferenceFact) -> Option<u64> {
    match size_of(fact) {
        Size::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

fn check_fact(
    fact: &InferenceFact,
    outlet: OutletId,
    model: &InferenceModel,
    source: &Source,
) -> Result<(), CompileError> {
    let what = || source.what(model.node(outlet.node));
    let rank = fact.shape.dims().count();
    if rank > RANK_LIMIT {
        return Err(source.limit(what(), format!("{rank} dimensions"), RANK_LIMIT));
    }
    match size_of(fact) {
        Size::Bytes(bytes) if bytes <= TENSOR_LIMIT_BYTES => Ok(()),
        Size::Unknown => Ok(()),
        _ => {
            let seen = format!("a value of shape {:?}", fact.shape);
            Err(source.limit(what(), seen, format!("{TENSOR_LIMIT_BYTES} bytes")))
        }
    }
}

/// tract makes a constant of a product with zero.
fn is_zero_product(node: &TypedNode, inputs: &[&TypedFact]) -> bool {
    let is_zero = |fact: &&TypedFact| {
        let uniform = fact.uniform.as_ref();
        let number = uniform.and_then(|uniform| uniform.cast_to_scalar::<f64>().ok());
        number.is_some_and(|number| number == 0.0)
    };
    node.op().name() == "Mul" && inputs.iter().any(is_zero)
}

/// Checks the typed graph before tract simplifies it: no value is too large, and
/// what may still be computed from constants alone is within the limits.
pub fn check_typed(model: &TypedModel, source: &Source) -> Result<(), CompileError> {
    let invalid = |error: TractError| source.invalid(&error);
    let mut is_folded = vec![false; model.nodes.len()];
    let (mut folded_bytes, mut folded_products) = (0u64, 0f64);
    for id in model.eval_order().map_err(invalid)? {
        let node = model.node(id);
        let what = || format!("node {:?} (to tract, {})", node.name, node.op().name());
        let inputs = model.node_input_facts(id).map_err(invalid)?;
        let mut bytes = 0u64;
        for output in &node.outputs {
            let Some(of_output) = typed_bytes(&output.fact).filter(|&n| n <= TENSOR_LIMIT_BYTES)
            else {
                let seen = format!("a value of shape {:?}", output.fact.shape);
                return Err(source.limit(what(), seen, format!("{TENSOR_LIMIT_BYTES} bytes")));
            };
            bytes = bytes.saturating_add(of_output);
        }
        if node.op_is::<tract_core::ops::source::TypedSource>() {
            continue;
        }
        // A value that was too large to be computed at once may be computed later.
        let mut from = node.inputs.iter().zip(&inputs);
        let all_known = from.all(|(outlet, fact)| fact.konst.is_some() || is_folded[outlet.node]);
        is_folded[id] = all_known || is_zero_product(node, &inputs);
        if !is_folded[id] || node.op_is::<tract_core::ops::konst::Const>() {
            continue;
        }
        let costs = node.op.cost(&inputs).map_err(invalid)?;
        let products = costs.iter().filter(|(cost, _)| matches!(cost, Cost::FMA(_)));
        let products: f64 =
            products.map(|(_, count)| count.to_i64().map_or(0.0, |n| n as f64)).sum();
        folded_products += products;
        if node.op_is::<tract_core::ops::cnn::Conv>() {
            let kernel = inputs.get(1).and_then(|fact| fact.shape.as_concrete());
            let channels = kernel.and_then(|shape| shape.first().copied()).unwrap_or(1).max(1);
            bytes = bytes.saturating_add((products / channels as f64 * 4.0) as u64);
        }
        folded_bytes = folded_bytes.saturating_add(bytes);
        if folded_bytes > source.folded_limit() {
            let seen = format!("{folded_bytes} bytes of constants are computed up to here");
            return Err(source.limit(what(), seen, format!("{} bytes", source.folded_limit())));
        }
        if folded_products > FOLDED_LIMIT_PRODUCTS {
            let seen = format!("{folded_products:e} products of constants up to here");
            return Err(source.limit(what(), seen, format!("{FOLDED_LIMIT_PRODUCTS:e}")));
        }
    }
    Ok(())
}

/// `None` where they overflow. A shape that is not known yet has none.
fn typed_bytes(fact: &TypedFact) -> Option<u64> {
    let Some(shape) = fact.shape.as_concrete() else { return Some(0) };
    let element = fact.datum_type.size_of() as u64;
    shape.iter().try_fold(element, |bytes, &size| bytes.checked_mul(size as u64))
}
