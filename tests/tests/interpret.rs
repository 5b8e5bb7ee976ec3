//! `leeway build --interpret` and hand-written components, as libraries: numbers
//! against native tract, repeatability, limits, the sandbox and the fog host.

use std::sync::OnceLock;
use std::time::Duration;

use leeway_compiler::{CompileError, Options, Oracle};
use leeway_contract::{Bound, Certificate, DType, Digest, Fuel, Tensor, TensorSpec, section};
use leeway_fog_host::{FogConfig, Running};
use leeway_guest_models::{ReferenceModel, reference_model, reference_models};
use leeway_interpret::{Draft, Ends, InterpretError, Measure, Measured};
use leeway_runtime::golden;
use leeway_runtime::offload::fog::{Fog as _, HttpFog, InferRequest};
use leeway_runtime::sandbox::{EngineKind, GuestError, Limits, LoadError, Module, RunError};
use leeway_tests::compare::{relative, sandbox};
use leeway_tests::onnx::{
    Attribute, Dim, FLOAT, Graph, INT16, INT64, UINT8, UINT16, UINT32, UINT64,
};

const FOG_LIMIT: Duration = Duration::from_secs(120);

fn model() -> &'static ReferenceModel {
    reference_model("mlp-tabular").expect("it is embedded")
}

fn options() -> Options {
    Options { name: "mlp-tabular".into(), version: "1".into(), ..Options::default() }
}

fn given() -> Vec<Vec<Tensor>> {
    let inputs = model().validation().expect("its data is embedded").inputs;
    inputs.into_iter().take(6).map(|input| vec![input]).collect()
}

/// The reference model, interpreted: made once, as the interpreter's code takes
/// long to compile. Whatever does not need it is tested on the small guest.
fn interpreted() -> &'static Measured {
    static MADE: OnceLock<Measured> = OnceLock::new();
    MADE.get_or_init(|| {
        let draft = leeway_interpret::interpret(model().onnx, &options()).unwrap();
        draft.measure(given(), &Measure::default()).unwrap()
    })
}

#[test]
fn an_interpreted_model_gives_tracts_numbers_and_repeats_its_fuel() {
    let measured = interpreted();
    let certificate = section::read_certificate(&measured.component).unwrap();
    assert_eq!(certificate, measured.certificate);
    assert_eq!((certificate.bound(), certificate.stages.len()), (Bound::Measured, 1));
    assert!(certificate.engine.nan_canonicalization);
    assert_eq!(certificate.inputs()[0].to_string(), "input FP32[1,30]");
    assert_eq!(certificate.outputs()[0].name, "probabilities");
    // Six that were given, four of them twice, and the random ones.
    assert_eq!(measured.runs, 6 + 4 + Measure::default().random_inputs);
    assert!(measured.fuel.1 < certificate.total_fuel());
    assert!(measured.memory_bytes < certificate.memory_bytes);
    let oracle = Oracle::new(model().onnx, &options()).unwrap();
    let golden = section::read_golden(&measured.component, &certificate).unwrap();
    assert_eq!(golden.len(), 4);
    for vector in golden {
        let wanted = oracle.run(&vector.inputs).unwrap();
        assert!(relative(&vector.outputs[0], &wanted[0]) < 1e-5);
    }
}

#[test]
#[ignore = "compiles the interpreter again, for Pulley: .ci/run runs it"]
fn pulley_gives_the_bits_and_the_fuel_of_an_interpreted_model() {
    let measured = interpreted();
    let nan = vec![Tensor::from_f32(&[1, 30], &[f32::from_bits(0xffc0_0001); 30])];
    let run = |engine| {
        let module = sandbox(engine).load(&measured.component).unwrap();
        golden::replay(&module).unwrap();
        module.instantiate().unwrap().run(0..=0, &nan, &Limits::default()).unwrap()
    };
    let (native, pulley) = (run(EngineKind::Native), run(EngineKind::Pulley));
    assert_eq!((&native.outputs, native.fuel), (&pulley.outputs, pulley.fuel));
    for value in native.outputs[0].to_f32().unwrap() {
        assert_eq!(value.to_bits(), 0x7fc0_0000);
    }
}

#[test]
#[ignore = "compiles the interpreter again: .ci/run runs it"]
fn building_again_gives_the_same_digest() {
    let draft = leeway_interpret::interpret(model().onnx, &options()).unwrap();
    let again = draft.measure(given(), &Measure::default()).unwrap();
    assert!(interpreted().component == again.component);
}

