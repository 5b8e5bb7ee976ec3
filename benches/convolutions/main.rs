//! Single convolutions and poolings: the component under fuel beside native tract,
//! order-interleaved on one CPU. Prints for each shape the kernel that was chosen,
//! the rate of the direct algorithm's operations, and the ratio of CPU times. What
//! has outputs like its inputs is measured four times in a row, as in a model; of
//! the others, receiving the input and returning the output count, too.
//!
//! `cargo bench -p leeway-cli -p leeway-tests --bench convolutions -- [OPTIONS] [SHAPE...]`

#[path = "../layers.rs"]
mod layers;
#[path = "../models/race.rs"]
mod race;

use anyhow::{Context as _, Result};
use leeway_compiler::{Options, Oracle};
use leeway_runtime::sandbox::{Limits, Sandbox, SandboxConfig};
use leeway_tests::onnx::{Attribute, FLOAT, Graph};
use leeway_tests::random::{Random, Style};

use layers::Arguments;
use race::{here, race, renewed};

/// A window over an image: square, or 1-D with a height of 1.
struct Shape {
    what: &'static str,
    channels: usize,
    height: usize,
    width: usize,
    /// Output channels of a convolution; 0 for a pooling.
    outputs: usize,
    taps: usize,
    stride: usize,
    groups: usize,
}

const fn conv(what: &'static str, channels: usize, size: usize, outputs: usize) -> Shape {
    Shape { what, channels, height: size, width: size, outputs, taps: 3, stride: 1, groups: 1 }
}

const fn strided(mut shape: Shape, taps: usize, stride: usize) -> Shape {
    (shape.taps, shape.stride) = (taps, stride);
    shape
}

const fn depthwise(channels: usize, size: usize, taps: usize, stride: usize) -> Shape {
    let shape = strided(conv("depthwise", channels, size, channels), taps, stride);
    Shape { groups: channels, ..shape }
}

const fn flat(what: &'static str, channels: usize, width: usize, taps: usize) -> Shape {
    let shape = strided(conv(what, channels, 1, channels), taps, 1);
    Shape { width, ..shape }
}

const SHAPES: &[Shape] = &[
    conv("resnet", 64, 56, 64),
    conv("resnet", 128, 28, 128),
    conv("resnet", 256, 14, 256),
    conv("resnet", 512, 7, 512),
    strided(conv("resnet", 3, 224, 64), 7, 2),
    strided(conv("resnet", 64, 56, 128), 3, 2),
    strided(conv("resnet", 128, 28, 256), 3, 2),
    strided(conv("resnet", 256, 14, 512), 3, 2),
    conv("squeezenet", 16, 55, 64),
    conv("squeezenet", 32, 27, 128),
    conv("squeezenet", 48, 13, 192),
    conv("squeezenet", 64, 13, 256),
    conv("u-net", 3, 128, 16),
    conv("u-net", 16, 128, 16),
    conv("u-net", 64, 64, 32),
    conv("small", 1, 28, 8),
    conv("small", 8, 14, 16),
    conv("small", 8, 8, 8),
    strided(conv("inception", 64, 35, 96), 5, 1),
    strided(conv("mobilenet", 3, 224, 32), 3, 2),
    depthwise(32, 112, 3, 1),
    depthwise(96, 112, 3, 2),
    depthwise(144, 56, 3, 1),
    depthwise(144, 56, 3, 2),
    depthwise(192, 28, 3, 1),
    depthwise(384, 14, 3, 1),
    depthwise(576, 14, 3, 2),
    depthwise(960, 7, 3, 1),
    depthwise(240, 28, 5, 1),
    depthwise(240, 28, 5, 2),
    depthwise(672, 14, 5, 1),
    flat("ecg", 32, 500, 3),
    flat("ecg", 64, 250, 7),
    flat("ecg", 16, 1000, 16),
    strided(conv("max pool", 64, 112, 0), 3, 2),
    strided(conv("max pool", 16, 128, 0), 2, 2),
    strided(conv("max pool", 192, 28, 0), 3, 1),
];

fn main() -> Result<()> {
    let arguments = Arguments::of_command();
    println!(
        "{:<44} {:<22} {:>7} {:>11} {:>11} {:>8} {:>9} {:>9}",
        "shape", "kernel", "MMACs", "component", "tract", "GFLOP/s", "vs tract", "scratch"
    );
    for shape in SHAPES {
        let what = shape.describe();
        if arguments.want(&what) {
            measure(shape, &what, arguments.rounds)?;
        }
    }
    Ok(())
}

