//! `DFT` and `STFT`.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::fft::{Fft, Stft};

use crate::error::CompileError;
use crate::kernels::dft::Dft;
use crate::lower::Lowering;

pub fn lower_dft(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Fft>()?;
    Some(transform(lowering, node, op.axis, op.inverse, None))
}

pub fn lower_stft(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Stft>()?;
    Some(transform(lowering, node, op.axis, false, Some(op)))
}

fn transform(
    lowering: &mut Lowering,
    node: &TypedNode,
    axis: usize,
    inverse: bool,
    short: Option<&Stft>,
) -> Result<(), CompileError> {
    let input = lowering.input(node, 0)?;
    let dtype = lowering.dtype(input);
    if !matches!(dtype, DType::F32 | DType::F64) {
        let detail = format!("of type {dtype}; FP32, FP64 and FP16 are supported");
        return Err(lowering.unsupported(node, detail));
    }
    let shape = lowering.shape(input);
    let (_, output_shape) = lowering.output_type(node, 0)?;
    let mut window = None;
    if let Some(given) = short.and_then(|stft| stft.window.as_ref()) {
        let size = output_shape[axis + 1];
        let numbers = given.cast_to::<f64>().ok();
        let numbers = numbers.and_then(|numbers| {
            numbers.to_plain_array_view::<f64>().ok().map(|view| view.iter().copied().collect())
        });
        let Some(numbers): Option<Vec<f64>> = numbers.filter(|w: &Vec<f64>| w.len() <= size) else {
            let detail = "its window is longer than a frame, or no tensor of numbers";
            return Err(lowering.unsupported(node, detail));
        };
        // A short window is centered.
        let before = (size - numbers.len()) / 2;
        let mut padded = vec![0.0; size];
        padded[before..before + numbers.len()].copy_from_slice(&numbers);
        window = Some(padded);
    }
    let kernel = Dft {
        dtype,
        outer: shape[..axis].iter().product(),
        axis: shape[axis],
        inner: shape[axis + 1..shape.len() - 1].iter().product(),
        frames: if short.is_some() { output_shape[axis] } else { 1 },
        hop: short.map_or(0, |stft| stft.stride),
        size: if short.is_some() { output_shape[axis + 1] } else { shape[axis] },
        inverse,
        window,
    };
    let output = lowering.step(node, kernel, &[input], dtype, output_shape);
    lowering.bind(node, 0, output);
    Ok(())
}