#[test]
fn the_archive_of_a_model_is_the_same_each_time() {
    for model in reference_models() {
        let archive = || leeway_compiler::archive::archive(model.onnx, &options()).unwrap().bytes;
        assert!(archive() == archive(), "{}", model.name);
    }
}

#[test]
fn what_is_measured_is_enforced() {
    let draft = vibration();
    let measured = draft.measure(vec![shaft(100.0)], &Measure::default()).unwrap();
    let certify = |change: &dyn Fn(&mut Certificate)| {
        let mut certificate = measured.certificate.clone();
        change(&mut certificate);
        let mut component = draft.component().to_vec();
        section::append(&mut component, &mut certificate, &[]);
        sandbox(EngineKind::Native).load(&component)
    };
    let run = |module: Module, range, inputs: &[Tensor]| {
        module.instantiate().unwrap().run(range, inputs, &Limits::default())
    };
    let as_it_is = || certify(&|_| ()).unwrap();
    assert!(run(as_it_is(), 0..=0, &shaft(100.0)).is_ok());
    let wrong = [Tensor::from_u8(&[1, 513], &[0; 513])];
    let error = run(as_it_is(), 0..=0, &wrong).unwrap_err();
    assert!(matches!(error, RunError::Input(_)), "{error}");
    let error = run(as_it_is(), 0..=1, &shaft(100.0)).unwrap_err();
    assert!(matches!(error, RunError::InvalidRange { .. }), "{error}");

    let less = Fuel(measured.fuel.0.0 - 1);
    let tight = certify(&|certificate| certificate.stages[0].fuel.compute = less).unwrap();
    let error = run(tight, 0..=0, &shaft(100.0)).unwrap_err();
    assert!(matches!(error, RunError::OutOfFuel { .. }), "{error}");
    let small = certify(&|certificate| certificate.memory_bytes = 65536);
    assert!(small.is_err_and(|error| matches!(error, LoadError::Memory { .. })));
}

/// A transposed convolution whose weights are computed, which the compiler does not take, of what
/// one input of each width of integers makes.
fn with_computed_weights() -> Vec<u8> {
    let mut graph = Graph::new();
    let float = || [("to", Attribute::Int(FLOAT.into()))];
    let mut sum = graph.floats(&[1], &[0.5]);
    for (index, dtype) in [INT16, UINT16, UINT32, UINT64].into_iter().enumerate() {
        let x = graph.input(&format!("x{index}"), dtype, &[1, 1, 3, 3].map(Dim::from));
        let x = graph.node("Cast", &[&x], &float());
        sum = graph.node("Add", &[&sum, &x], &[]);
    }
    let weights = graph.input("weights", UINT8, &[1, 1, 2, 2].map(Dim::from));
    let weights = graph.node("Cast", &[&weights], &float());
    let y = graph.node("ConvTranspose", &[&sum, &weights], &[]);
    let whole = graph.node("Cast", &[&y], &[("to", Attribute::Int(UINT32.into()))]);
    graph.finish_each(&[(&y, FLOAT), (&whole, UINT32)])
}

#[test]
#[ignore = "compiles the interpreter again: .ci/run runs it"]
fn what_the_compiler_refuses_may_be_interpreted() {
    let onnx = with_computed_weights();
    let options = Options { name: "computed-weights".into(), ..Options::default() };
    let refused = leeway_compiler::compile(&onnx, &options).unwrap_err();
    assert!(matches!(refused, CompileError::Unsupported { .. }), "{refused}");
    let draft = leeway_interpret::interpret(&onnx, &options).unwrap();
    let numbers = |dtype: DType, shape: &[u32]| {
        let count = shape.iter().product::<u32>() as usize;
        let data = (0..count).flat_map(|i| {
            let number = 1000 * i as u64 + 7;
            number.to_le_bytes().into_iter().take(dtype.size_bytes())
        });
        Tensor { dtype, shape: shape.to_vec(), data: data.collect() }
    };
    let images = [DType::I16, DType::U16, DType::U32, DType::U64];
    let mut inputs: Vec<Tensor> = images.map(|dtype| numbers(dtype, &[1, 1, 3, 3])).to_vec();
    inputs.push(numbers(DType::U8, &[1, 1, 2, 2]));
    let measured = draft.measure(vec![inputs.clone()], &Measure::default()).unwrap();
    let wanted = Oracle::new(&onnx, &options).unwrap().run(&inputs).unwrap();
    assert_eq!(measured.golden[0].outputs, wanted);
}

