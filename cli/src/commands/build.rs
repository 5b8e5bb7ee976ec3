//! `leeway build`: an ONNX model becomes a component with a certificate, checked
//! against native tract where golden inputs are given. What the compiler does not
//! take, an interpreter in the component may.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use leeway_compiler::{CompileError, Granularity, Options, Oracle, Sealed};
use leeway_contract::section::GoldenVector;
use leeway_contract::{Certificate, DType, Digest, Tensor};
use leeway_interpret::{Measure, Measured};
use leeway_runtime::golden;
use leeway_runtime::sandbox::{Sandbox, SandboxConfig};
use serde::Serialize;

use super::{MEASURED_INPUTS, print, print_json};
use crate::golden::samples;
use crate::{npy, tune, units};

/// Golden vectors that are put into a component.
const GOLDEN_VECTORS: usize = 4;

/// Said where the compiler does not take a model and the interpreter may.
const WAY_OUT: &str =
    "with --interpret it runs in an interpreter, slower and with a measured bound";

/// The largest difference from native tract that is taken for rounding, relative
/// to the larger of 1 and the number itself.
const TOLERANCE: f32 = 1e-4;

/// Compile an ONNX model to a certified component.
#[derive(Args)]
pub struct Arguments {
    /// The ONNX model.
    model: PathBuf,
    /// Where the component goes. By default beside the model, as NAME.wasm.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The name under which the model is deployed. By default the file's.
    #[arg(long)]
    name: Option<String>,
    /// The model's version.
    #[arg(long, default_value = "0.1.0")]
    version: String,
    /// Inputs to check the component on, and to keep in it as golden vectors: an
    /// array for each input, by its name, with one sample or many.
    #[arg(long, value_name = "FILE.npz")]
    golden: Option<PathBuf>,
    /// The size of a symbolic dimension. A leading batch dimension is 1 by
    /// default.
    #[arg(long = "set", value_name = "NAME=SIZE", value_parser = size)]
    sizes: Vec<(String, usize)>,
    /// How finely the model is cut into stages.
    #[arg(long, value_enum, default_value_t = Stages::Layers)]
    stages: Stages,
    /// The names of the classes, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    labels: Option<Vec<String>>,
    /// Let the machine multiply and add in one instruction, where it has one. Faster;
    /// the certificate then says that outputs are the same on every machine only
    /// within a tolerance, not to the bit.
    #[arg(long, conflicts_with = "interpret")]
    relaxed_simd: bool,
    /// Time the kernels that may compute each layer on this machine, take the fastest,
    /// and write what was chosen to a file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["interpret", "tuned"])]
    tune: Option<PathBuf>,
    /// Take the kernels that --tune wrote to a file: the same component again.
    #[arg(long, value_name = "FILE", conflicts_with = "interpret")]
    tuned: Option<PathBuf>,
    /// Put an interpreter (tract) with the model into the component, instead of
    /// compiling it. For models that cannot be compiled: slower, and its fuel and
    /// memory are measured, on the inputs of --golden and on random ones.
    #[arg(long, conflicts_with = "stages")]
    interpret: bool,
    /// What is certified over the most fuel and memory that were measured, in
    /// percent.
    #[arg(long, value_name = "PERCENT", default_value_t = Measure::default().margin_percent)]
    #[arg(requires = "interpret")]
    margin: u32,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Stages {
    /// Wherever a single tensor crosses.
    Layers,
    /// One stage.
    Whole,
}

fn size(text: &str) -> Result<(String, usize), String> {
    let (name, size) = text.split_once('=').ok_or("wanted NAME=SIZE")?;
    match size.parse() {
        Ok(size) if size > 0 => Ok((name.to_owned(), size)),
        _ => Err(format!("wanted a size of at least 1, seen {size:?}")),
    }
}

/// What was built.
#[derive(Serialize)]
struct Built<'a> {
    component: String,
    digest: Digest,
    component_bytes: usize,
    build_ms: f64,
    certified_fuel: u64,
    golden_vectors: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    largest_difference_from_tract: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<&'a Measurement>,
    certificate: &'a Certificate,
}

