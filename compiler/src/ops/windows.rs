//! Pooling of any number of dimensions, of FP64 and integers, and with indices.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::cnn::PoolSpec;
use tract_onnx::tract_hir::tract_core::ops::nn::DataFormat;

use super::conv::windows_of;
use crate::emit::nest::broadcast_strides;
use crate::error::CompileError;
use crate::kernels::conv::Window;
use crate::kernels::integers::{Function, Integers};
use crate::kernels::map::Operand;
use crate::kernels::windows::{Over, Windows};
use crate::lower::Lowering;
use crate::schedule::ValueId;

/// Lowers pooling under the windows of `spec`. `over` says what is made of the
/// elements under them.
pub fn lower(
    lowering: &mut Lowering,
    node: &TypedNode,
    spec: &PoolSpec,
    over: impl FnOnce(&[Window]) -> Over,
) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let (dtype, shape) = (lowering.dtype(input), lowering.shape(input));
    let rank = spec.kernel_shape.len();
    if !matches!(spec.data_format, DataFormat::NCHW | DataFormat::CHW) || dtype == DType::F16 {
        let detail = format!(
            "images of {dtype} in the order {:?}, with {rank} spatial dimensions; channels first, \
             FP32, FP64 and integers are supported",
            spec.data_format
        );
        return Err(lowering.unsupported(node, detail));
    }
    let (images, pixels) = shape.split_at(shape.len() - rank);
    let axes = windows_of(lowering, node, spec, pixels)?;
    let over = over(&axes);
    let kernel = Windows { dtype, images: images.iter().product(), axes, over };
    let outputs: Result<Vec<_>, _> =
        (0..node.outputs.len()).map(|slot| lowering.output_type(node, slot)).collect();
    let outputs = outputs?;
    if let Some((other, _)) = outputs.get(1).filter(|(dtype, _)| *dtype != DType::I64) {
        let detail = format!("indices of type {other}; I64 is supported");
        return Err(lowering.unsupported(node, detail));
    }
    let values = lowering.step_with_outputs(node, kernel, &[input], outputs);
    for (slot, value) in values.into_iter().enumerate() {
        lowering.bind(node, slot, value);
    }
    Ok(())
}

/// tract's node after a `MaxPool` with indices: from those in an image to those in
/// the whole tensor, as ONNX numbers it.
pub fn lower_indices(
    lowering: &mut Lowering,
    node: &TypedNode,
) -> Option<Result<(), CompileError>> {
    (node.op().name() == "OnnxMaxPoolIndices").then(|| of_tensor(lowering, node))
}

fn of_tensor(lowering: &mut Lowering, node: &TypedNode) -> Result<(), CompileError> {
    // The type is tract's own, so what it holds is only to be had as text.
    let text = format!("{:?}", node.op());
    let sizes = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    let sizes: Option<Vec<i64>> = sizes.and_then(|(sizes, _)| {
        let sizes = sizes
            .split(',')
            .map(|size| size.trim().trim_start_matches("Val(").trim_end_matches(')'));
        sizes.map(|size| size.parse().ok()).collect()
    });
    let Some(sizes) = sizes else {
        return Err(lowering.unsupported(node, format!("indices into an image of {text}")));
    };
    let column_major = text.contains("column_major: true");
    let indices = lowering.input(node, 0)?;
    let shape = lowering.shape(indices);
    let pixels: i64 = sizes.iter().product();
    let images: i64 = shape[..2].iter().product::<usize>() as i64;
    let firsts: Vec<i64> = (0..images).map(|image| image * pixels).collect();
    let mut of_images = vec![1; shape.len()];
    of_images[..2].copy_from_slice(&shape[..2]);
    let firsts = numbers(lowering, node, &firsts, of_images);
    let mut within = indices;
    if column_major {
        // The coordinates, the last one first, and the distance that each moves.
        let single = vec![1; shape.len()];
        let (mut rest, mut sum) = (indices, None);
        for (axis, &size) in sizes.iter().enumerate().rev() {
            let size = numbers(lowering, node, &[size], single.clone());
            let step: i64 = sizes[..axis].iter().product();
            let step = numbers(lowering, node, &[step], single.clone());
            let at = integers(lowering, node, Function::Rem, [rest, size]);
            let moved = integers(lowering, node, Function::Mul, [at, step]);
            rest = integers(lowering, node, Function::Div, [rest, size]);
            sum = Some(match sum {
                None => moved,
                Some(sum) => integers(lowering, node, Function::Add, [sum, moved]),
            });
        }
        within = sum.unwrap_or(indices);
    }
    let output = integers(lowering, node, Function::Add, [within, firsts]);
    lowering.bind(node, 0, output);
    Ok(())
}

fn numbers(
    lowering: &mut Lowering,
    node: &TypedNode,
    numbers: &[i64],
    shape: Vec<usize>,
) -> ValueId {
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    lowering.known(node, DType::I64, shape, bytes)
}

/// A function of the first operand and of the second, broadcast to it.
fn integers(
    lowering: &mut Lowering,
    node: &TypedNode,
    function: Function,
    operands: [ValueId; 2],
) -> ValueId {
    let shape = lowering.shape(operands[0]);
    let inputs = operands.iter().map(|&operand| {
        Operand::new(DType::I64, broadcast_strides(&lowering.shape(operand), &shape))
    });
    let operands_of = inputs.collect();
    let kernel =
        Integers { shape: shape.clone(), operands: operands_of, function, output: DType::I64 };
    lowering.step(node, kernel, &operands, DType::I64, shape)
}
