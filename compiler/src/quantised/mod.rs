//! Operators on 8-bit integers that stand for real numbers, as ONNX and, for the
//! domain `com.microsoft`, ONNX Runtime define them.
//!
//! tract has operators of these names, which round, saturate and place zero points
//! in its own way. These take their place in its reader: each becomes a node that
//! says what ONNX says, which tract infers shapes through, evaluates where all is
//! known, and leaves alone otherwise.

use tract_onnx::model::{Onnx, optional_inputs};
use tract_onnx::pb::{ModelProto, NodeProto};
use tract_onnx::tract_hir::internal::*;

pub mod contrib;
pub mod conv;
pub mod dynamic;
pub mod fold;
pub mod graph;
pub mod grid;
pub mod linear;
pub mod matmul;
pub mod mean;
pub mod product;

pub use grid::Grid;

/// Puts these operators into the reader.
pub fn register(onnx: &mut Onnx) {
    let register = &mut onnx.op_register;
    register.insert("QuantizeLinear", linear::quantize);
    register.insert("DequantizeLinear", linear::dequantize);
    register.insert("DynamicQuantizeLinear", dynamic::dynamic_quantize);
    register.insert("ConvInteger", conv::conv_integer);
    register.insert("QLinearConv", conv::q_linear_conv);
    register.insert("QLinearAveragePool", mean::average_pool);
    register.insert("QLinearGlobalAveragePool", mean::global_average_pool);
    register.insert("MatMulInteger", matmul::mat_mul_integer);
    register.insert("QLinearMatMul", matmul::q_linear_mat_mul);
    register.insert("QGemm", matmul::q_gemm);
}

/// Rewrites the graph of a model so that as much as possible of its work is on integers.
pub fn rewrite(model: &mut ModelProto) -> Result<(), Refusal> {
    let own = model.opset_import.iter().find(|set| matches!(&*set.domain, "" | "ai.onnx"));
    let operator_set = own.map_or(0, |set| set.version);
    let Some(graph) = &mut model.graph else { return Ok(()) };
    let mut graph = graph::Graph::new(graph);
    let expanded = contrib::expand(&mut graph, operator_set);
    if expanded.is_ok() {
        fold::fold(&mut graph);
    }
    graph.finish();
    expanded
}

/// A use of an operator that is not supported. It leaves tract as the cause of an
/// error of its own.
#[derive(Debug)]
pub struct Refusal {
    /// The node, by the name that tract has for it.
    pub node: String,
    /// What is not supported, and what is.
    pub detail: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}: {}", self.node, self.detail)
    }
}

impl std::error::Error for Refusal {}

/// The error for a node that is not supported.
pub fn refuse<T>(node: &str, detail: impl Into<String>) -> TractResult<T> {
    Err(Refusal { node: node.into(), detail: detail.into() }.into())
}

/// The inputs of a node by their number in ONNX's definition: where they are among
/// those that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots(Vec<Option<usize>>);

impl Slots {
    /// Those of `node`, of an operator with up to `count` inputs.
    pub fn of(node: &NodeProto, count: usize) -> Self {
        Self(optional_inputs(node).take(count).collect())
    }

    /// Where an input is; `None` if the node has none.
    pub fn get(&self, number: usize) -> Option<usize> {
        self.0.get(number).copied().flatten()
    }

    /// An error unless the first `count` inputs, which are not optional, are there.
    pub fn want(self, node: &NodeProto, count: usize) -> TractResult<Self> {
        match (0..count).find(|&number| self.get(number).is_none()) {
            None => Ok(self),
            Some(number) => refuse(
                tract_name(node),
                format!("its input {number} is missing, which is not optional"),
            ),
        }
    }

    /// The input of a number among a node's, if it is there.
    pub fn pick<T: Copy>(&self, inputs: &[T], number: usize) -> Option<T> {
        self.get(number).and_then(|slot| inputs.get(slot)).copied()
    }
}

/// The name that tract gives a node.
pub fn tract_name(node: &NodeProto) -> &str {
    crate::import::guard::node_name(node)
}

/// Whether a type is that of quantised numbers.
pub fn is_8_bit(dtype: DatumType) -> bool {
    matches!(dtype, DatumType::U8 | DatumType::I8)
}

/// The smallest and the largest number of an 8-bit type.
pub fn range(dtype: DatumType) -> (i32, i32) {
    match dtype {
        DatumType::I8 => (i8::MIN.into(), i8::MAX.into()),
        _ => (u8::MIN.into(), u8::MAX.into()),
    }
}

/// The elements of a tensor of integers of up to 32 bits.
pub fn integers(tensor: &Tensor) -> TractResult<Vec<i32>> {
    let tensor = tensor.cast_to::<i32>()?;
    Ok(tensor.to_plain_array_view::<i32>()?.iter().copied().collect())
}

/// A tensor of 8-bit integers, which must be in the range of their type.
pub fn tensor_of(
    dtype: DatumType,
    shape: &[usize],
    numbers: impl Iterator<Item = i32>,
) -> TractResult<Tensor> {
    match dtype {
        DatumType::I8 => {
            Tensor::from_shape(shape, &numbers.map(|number| number as i8).collect::<Vec<_>>())
        }
        _ => Tensor::from_shape(shape, &numbers.map(|number| number as u8).collect::<Vec<_>>()),
    }
}
