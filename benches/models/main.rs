//! Whole models: the component under fuel, the component without metering,
//! native tract and ONNX Runtime on one thread, order-interleaved on one CPU.
//! Prints a table of CPU times and ratios, and the rate of FP32 models as a part of what
//! 128-bit vectors can do here at most: a ratio times that part is the least that plain
//! sums allow, whatever the kernels. Peers have wider vectors where the processor has.
//!
//! `cargo bench -p leeway-cli -p leeway-tests --bench models -- [OPTIONS] [MODEL...]`
//!
//! ONNX Runtime takes part, and the 8-bit models with it, if `--onnxruntime`
//! names a Python interpreter that has it (`tests/interop/requirements.txt`).

mod onnxruntime;
#[path = "../peak.rs"]
mod peak;
mod race;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use leeway_compiler::{Options, Oracle};
use leeway_contract::Tensor;
use leeway_guest_models::reference_models;
use leeway_runtime::sandbox::{Instance, Limits, Module, Sandbox, SandboxConfig};
use leeway_tests::architectures::{ARCHITECTURES, Architecture};
use leeway_tests::random::{Random, Style};

use onnxruntime::OnnxRuntime;
use race::{Contestant, here, race, renewed, stay_on};

/// The architectures that are measured if none is named, besides the reference
/// models.
const USUAL: [&str; 5] = ["mobilenet-v2", "resnet-18", "squeezenet", "gru", "transformer"];

/// Compare components with native runtimes.
#[derive(Parser)]
struct Arguments {
    /// The models, by name; `all` for every one that is known.
    models: Vec<String>,
    /// A Python interpreter that has onnxruntime and onnx.
    #[arg(long, value_name = "PYTHON")]
    onnxruntime: Option<PathBuf>,
    /// Rounds, in each of which every contestant has one turn.
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// The CPU that all run on; the last that is allowed, if not given.
    #[arg(long)]
    cpu: Option<usize>,
    /// Only the FP32 models.
    #[arg(long)]
    f32_only: bool,
    /// Compile with relaxed SIMD: not the same bits on every machine.
    #[arg(long)]
    relaxed_simd: bool,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cpu = stay_on(arguments.cpu);
    let python = arguments.onnxruntime.as_deref();
    let mut peer = python.map(|python| OnnxRuntime::start(python, cpu)).transpose()?;
    if let Some(peer) = &peer {
        println!("ONNX Runtime {}", peer.version);
    }
    let peak = peak::peak();
    if let Some(peak) = peak {
        println!("128-bit vectors multiply and add at {:.1} GFLOP/s", peak / 1e9);
    }
    println!(
        "{:<22} {:>8} {:>11} {:>11} {:>11} {:>11} {:>9} {:>8} {:>9} {:>8} {:>6} {:>9}",
        "model",
        "MMACs",
        "component",
        "unmetered",
        "tract",
        "ORT",
        "vs tract",
        "vs ORT",
        "metering",
        "GFLOP/s",
        "peak",
        "apart"
    );
    let folder = tempfile::tempdir()?;
    for (name, onnx) in models(&arguments.models)? {
        let file = folder.path().join("model.onnx");
        std::fs::write(&file, &onnx)?;
        report(&name, measure(&file, peer.as_mut(), &arguments), peak);
        if let (Some(peer), false) = (&mut peer, arguments.f32_only) {
            let int8 = folder.path().join("int8.onnx");
            let row = peer.quantise(&file, &int8);
            let row = row.and_then(|()| measure(&int8, Some(peer), &arguments));
            report(&format!("{name} int8"), row, None);
        }
    }
    Ok(())
}

/// The models of these names: reference models and architectures.
fn models(names: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
    let all = names.iter().any(|name| name == "all");
    let reference = reference_models().iter().map(|model| (model.name, None));
    let built = ARCHITECTURES.iter().map(|each| (each.name, Some(*each)));
    let known: Vec<(&str, Option<Architecture>)> = reference.chain(built).collect();
    for name in names.iter().filter(|name| *name != "all") {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        known
            .iter()
            .find(|(known, _)| known == name)
            .with_context(|| format!("no model {name}; there are {}", names.join(", ")))?;
    }
    let wanted = |name: &str, architecture: bool| match names {
        [] => !architecture || USUAL.contains(&name),
        names => all || names.iter().any(|wanted| wanted == name),
    };
    let onnx = |name: &str| {
        let model = reference_models().iter().find(|model| model.name == name);
        model.map(|model| model.onnx.to_vec()).unwrap_or_default()
    };
    let wanted = known.into_iter().filter(|(name, built)| wanted(name, built.is_some()));
    Ok(wanted
        .map(|(name, built)| {
            (name.to_owned(), built.map_or_else(|| onnx(name), |each| (each.onnx)(each.size)))
        })
        .collect())
}

/// What was seen of one model.
struct Row {
    macs: u64,
    metered: Duration,
    unmetered: Duration,
    tract: Option<Duration>,
    onnxruntime: Option<Duration>,
    /// The largest difference of ONNX Runtime's outputs, relative to the largest
    /// of the number, the root mean square of its tensor and 1e-6.
    apart: Option<f64>,
}

