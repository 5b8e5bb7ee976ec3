//! The architectures that people deploy, each at a size that keeps the test
//! short: outputs against native tract, fuel against the certificate, ranges of
//! stages against the whole, Pulley against native code.

use leeway_compiler::Options;
use leeway_runtime::sandbox::EngineKind;
use leeway_tests::architectures::{ARCHITECTURES, Architecture};
use leeway_tests::compare::{Pair, sandbox};
use leeway_tests::random::{Random, STYLES, Style};

/// How far outputs may be from tract's: the layers' rounding errors add up.
const TOLERANCE: f32 = 1e-4;

fn check(architecture: &Architecture) {
    let Architecture { name, small, onnx, .. } = *architecture;
    let onnx = onnx(small);
    let options = Options { name: name.into(), file: name.into(), ..Options::default() };
    let mut pair = Pair::new(&sandbox(EngineKind::Native), &onnx, &options);
    let mut random = Random::new(7);

    let inputs = pair.inputs(&mut random, Style::Tame);
    let difference = pair.difference(&inputs);
    assert!(difference <= TOLERANCE, "{name} differs from native tract by {difference}");

    pair.assert_fuel_of_all_ranges(&mut random);

    let pulley = sandbox(EngineKind::Pulley).load(&pair.sealed.component).expect("it loads");
    let mut pulley = pulley.instantiate().expect("an instance of a loaded module");
    let last = pair.module.certificate().last_stage();
    for style in STYLES.into_iter().take(2) {
        let inputs = pair.inputs(&mut random, style);
        let native = pair.run(0..=last, &inputs);
        let run = pulley.run(0..=last, &inputs, &Default::default()).expect("it runs on Pulley");
        assert_eq!(run.outputs, native, "{name}: Pulley's outputs on {style:?} inputs");
        assert_eq!(Some(run.fuel), pair.module.certificate().fuel(0..=last), "{name}: fuel");
    }
}

macro_rules! architectures {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                let of_that_name = |a: &&Architecture| a.name == $name;
                check(ARCHITECTURES.iter().find(of_that_name).expect("an architecture's name"));
            }
        )*

        #[test]
        fn all_are_tested() {
            let tested = [$($name),*];
            for architecture in &ARCHITECTURES {
                assert!(tested.contains(&architecture.name), "{} is not", architecture.name);
            }
        }
    };
}

architectures! {
    mobilenet_v2: "mobilenet-v2",
    mobilenet_v3_small: "mobilenet-v3-small",
    efficientnet_b0: "efficientnet-b0",
    shufflenet_v2: "shufflenet-v2",
    resnet_18: "resnet-18",
    resnet_50: "resnet-50",
    squeezenet: "squeezenet",
    u_net: "u-net",
    detector: "detector",
    ecg_resnet: "ecg-resnet",
    auto_encoder: "auto-encoder",
    gru: "gru",
    lstm: "lstm",
    transformer: "transformer",
    forest_1: "forest-1",
    forest_64: "forest-64",
    boosted_1: "boosted-1",
    boosted_64: "boosted-64",
    deep_boosted_1: "deep-boosted-1",
    deep_boosted_64: "deep-boosted-64",
}
