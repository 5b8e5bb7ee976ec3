//! An operator that is composed of tract's: its types and shapes are those that
//! come out of the composition, so that each operator is written once.

pub mod wire;

use std::fmt;

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::expandable::{Expansion, expand};

use wire::Wire;

/// What tract's reader of an operator returns.
pub type Read = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

type Composition = dyn Fn(&mut Wire, &[OutletId]) -> TractResult<TVec<OutletId>> + Send + Sync;

/// An operator with a number of outputs.
#[derive(Clone)]
struct Composed {
    name: String,
    outputs: usize,
    composition: Arc<Composition>,
}

/// The operator that `composition` makes of its inputs, by name.
pub fn composed(
    name: &str,
    outputs: usize,
    composition: impl Fn(&mut Wire, &[OutletId]) -> TractResult<TVec<OutletId>> + Send + Sync + 'static,
) -> Read {
    let composed = Composed { name: name.into(), outputs, composition: Arc::new(composition) };
    Ok((expand(composed), Vec::new()))
}

impl fmt::Debug for Composed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("Composed").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Composed {
    /// What comes out of inputs of these types and shapes.
    fn facts(&self, inputs: &[(DatumType, TVec<TDim>)]) -> TractResult<Vec<TypedFact>> {
        let mut model = TypedModel::default();
        let mut sources = Vec::new();
        for (index, (datum_type, shape)) in inputs.iter().enumerate() {
            let fact = datum_type.fact(shape.iter());
            sources.push(model.add_source(format!("input{index}"), fact)?);
        }
        let outputs = (self.composition)(&mut Wire::new("output", &mut model), &sources)?;
        outputs.iter().map(|&outlet| model.outlet_fact(outlet).cloned()).collect()
    }
}

impl Expansion for Composed {
    fn name(&self) -> StaticName {
        self.name.clone().into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.outputs)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        ensure!(
            outputs.len() == self.outputs,
            "{} outputs, wanted {}",
            outputs.len(),
            self.outputs
        );
        s.given_all(inputs.iter().map(|input| &input.datum_type), move |s, types| {
            s.given_all(inputs.iter().map(|input| &input.shape), move |s, shapes| {
                let inputs: Vec<_> = types.iter().copied().zip(shapes).collect();
                for (fact, output) in self.facts(&inputs)?.iter().zip(outputs) {
                    s.equals(&output.datum_type, fact.datum_type)?;
                    s.equals(&output.shape, fact.shape.to_tvec())?;
                }
                Ok(())
            })
        })
    }

    fn wire(
        &self,
        prefix: &str,
        model: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        (self.composition)(&mut Wire::new(prefix, model), inputs)
    }

    fn runs_out_of_plan(&self) -> bool {
        // Work on constants is bounded nowhere else.
        false
    }
}
