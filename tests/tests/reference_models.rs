//! The four reference models: their components against native tract, ONNX
//! Runtime's recorded outputs, and their certificates.

use leeway_compiler::Options;
use leeway_guest_models::{ReferenceModel, reference_models};
use leeway_runtime::sandbox::{EngineKind, Limits};
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::random::{Random, STYLES, Style};

fn pair(model: &ReferenceModel, engine: EngineKind) -> Pair {
    let options = Options {
        name: model.name.to_string(),
        version: "1".into(),
        file: format!("{}/model.onnx", model.name),
        ..Options::default()
    };
    Pair::new(&sandbox(engine), model.onnx, &options)
}

#[test]
fn outputs_equal_native_tract_within_1e_5() {
    for model in reference_models() {
        let mut pair = pair(model, EngineKind::Native);
        let test = model.test().unwrap();
        let mut largest = 0.0f32;
        for input in &test.inputs {
            largest = largest.max(pair.difference(std::slice::from_ref(input)));
        }
        assert!(largest <= 1e-5, "{}: {largest}", model.name);
    }
}

#[test]
fn accuracy_equals_the_source_models() {
    for model in reference_models() {
        let mut pair = pair(model, EngineKind::Native);
        let test = model.test().unwrap();
        let wanted = test.probabilities.as_ref().expect("the test set has recorded outputs");
        let last = pair.module.certificate().last_stage();
        let (mut seen_right, mut wanted_right) = (0, 0);
        for ((input, &label), wanted) in test.inputs.iter().zip(&test.labels).zip(wanted) {
            let outputs = pair.run(0..=last, std::slice::from_ref(input));
            seen_right += usize::from(outputs[0].argmax() == Some(label));
            let best = wanted.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            wanted_right += usize::from(best == label);
        }
        assert_eq!(seen_right, wanted_right, "{}: right answers of {}", model.name, test.len());
        assert!(seen_right * 100 >= test.len() * 94, "{}: {seen_right}", model.name);
    }
}

#[test]
fn fuel_equals_the_certificate_on_1000_random_inputs() {
    for model in reference_models() {
        let mut pair = pair(model, EngineKind::Native);
        let mut random = Random::new(1);
        let last = pair.module.certificate().last_stage();
        for i in 0..1000 {
            let inputs = pair.inputs(&mut random, STYLES[i % STYLES.len()]);
            pair.run(0..=last, &inputs);
        }
    }
}

#[test]
fn fuel_equals_the_certificate_in_fresh_instances_and_on_every_range() {
    for model in reference_models() {
        let mut pair = pair(model, EngineKind::Native);
        let mut random = Random::new(2);
        pair.assert_fuel_of_all_ranges(&mut random);
        let last = pair.module.certificate().last_stage();
        for style in STYLES {
            pair.instance = pair.module.instantiate().unwrap();
            let inputs = pair.inputs(&mut random, style);
            let fresh = pair.run(0..=last, &inputs);
            let reused = pair.run(0..=last, &inputs);
            assert_eq!(fresh, reused, "{}: {style:?} inputs", model.name);
        }
    }
}

#[test]
fn pulley_gives_the_same_bits_and_fuel_as_native_code() {
    for model in reference_models() {
        let (mut native, mut pulley) =
            (pair(model, EngineKind::Native), pair(model, EngineKind::Pulley));
        assert_eq!(native.module.digest(), pulley.module.digest());
        let mut random = Random::new(3);
        let last = native.module.certificate().last_stage();
        for style in STYLES {
            let inputs = native.inputs(&mut random, style);
            assert_eq!(
                native.run(0..=last, &inputs),
                pulley.run(0..=last, &inputs),
                "{}: {style:?} inputs",
                model.name
            );
        }
    }
}

#[test]
fn golden_vectors_replay() {
    let sandbox = sandbox(EngineKind::Native);
    for model in reference_models() {
        let options = Options { name: model.name.to_string(), ..Options::default() };
        let compiled = leeway_compiler::compile(model.onnx, &options).unwrap();
        let module = sandbox.load(&compiled.seal(&[]).component).unwrap();
        let inputs = model.validation().unwrap().inputs;
        let inputs = inputs.into_iter().take(3).map(|input| vec![input]).collect();
        let golden = leeway_runtime::golden::record(&module, inputs).unwrap();
        let module = sandbox.load(&compiled.seal(&golden).component).unwrap();
        assert_eq!(module.golden().len(), 3);
        leeway_runtime::golden::replay(&module).unwrap();
    }
}

#[test]
fn a_nan_that_leaves_is_canonical() {
    let mlp = reference_models().iter().find(|m| m.name == "mlp-tabular").unwrap();
    let mut pair = pair(mlp, EngineKind::Native);
    let inputs = pair.inputs(&mut Random::new(4), Style::Nan);
    let last = pair.module.certificate().last_stage();
    let outputs = pair.instance.run(0..=last, &inputs, &Limits::default()).unwrap().outputs;
    for value in outputs[0].to_f32().unwrap() {
        assert_eq!(value.to_bits(), 0x7fc0_0000);
    }
}

#[test]
fn compiling_is_reproducible() {
    for model in reference_models() {
        let options = Options { name: model.name.to_string(), ..Options::default() };
        let once = leeway_compiler::compile(model.onnx, &options).unwrap().seal(&[]);
        let again = leeway_compiler::compile(model.onnx, &options).unwrap().seal(&[]);
        assert_eq!(once.component, again.component, "{}", model.name);
    }
}