fn measure(shape: &Shape, what: &str, rounds: usize) -> Result<()> {
    let mut random = Random::new(1);
    let onnx = shape.onnx(&mut random);
    let options = Options { name: "convolution".into(), ..Options::default() };
    let sealed = leeway_compiler::compile(&onnx, &options)?.seal(&[]);
    let certificate = &sealed.certificate;
    let inputs = random.tensors(certificate.inputs(), Style::Tame);
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    let module = sandbox.load(&sealed.component)?;
    let oracle = Oracle::new(&onnx, &options)?;
    let last = certificate.last_stage();
    let times = race(
        &mut [
            renewed(
                || Ok(module.instantiate()?),
                |instance| Ok(instance.run(0..=last, &inputs, &Limits::default()).map(drop)?),
            ),
            here(|| Ok(oracle.run(&inputs).map(drop)?)),
        ],
        rounds,
    )?;
    let layers = certificate.stages.iter().flat_map(|stage| &stage.layers);
    let layer = layers.max_by_key(|layer| layer.fuel).context("a model has a layer")?;
    let [seconds, tract] = [times[0], times[1]].map(|t| t.as_secs_f64() / f64::from(shape.depth()));
    let macs = certificate.macs() as f64 / f64::from(shape.depth());
    println!(
        "{:<44} {:<22} {:>7.2} {:>8.4} ms {:>8.4} ms {:>8.1} {:>8.2}x {:>6} kB",
        what,
        layer.kernel,
        macs / 1e6,
        seconds * 1e3,
        tract * 1e3,
        2e-9 * macs / seconds,
        seconds / tract,
        certificate.activation_bytes / 1000,
    );
    Ok(())
}

impl Shape {
    /// How many there are in a row.
    fn depth(&self) -> u32 {
        if self.stride == 1 && [0, self.channels].contains(&self.outputs) { 4 } else { 1 }
    }

    fn describe(&self) -> String {
        let Self { what, channels, height, width, outputs, taps, stride, groups } = self;
        let window = if *height > 1 { format!("{taps}x{taps}") } else { taps.to_string() };
        let to = if *outputs > 0 { format!(" to {outputs}") } else { String::new() };
        let groups = if *groups > 1 { format!(" in {groups}") } else { String::new() };
        format!("{what} {window}/{stride} of {channels}x{height}x{width}{to}{groups}")
    }

    /// The convolution with a bias, or the pooling, with a `Relu`.
    fn onnx(&self, random: &mut Random) -> Vec<u8> {
        let axes = if self.height > 1 { 2 } else { 1 };
        let mut graph = Graph::new();
        let mut shape = vec![1.into(), self.channels.into(), self.width.into()];
        if axes == 2 {
            shape.insert(2, self.height.into());
        }
        let x = graph.input("x", FLOAT, &shape);
        let taps = vec![self.taps as i64; axes];
        let before = (self.taps - 1) / 2;
        // With stride 2, as the frameworks export it: what is before is after.
        let pads = match self.stride {
            1 => [vec![before as i64; axes], vec![(self.taps - 1 - before) as i64; axes]].concat(),
            _ if self.taps == 2 => vec![0; 2 * axes],
            _ => vec![before as i64; 2 * axes],
        };
        let strides = vec![self.stride as i64; axes];
        let mut attributes = vec![
            ("kernel_shape", Attribute::Ints(&taps)),
            ("strides", Attribute::Ints(&strides)),
            ("pads", Attribute::Ints(&pads)),
        ];
        let groups = ("group", Attribute::Int(self.groups as i64));
        attributes.extend((self.outputs > 0).then_some(groups));
        let mut output = x;
        for _ in 0..self.depth() {
            output = if self.outputs == 0 {
                graph.node("MaxPool", &[&output], &attributes)
            } else {
                let mut weight_shape = vec![self.outputs, self.channels / self.groups];
                weight_shape.extend(vec![self.taps; axes]);
                let count = weight_shape.iter().product();
                // Small enough that the numbers do not grow.
                let size = (count / self.outputs) as f32;
                let numbers: Vec<f32> = random.numbers(count).iter().map(|n| n / size).collect();
                let weights = graph.floats(&weight_shape, &numbers);
                let bias = graph.floats(&[self.outputs], &random.numbers(self.outputs));
                graph.node("Conv", &[&output, &weights, &bias], &attributes)
            };
            output = graph.node("Relu", &[&output], &[]);
        }
        graph.finish(&[&output])
    }
}
