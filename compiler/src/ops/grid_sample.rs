//! `GridSample`.

use leeway_contract::DType;
use tract_onnx::tract_hir::internal::TypedNode;
use tract_onnx::tract_hir::tract_core::ops::nn::grid_sample::{
    GridSample as Op, InterpolationMode, PaddingMode,
};

use crate::error::CompileError;
use crate::kernels::grid_sample::{Between, GridSample, Outside};
use crate::lower::Lowering;

pub fn lower(lowering: &mut Lowering, node: &TypedNode) -> Option<Result<(), CompileError>> {
    let op = node.op_as::<Op>()?;
    Some(sample(lowering, node, op))
}

fn sample(lowering: &mut Lowering, node: &TypedNode, op: &Op) -> Result<(), CompileError> {
    let (images, grid) = (lowering.input(node, 0)?, lowering.input(node, 1)?);
    lowering.want_f32(node, &[images, grid])?;
    let shape = lowering.shape(images);
    let between = match op.mode {
        InterpolationMode::Nearest => Between::Nearest,
        InterpolationMode::Bilinear => Between::Linear,
        InterpolationMode::Bicubic => Between::Cubic,
    };
    let sizes = shape[2..].to_vec();
    if sizes.len() > 3 || (between == Between::Cubic && sizes.len() > 2) {
        let detail = format!(
            "{between:?} over {} axes; over up to 3 it is supported, Cubic over up to 2",
            sizes.len()
        );
        return Err(lowering.unsupported(node, detail));
    }
    let (_, output_shape) = lowering.output_type(node, 0)?;
    let kernel = GridSample {
        batch: shape[0],
        channels: shape[1],
        sizes,
        points: output_shape[2..].iter().product(),
        between,
        outside: match op.padding_mode {
            PaddingMode::Zeros => Outside::Zeros,
            PaddingMode::Border => Outside::Border,
            PaddingMode::Reflection => Outside::Reflection,
        },
        align_corners: op.align_corners,
    };
    let output = lowering.step(node, kernel, &[images, grid], DType::F32, output_shape);
    lowering.bind(node, 0, output);
    Ok(())
}
