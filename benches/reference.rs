//! The reference models: the component under fuel, the component without
//! metering, and native tract, order-interleaved in one process. Prints a table
//! of medians and of ratios to native tract.
//!
//! `cargo bench -p leeway-tests --bench reference [-- MODEL...]`

use std::time::{Duration, Instant};

use leeway_compiler::{Options, Oracle};
use leeway_contract::Tensor;
use leeway_guest_models::{ReferenceModel, reference_models};
use leeway_runtime::sandbox::{Instance, Limits, Sandbox, SandboxConfig};

/// Rounds, each of which runs every contestant once, in rotated order.
const ROUNDS: usize = 400;

/// What one round's run of a contestant takes at least, so that the clock's own
/// cost does not count.
const SLICE: Duration = Duration::from_micros(200);

/// Something that runs the model once.
type Contestant = Box<dyn FnMut(&[Tensor])>;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    println!(
        "{:<14} {:>12} {:>12} {:>12} {:>9} {:>9} {:>9}",
        "model", "component", "unmetered", "tract", "vs tract", "metering", "GFLOP/s"
    );
    for model in reference_models() {
        if wanted.is_empty() || wanted.iter().any(|name| name == model.name) {
            bench(model);
        }
    }
}

fn bench(model: &ReferenceModel) {
    let options = Options { name: model.name.to_string(), ..Options::default() };
    let sealed = leeway_compiler::compile(model.onnx, &options).expect("it compiles").seal(&[]);
    let input = model.validation().expect("its data is embedded").inputs.swap_remove(0);
    let mut metered = instance(&sealed.component, true);
    let mut unmetered = instance(&sealed.component, false);
    let oracle = Oracle::new(model.onnx, &options).expect("tract reads it");

    let inputs = [input];
    let mut contestants: [Contestant; 3] = [
        Box::new(move |inputs| run(&mut metered, inputs)),
        Box::new(move |inputs| run(&mut unmetered, inputs)),
        Box::new(move |inputs| drop(oracle.run(inputs).expect("tract runs it"))),
    ];
    let repeats: Vec<u32> = contestants.iter_mut().map(|c| repeats(c, &inputs)).collect();
    let mut times = vec![Vec::with_capacity(ROUNDS); contestants.len()];
    for round in 0..ROUNDS {
        for turn in 0..contestants.len() {
            let which = (round + turn) % contestants.len();
            let start = Instant::now();
            for _ in 0..repeats[which] {
                contestants[which](&inputs);
            }
            times[which].push(start.elapsed() / repeats[which]);
        }
    }
    let [metered, unmetered, tract] = [0, 1, 2].map(|which| median(&mut times[which]));
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    let flops = 2.0 * sealed.certificate.macs() as f64 / metered.as_secs_f64();
    println!(
        "{:<14} {:>12} {:>12} {:>12} {:>8.2}x {:>8.1}% {:>9.2}",
        model.name,
        micros(metered),
        micros(unmetered),
        micros(tract),
        ratio(metered, tract),
        100.0 * (ratio(metered, unmetered) - 1.0),
        flops / 1e9,
    );
}

fn instance(component: &[u8], metered: bool) -> Instance {
    let config = SandboxConfig { metered, ..SandboxConfig::default() };
    let sandbox = Sandbox::new(config).expect("the engine starts");
    let module = sandbox.load(component).expect("the component loads");
    module.instantiate().expect("an instance of a loaded module")
}

fn run(instance: &mut Instance, inputs: &[Tensor]) {
    let last = instance.module().certificate().last_stage();
    instance.run(0..=last, inputs, &Limits::default()).expect("the component runs");
}

fn repeats(contestant: &mut dyn FnMut(&[Tensor]), inputs: &[Tensor]) -> u32 {
    contestant(inputs);
    let start = Instant::now();
    let mut runs = 0;
    while start.elapsed() < SLICE * 10 {
        contestant(inputs);
        runs += 1;
    }
    (runs / 10).max(1)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> String {
    format!("{:.1} us", time.as_secs_f64() * 1e6)
}