/// What the runs of a component took that the compiler did not emit.
#[derive(Serialize)]
pub(super) struct Measurement {
    runs: usize,
    least_fuel: u64,
    most_fuel: u64,
    most_memory_bytes: u64,
    margin_percent: u32,
}

impl Measurement {
    pub(super) fn new(measured: &Measured, margin_percent: u32) -> Self {
        Self {
            runs: measured.runs,
            least_fuel: measured.fuel.0.0,
            most_fuel: measured.fuel.1.0,
            most_memory_bytes: measured.memory_bytes,
            margin_percent,
        }
    }
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut options = Options::for_file(&arguments.model);
    if let Some(name) = &arguments.name {
        options.name.clone_from(name);
    }
    options.version.clone_from(&arguments.version);
    options.sizes = arguments.sizes.iter().cloned().collect::<BTreeMap<_, _>>();
    options.granularity = match arguments.stages {
        Stages::Layers => Granularity::Layers,
        Stages::Whole => Granularity::Whole,
    };
    options.labels.clone_from(&arguments.labels);
    options.relaxed_simd = arguments.relaxed_simd;

    let onnx = std::fs::read(&arguments.model)
        .with_context(|| format!("cannot read {}", arguments.model.display()))?;
    if let Some(file) = &arguments.tune {
        options.tuning = tune::tune(&onnx, &options)?;
        tune::write(file, &options.tuning)?;
    } else if let Some(file) = &arguments.tuned {
        options.tuning = tune::read(file)?;
    }
    let product = match arguments.interpret {
        true => interpret(arguments, &onnx, &options)?,
        false => compile(arguments, &onnx, &options)?,
    };
    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => arguments.model.with_file_name(format!("{}.wasm", options.name)),
    };
    product.write(&output)?;
    report(arguments.json, &product, &output, start)
}

/// A component, and what was found out while it was made.
pub(super) struct Product {
    pub(super) component: Vec<u8>,
    pub(super) certificate: Certificate,
    pub(super) difference: Option<f32>,
    pub(super) measured: Option<Measurement>,
}