#[test]
fn what_no_component_can_give_is_an_error() {
    let mut graph = Graph::new();
    let limit = graph.input("limit", INT64, &[]);
    let [start, step] = [0, 1].map(|number| graph.ints_shaped(&[], &[number]));
    let numbers = graph.node("Range", &[&start, &limit, &step], &[]);
    let onnx = graph.finish_typed(&[&numbers], INT64);
    let error = leeway_interpret::interpret(&onnx, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("depends on data"), "{error}");
    assert!(leeway_interpret::interpret(b"no model", &Options::default()).is_err());
}

/// The hand-written example, certified.
fn vibration() -> Draft {
    let spec = |name: &str, dtype, shape: &[u32]| TensorSpec {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
    };
    let ends = Ends {
        inputs: vec![spec("samples", DType::U8, &[1, 512])],
        outputs: vec![spec("probabilities", DType::F32, &[1, 3]), spec("alarm", DType::Bool, &[1])],
    };
    let options = Options { name: "vibration".into(), ..Options::default() };
    leeway_interpret::by_hand(&leeway_interpret::guest::vibration(), &options, ends).unwrap()
}

/// A window of a shaft that turns, with so much noise and so strong.
fn shaft(strength: f32) -> Vec<Tensor> {
    let sample = |i: usize| {
        let noise = ((i * 7919) % 601) as f32 - 300.0;
        let turning = (2.0 * std::f32::consts::PI * i as f32 / 32.0).sin();
        ((noise + strength * turning) as i16).to_le_bytes()
    };
    vec![Tensor::from_u8(&[1, 512], &(0..256).flat_map(sample).collect::<Vec<u8>>())]
}

#[test]
fn the_hand_written_example_is_measured_and_classifies() {
    let measured = vibration().measure(vec![shaft(100.0)], &Measure::default()).unwrap();
    for engine in [EngineKind::Native, EngineKind::Pulley] {
        let module = sandbox(engine).load(&measured.component).unwrap();
        assert_eq!(module.certificate().bound(), Bound::Measured);
        golden::replay(&module).unwrap();
        let mut instance = module.instantiate().unwrap();
        let mut class = |strength| {
            let run = instance.run(0..=0, &shaft(strength), &Limits::default()).unwrap();
            (run.outputs[0].argmax().unwrap(), run.outputs[1].data[0])
        };
        assert_eq!(class(100.0), (0, 0), "in order");
        assert_eq!(class(2500.0), (1, 1), "unbalanced");
    }
}

#[test]
fn a_fog_host_gives_the_devices_bits_and_fuel() {
    let host = Running::start(FogConfig::default()).unwrap();
    let fog = HttpFog::new(&host.url()).unwrap();
    let measured = vibration().measure(vec![shaft(100.0)], &Measure::default()).unwrap();
    let module = sandbox(EngineKind::Native).load(&measured.component).unwrap();
    let inputs = shaft(2500.0);
    let here = module.instantiate().unwrap().run(0..=0, &inputs, &Limits::default()).unwrap();
    let digest = Digest::of(&measured.component);
    fog.push(digest, &measured.component, FOG_LIMIT).unwrap();
    let certificate = &measured.certificate;
    let request = InferRequest { id: 1, digest, certificate, stages: 0..=0, inputs: &inputs };
    let there = fog.infer(&request, FOG_LIMIT).unwrap();
    assert_eq!((there.outputs, there.time.fuel), (here.outputs, here.fuel));
}

#[test]
fn a_certificate_that_promises_what_the_guest_does_not_take_is_not_given() {
    let input = TensorSpec { name: "samples".into(), dtype: DType::F32, shape: vec![4] };
    let ends = Ends { inputs: vec![input.clone()], outputs: vec![input] };
    let guest = leeway_interpret::guest::vibration();
    let draft = leeway_interpret::by_hand(&guest, &Options::default(), ends).unwrap();
    let error = draft.measure(vec![], &Measure::default()).unwrap_err();
    let InterpretError::NothingRuns(RunError::Guest(GuestError::InvalidInput(message))) = &error
    else {
        panic!("{error}");
    };
    assert!(message.contains("wanted U8[1, 512]"), "{message}");
}
