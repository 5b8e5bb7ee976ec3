//! Components with relaxed SIMD: fuel is exact, outputs are near those without it, and
//! what is compared to the bit elsewhere is compared within a tolerance.

use leeway_compiler::{Options, compile};
use leeway_contract::certificate::Certificate;
use leeway_contract::section::GoldenVector;
use leeway_protocol::request::Request;
use leeway_runtime::golden;
use leeway_runtime::sandbox::{EngineKind, Limits, Sandbox};
use leeway_tests::architectures::ARCHITECTURES;
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::random::{Random, Style};

/// Networks whose layers are of all kinds that multiply and add.
const NETWORKS: &[&str] = &["mobilenet-v2", "resnet-18", "gru", "transformer", "u-net"];

fn network(name: &str) -> Vec<u8> {
    let network = ARCHITECTURES.iter().find(|network| network.name == name);
    let network = network.unwrap_or_else(|| panic!("there is no network {name}"));
    (network.onnx)(network.small)
}

fn options(relaxed_simd: bool) -> Options {
    Options { name: "relaxed".into(), relaxed_simd, ..Options::default() }
}

#[test]
fn fuel_is_exact_and_outputs_are_near() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(90);
    for name in NETWORKS {
        let mut pair = Pair::new(&sandbox, &network(name), &options(true));
        let certificate: &Certificate = pair.module.certificate();
        assert!(!certificate.is_bit_identical(), "{name}");
        pair.assert_fuel_of_all_ranges(&mut random);
        let inputs = pair.inputs(&mut random, Style::Tame);
        let difference = pair.difference(&inputs);
        assert!(difference <= 1e-4, "{name}: {difference:e} from native tract");
    }
}

#[test]
fn pulley_burns_the_same_fuel_and_is_within_the_tolerance() {
    let mut random = Random::new(91);
    for name in ["gru", "mobilenet-v2"] {
        let sealed = compile(&network(name), &options(true)).unwrap().seal(&[]);
        let tolerance = sealed.certificate.tolerance().expect("a tolerance is stated");
        let inputs = random.tensors(sealed.certificate.inputs(), Style::Tame);
        let run = |sandbox: Sandbox| {
            let mut instance = sandbox.load(&sealed.component).unwrap().instantiate().unwrap();
            let last = sealed.certificate.last_stage();
            instance.run(0..=last, &inputs, &Limits::default()).unwrap()
        };
        let [native, pulley] = [EngineKind::Native, EngineKind::Pulley].map(sandbox).map(run);
        assert_eq!((native.fuel, pulley.fuel), {
            let certified = sealed.certificate.total_fuel();
            (certified, certified)
        });
        for (native, pulley) in native.outputs.iter().zip(&pulley.outputs) {
            assert!(native.difference(pulley) <= tolerance, "{name}");
        }
    }
}

#[test]
fn golden_vectors_are_compared_within_the_tolerance_there_and_to_the_bit_elsewhere() {
    let mut random = Random::new(92);
    let sandbox = sandbox(EngineKind::Native);
    for relaxed_simd in [true, false] {
        let compiled = compile(&network("gru"), &options(relaxed_simd)).unwrap();
        let inputs = random.tensors(compiled.certificate().inputs(), Style::Tame);
        let module = sandbox.load(&compiled.seal(&[]).component).unwrap();
        let recorded = golden::record(&module, vec![inputs]).unwrap().remove(0);
        let replay_off_by = |factor: f32| {
            let GoldenVector { inputs, mut outputs } = recorded.clone();
            let numbers = outputs[0].to_f32().unwrap();
            outputs[0].data = numbers.iter().flat_map(|x| (x * factor).to_le_bytes()).collect();
            let sealed = compiled.seal(&[GoldenVector { inputs, outputs }]);
            golden::replay(&sandbox.load(&sealed.component).unwrap())
        };
        assert_eq!(replay_off_by(1.0), Ok(()));
        assert_eq!(replay_off_by(1.0 + 1e-5).is_ok(), relaxed_simd);
        assert!(replay_off_by(1.1).is_err());
    }
}

#[test]
fn a_part_on_another_machine_is_refused() {
    let range = |relaxed_simd: bool, parameters: &str| {
        let compiled = compile(&network("gru"), &options(relaxed_simd)).unwrap();
        let json = format!(r#"{{"inputs": [], "parameters": {parameters}}}"#);
        let request = Request::decode(json.as_bytes(), None).unwrap();
        request.parameters.range(compiled.certificate()).map_err(|error| error.to_string())
    };
    let part = r#"{"first_stage": 1}"#;
    assert_eq!(range(false, part), Ok(1..=2));
    let error = range(true, part).unwrap_err();
    assert!(error.contains("relaxed SIMD"), "{error}");
    assert_eq!(range(true, "{}"), Ok(0..=2));
}

#[test]
fn without_the_option_nothing_is_relaxed() {
    let onnx = network("gru");
    let (exact, relaxed) = (compile(&onnx, &options(false)), compile(&onnx, &options(true)));
    let (exact, relaxed) = (exact.unwrap().seal(&[]), relaxed.unwrap().seal(&[]));
    assert!(exact.certificate.is_bit_identical());
    let uses_relaxed_simd = |component: &[u8]| {
        wasmparser::Parser::new(0).parse_all(component).any(|payload| match payload.unwrap() {
            wasmparser::Payload::CodeSectionEntry(body) => {
                let operators = body.get_operators_reader().unwrap();
                operators.into_iter().any(|operator| {
                    matches!(operator.unwrap(), wasmparser::Operator::F32x4RelaxedMadd)
                })
            }
            _ => false,
        })
    };
    assert!(!uses_relaxed_simd(&exact.component));
    assert!(uses_relaxed_simd(&relaxed.component));
}
