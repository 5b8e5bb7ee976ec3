//! Products of matrices: dense layers, computed matrices and 1x1 convolutions, under
//! fuel beside native tract, order-interleaved on one CPU. Prints for each shape the
//! kernel that was chosen, its rate, that rate as a part of what 128-bit vectors can
//! do here at most (measured before), and the ratio of CPU times.
//!
//! `cargo bench -p leeway-cli -p leeway-tests --bench products -- [OPTIONS] [SHAPE...]`

#[path = "../layers.rs"]
mod layers;
#[path = "../peak.rs"]
mod peak;
#[path = "../models/race.rs"]
mod race;

use anyhow::{Context as _, Result};
use leeway_compiler::{Options, Oracle};
use leeway_runtime::sandbox::{Instance, Limits, Module, Sandbox, SandboxConfig};
use leeway_tests::onnx::{Attribute, FLOAT, Graph};
use leeway_tests::random::{Random, Style};

use layers::Arguments;
use race::{here, race, renewed};

/// What is multiplied: `m x k` by `k x n`.
enum Shape {
    /// A matrix by constant weights.
    Dense { m: usize, k: usize, n: usize },
    /// Two computed matrices, `batch` times.
    MatMul { batch: usize, m: usize, k: usize, n: usize },
    /// Square images by constant weights.
    Pointwise { channels: usize, size: usize, outputs: usize },
}

const fn dense(m: usize, k: usize, n: usize) -> Shape {
    Shape::Dense { m, k, n }
}

const fn pointwise(channels: usize, size: usize, outputs: usize) -> Shape {
    Shape::Pointwise { channels, size, outputs }
}

const SHAPES: &[Shape] = &[
    dense(1, 64, 64),
    dense(1, 128, 384),
    dense(1, 1600, 128),
    dense(1, 1280, 1000),
    dense(16, 64, 256),
    dense(64, 256, 256),
    dense(256, 512, 512),
    Shape::MatMul { batch: 4, m: 64, k: 32, n: 64 },
    Shape::MatMul { batch: 4, m: 64, k: 64, n: 32 },
    Shape::MatMul { batch: 1, m: 256, k: 256, n: 256 },
    pointwise(16, 112, 96),
    pointwise(24, 56, 144),
    pointwise(144, 56, 24),
    pointwise(32, 28, 192),
    pointwise(192, 28, 32),
    pointwise(64, 14, 384),
    pointwise(384, 14, 64),
    pointwise(576, 14, 96),
    pointwise(160, 7, 960),
    pointwise(960, 7, 160),
    pointwise(320, 7, 1280),
];

fn main() -> Result<()> {
    let arguments = Arguments::of_command();
    let peak = peak::peak();
    match peak {
        Some(peak) => println!("128-bit vectors multiply and add at {:.1} GFLOP/s", peak / 1e9),
        None => println!("the peak of 128-bit vectors is measured on x86-64 only"),
    }
    println!(
        "{:<30} {:<14} {:>7} {:>11} {:>11} {:>8} {:>7} {:>9} {:>9}",
        "shape", "kernel", "MMACs", "component", "tract", "GFLOP/s", "peak", "metering", "vs tract"
    );
    for shape in SHAPES {
        let what = shape.describe();
        if arguments.want(&what) {
            measure(shape, &what, peak, arguments.rounds)?;
        }
    }
    Ok(())
}

fn measure(shape: &Shape, what: &str, peak: Option<f64>, rounds: usize) -> Result<()> {
    let mut random = Random::new(1);
    let onnx = shape.onnx(&mut random);
    let options = Options { name: "product".into(), ..Options::default() };
    let sealed = leeway_compiler::compile(&onnx, &options)?.seal(&[]);
    let certificate = &sealed.certificate;
    let inputs = random.tensors(certificate.inputs(), Style::Tame);
    let module = |metered| -> Result<Module> {
        let sandbox = Sandbox::new(SandboxConfig { metered, ..SandboxConfig::default() })?;
        Ok(sandbox.load(&sealed.component)?)
    };
    let (metered, unmetered) = (module(true)?, module(false)?);
    let oracle = Oracle::new(&onnx, &options)?;
    let last = certificate.last_stage();
    let run = |instance: &mut Instance| {
        Ok(instance.run(0..=last, &inputs, &Limits::default()).map(drop)?)
    };
    let times = race(
        &mut [
            renewed(|| Ok(metered.instantiate()?), run),
            renewed(|| Ok(unmetered.instantiate()?), run),
            here(|| Ok(oracle.run(&inputs).map(drop)?)),
        ],
        rounds,
    )?;
    let layers = certificate.stages.iter().flat_map(|stage| &stage.layers);
    let layer = layers.max_by_key(|layer| layer.macs).context("a model has a layer")?;
    let [seconds, unmetered, tract] = [0, 1, 2].map(|which| times[which].as_secs_f64());
    let rate = 2.0 * certificate.macs() as f64 / seconds;
    println!(
        "{:<30} {:<14} {:>7.2} {:>8.1} us {:>8.1} us {:>8.1} {:>7} {:>7.1} % {:>8.2}x",
        what,
        layer.kernel,
        certificate.macs() as f64 / 1e6,
        seconds * 1e6,
        tract * 1e6,
        rate / 1e9,
        peak.map_or_else(String::new, |peak| format!("{:.0} %", 100.0 * rate / peak)),
        100.0 * (seconds / unmetered - 1.0),
        seconds / tract,
    );
    Ok(())
}

impl Shape {
    fn describe(&self) -> String {
        match self {
            Shape::Dense { m, k, n } => format!("dense {m}x{k} by {n}"),
            Shape::MatMul { batch, m, k, n } => format!("matmul {batch} of {m}x{k} by {n}"),
            Shape::Pointwise { channels, size, outputs } => {
                format!("1x1 of {channels}x{size}x{size} to {outputs}")
            }
        }
    }

    fn onnx(&self, random: &mut Random) -> Vec<u8> {
        let mut graph = Graph::new();
        let output = match *self {
            Shape::Dense { m, k, n } => {
                let x = graph.input("x", FLOAT, &[m.into(), k.into()]);
                let weights = graph.floats(&[k, n], &random.numbers(k * n));
                let bias = graph.floats(&[n], &random.numbers(n));
                graph.node("Gemm", &[&x, &weights, &bias], &[])
            }
            Shape::MatMul { batch, m, k, n } => {
                let left = graph.input("left", FLOAT, &[batch.into(), m.into(), k.into()]);
                let right = graph.input("right", FLOAT, &[batch.into(), k.into(), n.into()]);
                graph.node("MatMul", &[&left, &right], &[])
            }
            Shape::Pointwise { channels, size, outputs } => {
                let shape = [1, channels, size, size].map(Into::into);
                let x = graph.input("x", FLOAT, &shape);
                let numbers = random.numbers(outputs * channels);
                let weights = graph.floats(&[outputs, channels, 1, 1], &numbers);
                let bias = graph.floats(&[outputs], &random.numbers(outputs));
                let kernel = [("kernel_shape", Attribute::Ints(&[1, 1]))];
                graph.node("Conv", &[&x, &weights, &bias], &kernel)
            }
        };
        let output = graph.node("Relu", &[&output], &[]);
        graph.finish(&[&output])
    }
}
