//! The probabilities of classes from those of pairs of classes, as an operator of
//! tract's graph: T.-F. Wu, C.-J. Lin, R. C. Weng, "Probability Estimates for
//! Multi-class Classification by Pairwise Coupling" (JMLR 5, 2004), the second
//! method, as LIBSVM and ONNX Runtime iterate it.

use tract_onnx::tract_hir::internal::*;

/// The most iterations.
pub const ITERATIONS: usize = 100;

/// When it ends: no class is farther off than this.
pub fn tolerance(classes: usize) -> f32 {
    0.005 / classes as f32
}

/// `[rows, classes]` from `[rows, pairs]`: of each pair of classes `i < j`, in
/// order, the probability of `i`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coupling {
    /// The number of classes, at least 2.
    pub classes: usize,
}

impl Coupling {
    /// The number of pairs.
    pub fn pairs(&self) -> usize {
        self.classes * (self.classes - 1) / 2
    }

    fn couple(&self, pairs: &[f32]) -> Vec<f32> {
        let k = self.classes;
        let mut r = vec![0f32; k * k];
        let mut of_pair = pairs.iter();
        for i in 0..k {
            for j in i + 1..k {
                r[i * k + j] = *of_pair.next().expect("a probability for each pair");
                r[j * k + i] = 1.0 - r[i * k + j];
            }
        }
        let mut q = vec![0f32; k * k];
        for i in 0..k {
            for j in (0..k).filter(|&j| j != i) {
                q[i * k + i] += r[j * k + i] * r[j * k + i];
                q[i * k + j] = -r[j * k + i] * r[i * k + j];
            }
        }
        let mut p = vec![1.0 / k as f32; k];
        for _ in 0..ITERATIONS {
            let mut qp = vec![0f32; k];
            let mut pqp = 0f32;
            for i in 0..k {
                qp[i] = (0..k).fold(0.0, |sum, j| sum + q[i * k + j] * p[j]);
                pqp += p[i] * qp[i];
            }
            let error = qp.iter().fold(0f32, |most, qp| most.max((qp - pqp).abs()));
            if error < tolerance(k) {
                break;
            }
            for i in 0..k {
                let diff = (pqp - qp[i]) / q[i * k + i];
                p[i] += diff;
                pqp = (pqp + diff * (diff * q[i * k + i] + 2.0 * qp[i]))
                    / (1.0 + diff)
                    / (1.0 + diff);
                for j in 0..k {
                    qp[j] = (qp[j] + diff * q[i * k + j]) / (1.0 + diff);
                    p[j] /= 1.0 + diff;
                }
            }
        }
        p
    }
}

impl Op for Coupling {
    fn name(&self) -> StaticName {
        "Coupling".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Coupling {
    not_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let pairs = input.to_plain_array_view::<f32>()?;
        let pairs = pairs.as_slice().context("a dense input")?;
        let all: Vec<f32> =
            pairs.chunks_exact(self.pairs()).flat_map(|row| self.couple(row)).collect();
        Ok(tvec!(tensor1(&all).into_shape(&[input.shape()[0], self.classes])?.into_tvalue()))
    }
}

impl TypedOp for Coupling {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shape = [inputs[0].shape[0].clone(), self.classes.into()];
        Ok(tvec!(f32::fact(shape.iter())))
    }

    as_op!();
}
