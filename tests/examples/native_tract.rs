//! Which of the ONNX project's node tests native tract passes: the peer of
//! `tests/onnx-nodes/run.py`, which writes the cases and reads the answers.
//!
//! Each argument is the folder of one case: `model.onnx` with static shapes,
//! `input_N.pb` and `output_N.pb` (ONNX `TensorProto`) and `tolerance` (relative and
//! absolute, as numpy's `allclose` takes them). The model is read, typed,
//! optimised and run as [`leeway_compiler::Oracle`] does it, but without the
//! compiler's own checks. For each case one line is printed, flushed: the folder, a
//! tab, and `passed` or what went wrong.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tract_onnx::prelude::*;
use tract_onnx::tensor::{load_tensor, proto_from_reader};
use tract_onnx::tract_hir::internal::*;

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    for folder in std::env::args().skip(1) {
        let result = catch_unwind(AssertUnwindSafe(|| case(Path::new(&folder))));
        let line = match result {
            Ok(Ok(())) => "passed".into(),
            Ok(Err(error)) => error.chain().map(|c| c.to_string()).collect::<Vec<_>>().join(": "),
            Err(_) => "it panicked".into(),
        };
        println!("{folder}\t{}", line.replace(['\n', '\t'], " "));
        std::io::stdout().flush().expect("the lines are read");
    }
}

fn case(folder: &Path) -> TractResult<()> {
    let tolerance = std::fs::read_to_string(folder.join("tolerance"))?;
    let tolerance: Vec<f64> =
        tolerance.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [relative, absolute] = tolerance[..] else { bail!("a tolerance is two numbers") };
    let inputs = tensors(folder, "input")?;
    let wanted = tensors(folder, "output")?;

    let mut model = onnx().model_for_path(folder.join("model.onnx"))?;
    for (index, input) in inputs.iter().enumerate() {
        let fact = InferenceFact::dt_shape(input.datum_type(), input.shape());
        model.set_input_fact(index, fact)?;
    }
    let plan = model.into_optimized()?.into_runnable()?;
    let seen = plan.run(inputs.into_iter().map(Tensor::into_tvalue).collect())?;
    ensure!(seen.len() == wanted.len(), "{} outputs, wanted {}", seen.len(), wanted.len());
    for (index, (seen, wanted)) in seen.iter().zip(&wanted).enumerate() {
        compare(seen, wanted, relative, absolute).with_context(|| format!("output {index}"))?;
    }
    Ok(())
}

/// The tensors `kind_0.pb`, `kind_1.pb`, ... of a folder.
fn tensors(folder: &Path, kind: &str) -> TractResult<Vec<Tensor>> {
    let reader = onnx();
    let paths = (0..).map(|index| folder.join(format!("{kind}_{index}.pb")));
    paths
        .take_while(|path| path.exists())
        .map(|path| {
            let proto = proto_from_reader(std::fs::File::open(&path)?)?;
            load_tensor(&*reader.provider, &proto, None)
        })
        .collect()
}

fn compare(seen: &Tensor, wanted: &Tensor, relative: f64, absolute: f64) -> TractResult<()> {
    // tract's own type for sizes stands for I64.
    let seen = match seen.datum_type() {
        DatumType::TDim => seen.cast_to::<i64>()?.into_owned(),
        _ => seen.clone(),
    };
    let types = (seen.datum_type(), wanted.datum_type());
    ensure!(types.0 == types.1, "type {:?}, wanted {:?}", types.0, types.1);
    ensure!(seen.shape() == wanted.shape(), "shape {:?}, not {:?}", seen.shape(), wanted.shape());
    if !types.1.is_float() {
        ensure!(seen == *wanted, "{seen:?}, wanted {wanted:?}");
        return Ok(());
    }
    let (seen, wanted) = (seen.cast_to::<f64>()?, wanted.cast_to::<f64>()?);
    let (seen, wanted) = (seen.to_plain_array_view::<f64>()?, wanted.to_plain_array_view::<f64>()?);
    for (&seen, &wanted) in seen.iter().zip(&wanted) {
        let same = seen == wanted || (seen.is_nan() && wanted.is_nan());
        let close = (seen - wanted).abs() <= absolute + relative * wanted.abs();
        ensure!(same || (close && wanted.is_finite()), "{seen}, wanted {wanted}");
    }
    Ok(())
}
