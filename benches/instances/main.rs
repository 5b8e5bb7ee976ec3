//! What a call costs whose instance is a fresh one, as with every component that the
//! compiler did not emit: made on demand, and from a pool.
//!
//! `cargo bench -p leeway-cli -p leeway-tests --bench instances -- [OPTIONS]`
//!
//! Of a component written by hand and of an interpreted model, on one thread and on
//! several at once: the median time of a call, with its instance, and in it of the run
//! alone; and the page faults of one call, as the kernel counts them for the whole
//! process. The contestants take turns.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use leeway_compiler::Options;
use leeway_contract::{DType, Tensor, TensorSpec};
use leeway_guest_models::reference_model;
use leeway_interpret::{Draft, Ends, Measure};
use leeway_runtime::sandbox::{InstancePool, Limits, Module, Sandbox, SandboxConfig};
use leeway_tests::random::{Random, Style};

/// Compare instances that are made on demand with those of a pool.
#[derive(Parser)]
struct Arguments {
    /// Reference models to interpret, by name.
    #[arg(default_values = ["mlp-digits", "cnn-digits"])]
    models: Vec<String>,
    /// Calls in a turn.
    #[arg(long, default_value_t = 200)]
    calls: usize,
    /// Turns.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Threads that call at the same time, besides one alone.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A component, and an input for it.
struct Subject {
    name: String,
    component: Vec<u8>,
    inputs: Vec<Tensor>,
}

/// The bytes that a pool keeps of a memory; `None` is no pool.
const CONTESTANTS: [(&str, Option<usize>); 5] = [
    ("on demand", None),
    ("pool, keeps 0", Some(0)),
    ("pool, keeps 256 KiB", Some(256 << 10)),
    ("pool, keeps 4 MiB", Some(4 << 20)),
    ("pool, keeps 64 MiB", Some(64 << 20)),
];

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cache = tempfile::tempdir()?;
    let mut subjects = vec![by_hand()?];
    for name in &arguments.models {
        subjects.push(interpreted(name)?);
    }
    let sandboxes = CONTESTANTS.map(|(_, keeps)| {
        let pool = keeps.map(|keep_resident_bytes| InstancePool {
            instances: arguments.threads as u32 + 2,
            memory_bytes: 4 << 30,
            keep_resident_bytes,
        });
        let cache_dir = Some(cache.path().join("code"));
        Sandbox::new(SandboxConfig { cache_dir, pool, ..SandboxConfig::default() })
    });
    let sandboxes = sandboxes.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!(
        "{:<24} {:>7} {:<22} {:>10} {:>10} {:>8}",
        "component", "threads", "instances", "call us", "run us", "faults"
    );
    for subject in &subjects {
        let modules = sandboxes.iter().map(|sandbox| sandbox.load(&subject.component));
        let modules = modules.collect::<Result<Vec<_>, _>>()?;
        for threads in [1, arguments.threads] {
            compare(&arguments, subject, &modules, threads);
        }
    }
    Ok(())
}

fn by_hand() -> Result<Subject> {
    let spec = |name: &str, dtype, shape| TensorSpec { name: name.into(), dtype, shape };
    let ends = Ends {
        inputs: vec![spec("samples", DType::U8, vec![1, 512])],
        outputs: vec![
            spec("probabilities", DType::F32, vec![1, 3]),
            spec("alarm", DType::Bool, vec![1]),
        ],
    };
    let options = Options { name: "vibration".into(), ..Options::default() };
    let guest = leeway_interpret::guest::vibration();
    subject("vibration, by hand", leeway_interpret::by_hand(&guest, &options, ends)?)
}

fn interpreted(name: &str) -> Result<Subject> {
    let model = reference_model(name).with_context(|| format!("no reference model {name}"))?;
    let options = Options { name: name.into(), version: "1".into(), ..Options::default() };
    let draft = leeway_interpret::interpret(model.onnx, &options)?;
    subject(&format!("{name}, interpreted"), draft)
}

fn subject(name: &str, draft: Draft) -> Result<Subject> {
    let measured = draft.measure(Vec::new(), &Measure::default())?;
    let inputs = Random::new(1).tensors(measured.certificate.inputs(), Style::Tame);
    println!("{name}: {} of memory, {} units of fuel", measured.memory_bytes, measured.fuel.1);
    Ok(Subject { name: name.into(), component: measured.component, inputs })
}

/// What one contestant showed in its turns.
#[derive(Default)]
struct Seen {
    calls: Vec<Duration>,
    runs: Vec<Duration>,
    faults: u64,
}

fn compare(arguments: &Arguments, subject: &Subject, modules: &[Module], threads: usize) {
    let mut seen: Vec<Seen> = modules.iter().map(|_| Seen::default()).collect();
    for round in 0..arguments.rounds {
        for turn in 0..modules.len() {
            let place = (turn + round) % modules.len();
            take_turn(&modules[place], &subject.inputs, arguments.calls, threads, &mut seen[place]);
        }
    }
    for ((contestant, _), mut seen) in CONTESTANTS.iter().zip(seen) {
        let calls = seen.calls.len() as u64;
        let micros = |times: &mut [Duration]| {
            let middle = times.len() / 2;
            times.select_nth_unstable(middle).1.as_secs_f64() * 1e6
        };
        let (call, run) = (micros(&mut seen.calls), micros(&mut seen.runs));
        println!(
            "{:<24} {threads:>7} {contestant:<22} {call:>10.1} {run:>10.1} {:>8.1}",
            subject.name,
            seen.faults as f64 / calls as f64
        );
    }
}

fn take_turn(module: &Module, inputs: &[Tensor], calls: usize, threads: usize, seen: &mut Seen) {
    let begin = Barrier::new(threads);
    let before = faults();
    std::thread::scope(|scope| {
        let one = || {
            begin.wait();
            (0..calls).map(|_| call(module, inputs)).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        for worker in workers {
            let (calls, runs): (Vec<_>, Vec<_>) =
                worker.join().expect("no call fails").into_iter().unzip();
            seen.calls.extend(calls);
            seen.runs.extend(runs);
        }
    });
    seen.faults += faults() - before;
}

/// The time of a call with its instance, until that is gone, and of the run in it.
fn call(module: &Module, inputs: &[Tensor]) -> (Duration, Duration) {
    let start = Instant::now();
    let mut instance = module.instantiate().expect("it makes an instance");
    let last = module.certificate().last_stage();
    let run = instance.run(0..=last, inputs, &Limits::default()).expect("it runs");
    drop(instance);
    (start.elapsed(), run.elapsed)
}

/// The page faults of this process so far that needed no disk.
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may have spaces in it; the eighth field then.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().nth(7).and_then(|field| field.parse().ok()).unwrap_or(0)
}