fn measure(file: &Path, mut peer: Option<&mut OnnxRuntime>, arguments: &Arguments) -> Result<Row> {
    let onnx = std::fs::read(file)?;
    let relaxed_simd = arguments.relaxed_simd;
    let options = Options { name: "model".into(), relaxed_simd, ..Options::default() };
    let sealed = leeway_compiler::compile(&onnx, &options)?.seal(&[]);
    let specs = sealed.certificate.inputs().to_vec();
    let inputs = Random::new(1).tensors(&specs, Style::Tame);
    let metered = module(&sealed.component, true)?;
    let unmetered = module(&sealed.component, false)?;
    let outputs = run(&mut metered.instantiate()?, &inputs)?;
    // What tract cannot run, the others still do. Trees and 8-bit integers are not
    // tract's: our graph has an evaluation of them that is not made for speed.
    let ours = ["TreeEnsemble", "QuantizeLinear", "DynamicQuantizeLinear", "QLinear"];
    let mut layers = sealed.certificate.stages.iter().flat_map(|stage| &stage.layers);
    let is_tracts = !layers.any(|layer| ours.iter().any(|ours| layer.operator.starts_with(ours)));
    let oracle = Oracle::new(&onnx, &options).ok();
    let oracle = oracle.filter(|oracle| is_tracts && oracle.run(&inputs).is_ok());

    let mut apart = None;
    if let Some(peer) = &mut peer {
        let folder = file.parent().context("the file is in a folder")?;
        peer.load(file, &specs, &inputs, folder)?;
        let theirs = peer.outputs(outputs.len(), folder)?;
        let pairs = outputs.iter().zip(&theirs);
        apart = pairs.filter_map(|(ours, theirs)| difference(ours, theirs)).reduce(f64::max);
    }

    let mut contestants: Vec<Contestant> = vec![
        renewed(|| Ok(metered.instantiate()?), |instance| run(instance, &inputs).map(drop)),
        renewed(|| Ok(unmetered.instantiate()?), |instance| run(instance, &inputs).map(drop)),
    ];
    if let Some(oracle) = &oracle {
        contestants.push(here(|| Ok(oracle.run(&inputs).map(drop)?)));
    }
    if let Some(peer) = &mut peer {
        contestants.push(Box::new(|repeats| {
            peer.run(1)?;
            peer.run(repeats)
        }));
    }
    let times = race(&mut contestants, arguments.rounds)?;
    drop(contestants);
    Ok(Row {
        macs: sealed.certificate.macs(),
        metered: times[0],
        unmetered: times[1],
        tract: oracle.is_some().then(|| times[2]),
        onnxruntime: peer.is_some().then(|| times[times.len() - 1]),
        apart,
    })
}

/// Prints a row, with its rate as a part of `peak`, in operations per second, if it is
/// known what is the most.
fn report(name: &str, row: Result<Row>, peak: Option<f64>) {
    let row = match row {
        Ok(row) => row,
        Err(error) => return println!("{name:<22} {error:#}"),
    };
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    let time = |time: Option<Duration>| {
        time.map_or("-".into(), |time| format!("{:.4} ms", time.as_secs_f64() * 1e3))
    };
    let beside = |peer: Option<Duration>| {
        peer.map_or("-".into(), |peer| format!("{:.2}x", ratio(row.metered, peer)))
    };
    let rate = 2.0 * row.macs as f64 / row.metered.as_secs_f64();
    println!(
        "{:<22} {:>8.2} {:>11} {:>11} {:>11} {:>11} {:>9} {:>8} {:>8.1}% {:>8.1} {:>6} {:>9}",
        name,
        row.macs as f64 / 1e6,
        time(Some(row.metered)),
        time(Some(row.unmetered)),
        time(row.tract),
        time(row.onnxruntime),
        beside(row.tract),
        beside(row.onnxruntime),
        100.0 * (ratio(row.metered, row.unmetered) - 1.0),
        rate / 1e9,
        peak.map_or("-".into(), |peak| format!("{:.0} %", 100.0 * rate / peak)),
        row.apart.map_or("-".into(), |apart| format!("{apart:.1e}")),
    );
}

/// How far two FP32 tensors are apart; `None` if they are not FP32.
fn difference(ours: &Tensor, theirs: &[u8]) -> Option<f64> {
    let ours = ours.to_f32()?;
    let theirs: Vec<f64> = theirs
        .chunks_exact(4)
        .map(|bytes| f64::from(f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])))
        .collect();
    if ours.len() != theirs.len() {
        return Some(f64::INFINITY);
    }
    let mean_square = theirs.iter().map(|x| x * x).sum::<f64>() / theirs.len() as f64;
    let least = mean_square.sqrt().max(1e-6);
    let pairs = ours.iter().zip(&theirs);
    pairs.map(|(&a, &b)| (f64::from(a) - b).abs() / b.abs().max(least)).reduce(f64::max)
}

fn module(component: &[u8], metered: bool) -> Result<Module> {
    let config = SandboxConfig { metered, ..SandboxConfig::default() };
    Ok(Sandbox::new(config)?.load(component)?)
}

fn run(instance: &mut Instance, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let last = instance.module().certificate().last_stage();
    Ok(instance.run(0..=last, inputs, &Limits::default())?.outputs)
}
