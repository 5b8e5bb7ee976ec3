//! Kernels that are chosen: each that may be is right, the choice is in the certificate,
//! and the same choice gives the same component.

use leeway_compiler::{Options, Tunable, Tuning, compile};
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::architectures::ARCHITECTURES;
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::random::{Random, Style};

fn network(name: &str) -> Vec<u8> {
    let network = ARCHITECTURES.iter().find(|network| network.name == name);
    let network = network.unwrap_or_else(|| panic!("there is no network {name}"));
    (network.onnx)(network.small)
}

fn options(tuning: Tuning) -> Options {
    Options { name: "tuned".into(), file: "net.onnx".into(), tuning, ..Options::default() }
}

fn tunable(onnx: &[u8]) -> Vec<Tunable> {
    compile(onnx, &options(Tuning::new())).unwrap().tunable().to_vec()
}

/// Of each problem the candidate with this number, or the last.
fn candidates(tunable: &[Tunable], number: usize) -> Tuning {
    let of = |each: &Tunable| each.kernels[number.min(each.kernels.len() - 1)].clone();
    tunable.iter().map(|each| (each.problem.clone(), of(each))).collect()
}

#[test]
fn every_candidate_is_right_and_is_what_the_certificate_names() {
    let sandbox = sandbox(EngineKind::Native);
    let mut random = Random::new(95);
    for name in ["resnet-18", "squeezenet", "transformer", "gru", "ecg-resnet"] {
        let onnx = network(name);
        let tunable = tunable(&onnx);
        let most = tunable.iter().map(|each| each.kernels.len()).max().expect("a layer to tune");
        assert!(most > 2, "{name}: {most} candidates");
        for number in 0..most {
            let tuning = candidates(&tunable, number);
            let mut pair = Pair::new(&sandbox, &onnx, &options(tuning.clone()));
            let layers: Vec<String> =
                pair.sealed.certificate.layers().map(|(_, layer)| layer.kernel.clone()).collect();
            for each in &tunable {
                assert_eq!(layers[each.layer], tuning[&each.problem], "{name}: {each:?}");
            }
            let inputs = pair.inputs(&mut random, Style::Tame);
            let difference = pair.difference(&inputs);
            assert!(difference <= 1e-4, "{name}, candidate {number}: {difference:e} from tract");
            let last = pair.module.certificate().last_stage();
            pair.run(0..=last, &inputs);
        }
    }
}

#[test]
fn the_first_candidates_are_the_estimates_and_the_same_choice_is_the_same_component() {
    let onnx = network("resnet-18");
    let tunable = tunable(&onnx);
    let built = |tuning: Tuning| compile(&onnx, &options(tuning)).unwrap().seal(&[]).component;
    assert_eq!(built(Tuning::new()), built(candidates(&tunable, 0)));
    assert_eq!(built(candidates(&tunable, 1)), built(candidates(&tunable, 1)));
    assert_ne!(built(candidates(&tunable, 0)), built(candidates(&tunable, 1)));
}

#[test]
fn a_kernel_that_there_is_not_is_an_error_that_names_those_that_there_are() {
    let onnx = network("gru");
    let first = tunable(&onnx).remove(0);
    let tuning = Tuning::from([(first.problem.clone(), "dense 99x4".into())]);
    let error = compile(&onnx, &options(tuning)).unwrap_err().to_string();
    for part in ["net.onnx", &first.problem, "dense 99x4", &first.kernels[1]] {
        assert!(error.contains(part), "{error}");
    }
    let other = Tuning::from([("of another model".into(), "dense 1x4".into())]);
    assert!(compile(&onnx, &options(other)).is_ok(), "a file may serve several models");
}