impl Product {
    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        std::fs::write(file, &self.component)
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

fn compile(arguments: &Arguments, onnx: &[u8], options: &Options) -> anyhow::Result<Product> {
    let compiled = leeway_compiler::compile(onnx, options)
        .map_err(|error| with_way_out(error, onnx, options))?;
    check_labels(arguments.labels.as_deref(), compiled.certificate())?;
    let mut difference = None;
    let mut golden = Vec::new();
    if let Some(inputs) =
        given(arguments.golden.as_deref(), compiled.certificate(), GOLDEN_VECTORS)?
    {
        let sandbox = Sandbox::new(SandboxConfig::default())?;
        let module = sandbox.load(&compiled.seal(&[]).component)?;
        golden = golden::record(&module, inputs)?;
        difference = Some(difference_from_tract(&golden, onnx, options)?);
    }
    let Sealed { component, certificate } = compiled.seal(&golden);
    Ok(Product { component, certificate, difference, measured: None })
}

fn interpret(arguments: &Arguments, onnx: &[u8], options: &Options) -> anyhow::Result<Product> {
    let draft = leeway_interpret::interpret(onnx, options)?;
    check_labels(arguments.labels.as_deref(), draft.certificate())?;
    let how = Measure {
        margin_percent: arguments.margin,
        golden_vectors: GOLDEN_VECTORS,
        ..Measure::default()
    };
    let inputs = given(arguments.golden.as_deref(), draft.certificate(), MEASURED_INPUTS)?;
    let is_given = inputs.is_some();
    let measured = draft.measure(inputs.unwrap_or_default(), &how)?;
    let difference = match is_given {
        true => Some(difference_from_tract(&measured.golden, onnx, options)?),
        false => None,
    };
    let measurement = Measurement::new(&measured, arguments.margin);
    let Measured { component, certificate, .. } = measured;
    Ok(Product { component, certificate, difference, measured: Some(measurement) })
}

/// The inputs of `--golden`, at most `limit`.
pub(super) fn given(
    golden: Option<&Path>,
    certificate: &Certificate,
    limit: usize,
) -> anyhow::Result<Option<Vec<Vec<Tensor>>>> {
    let Some(path) = golden else { return Ok(None) };
    let arrays = npy::read_npz(path)?;
    let inputs = samples(certificate.inputs(), &arrays, limit);
    Ok(Some(inputs.with_context(|| format!("{}", path.display()))?))
}

/// The error, with a hint where the interpreter would take the model.
fn with_way_out(error: CompileError, onnx: &[u8], options: &Options) -> anyhow::Error {
    let is_beyond = matches!(error, CompileError::Unsupported { .. });
    match is_beyond && leeway_compiler::archive::archive(onnx, options).is_ok() {
        true => anyhow!("{error}; {WAY_OUT}"),
        false => error.into(),
    }
}

pub(super) fn check_labels(
    labels: Option<&[String]>,
    certificate: &Certificate,
) -> anyhow::Result<()> {
    let Some(labels) = labels else { return Ok(()) };
    // Beside its scores a classifier may give the label.
    let outputs = certificate.outputs();
    let scores = outputs.iter().find(|output| output.dtype == DType::F32).unwrap_or(&outputs[0]);
    let classes = scores.shape.last().copied().unwrap_or(1) as usize;
    if labels.len() != classes {
        bail!("{} labels were given, the output {scores} has {classes} classes", labels.len());
    }
    Ok(())
}

/// Compares golden vectors with native tract and returns the largest difference.
fn difference_from_tract(
    golden: &[GoldenVector],
    onnx: &[u8],
    options: &Options,
) -> anyhow::Result<f32> {
    let oracle = Oracle::new(onnx, options)?;
    let mut largest = 0.0f32;
    for vector in golden {
        let wanted = oracle.run(&vector.inputs)?;
        for (seen, wanted) in vector.outputs.iter().zip(&wanted) {
            largest = largest.max(seen.difference(wanted));
        }
    }
    if largest > TOLERANCE {
        bail!(
            "the component's outputs differ from native tract's by {largest:e}, more than \
             {TOLERANCE:e}: a defect of leeway build, please report it with the model"
        );
    }
    Ok(largest)
}

pub(super) fn report(
    json: bool,
    product: &Product,
    output: &Path,
    start: Instant,
) -> anyhow::Result<()> {
    let certificate = &product.certificate;
    let digest = Digest::of(&product.component);
    if json {
        return print_json(&Built {
            component: output.display().to_string(),
            digest,
            component_bytes: product.component.len(),
            build_ms: start.elapsed().as_secs_f64() * 1e3,
            certified_fuel: certificate.total_fuel().0,
            golden_vectors: certificate.golden.len(),
            largest_difference_from_tract: product.difference,
            measured: product.measured.as_ref(),
            certificate,
        });
    }
    let mut text = format!(
        "{}: {} {} in {} stages, {} MACs, {} fuel, {}, built in {}\n{digest}",
        output.display(),
        certificate.model.name,
        certificate.model.version,
        certificate.stages.len(),
        units::count(certificate.macs()),
        certificate.total_fuel(),
        units::bytes(product.component.len() as u64),
        units::duration(start.elapsed()),
    );
    if let Some(measured) = &product.measured {
        text += &format!(
            "\nmeasured: {} runs took {} to {} fuel and at most {}; certified are {} % more",
            measured.runs,
            measured.least_fuel,
            measured.most_fuel,
            units::bytes(measured.most_memory_bytes),
            measured.margin_percent,
        );
    }
    if let Some(difference) = product.difference {
        text += &format!(
            "\n{} golden vectors, at most {difference:.1e} from native tract",
            certificate.golden.len()
        );
    }
    print(&text)
}
