//! `Einsum` of any expression, one element of the output at a time: what is no
//! product of two FP32 matrices.

use tract_onnx::tract_hir::internal::{InOut, TypedNode};
use tract_onnx::tract_hir::tract_core::ops::einsum::EinSum;

use crate::emit::nest::dense_strides;
use crate::error::CompileError;
use crate::kernels::contraction::Contraction;
use crate::lower::Lowering;

/// Lowers an expression that the matrix kernels do not have.
pub fn lower(lowering: &mut Lowering, node: &TypedNode, op: &EinSum) -> Result<(), CompileError> {
    let (dtype, shape) = lowering.output_type(node, 0)?;
    let mut inputs = Vec::new();
    for input in 0..node.inputs.len() {
        inputs.push(lowering.input(node, input)?);
    }
    let other = inputs.iter().map(|&input| lowering.dtype(input)).find(|&seen| seen != dtype);
    if other.is_some() || !Contraction::supports(dtype) {
        let detail = format!(
            "sums of products of {} that give {dtype}; of one type, FP32, FP64, FP16 or \
             integers, they are supported",
            other.unwrap_or(dtype)
        );
        return Err(lowering.unsupported(node, detail));
    }
    // An axis that an operand has twice is its diagonal: both strides at once. One
    // of size 1 is broadcast.
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|&input| lowering.shape(input)).collect();
    let stride = |operand: usize, positions: &[usize]| {
        let strides = dense_strides(&shapes[operand]);
        let moving = positions.iter().filter(|&&at| shapes[operand][at] > 1);
        moving.map(|&at| strides[at]).sum::<usize>()
    };
    let mut strides = vec![vec![0; shape.len()]; inputs.len()];
    let mut summed = Vec::new();
    let mut of_summed = vec![Vec::new(); inputs.len()];
    for axis in op.axes.iter_all_axes() {
        let positions = |operand: usize| axis.interface(InOut::In(operand));
        match axis.interface(InOut::Out(0)) {
            [] => {
                let sizes = (0..inputs.len())
                    .flat_map(|operand| positions(operand).iter().map(move |&at| (operand, at)));
                let size = sizes.map(|(operand, at)| shapes[operand][at]).max().unwrap_or(1);
                summed.push(size);
                for (operand, of_summed) in of_summed.iter_mut().enumerate() {
                    of_summed.push(stride(operand, positions(operand)));
                }
            }
            [at] => {
                for (operand, strides) in strides.iter_mut().enumerate() {
                    strides[*at] = stride(operand, positions(operand));
                }
            }
            _ => {
                let detail = format!("the expression {:?} gives an axis twice", op.axes);
                return Err(lowering.unsupported(node, detail));
            }
        }
    }
    for (strides, of_summed) in strides.iter_mut().zip(of_summed) {
        strides.extend(of_summed);
    }
    let kernel = Contraction { dtype, shape: shape.clone(), summed, strides };
    let output = lowering.step(node, kernel, &inputs, dtype, shape);
    lowering.bind(node, 0, output);
    Ok(())
}
