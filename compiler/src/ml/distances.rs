//! The squared distances of rows to constant points, as an operator of tract's
//! graph. The squares of the differences are added in the order of the features.

use tract_onnx::tract_hir::internal::*;

/// `[rows, points]` from `[rows, features]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SquaredDistances {
    /// `[points, features]` of FP32.
    pub points: Arc<Tensor>,
}

impl Op for SquaredDistances {
    fn name(&self) -> StaticName {
        "SquaredDistances".into()
    }

    op_as_typed_op!();
}

impl EvalOp for SquaredDistances {
    not_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let (rows, points) = (input.to_plain_array_view::<f32>()?, &self.points);
        let points = points.to_plain_array_view::<f32>()?;
        let features = input.shape()[1];
        let (rows, points) =
            (rows.as_slice().context("dense rows")?, points.as_slice().context("dense points")?);
        let distance = |row: &[f32], point: &[f32]| {
            let squares = row.iter().zip(point).map(|(x, p)| (x - p) * (x - p));
            squares.fold(0.0, |sum, square| sum + square)
        };
        let distances: Vec<f32> = rows
            .chunks_exact(features)
            .flat_map(|row| points.chunks_exact(features).map(move |point| distance(row, point)))
            .collect();
        let shape = [input.shape()[0], self.points.shape()[0]];
        Ok(tvec!(tensor1(&distances).into_shape(&shape)?.into_tvalue()))
    }
}

impl TypedOp for SquaredDistances {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let (seen, wanted) = (inputs[0].shape[1].to_usize()?, self.points.shape()[1]);
        ensure!(seen == wanted, "its input has {seen} features, its support vectors {wanted}");
        let shape = [inputs[0].shape[0].clone(), self.points.shape()[0].into()];
        Ok(tvec!(f32::fact(shape.iter())))
    }

    as_op!();
}
