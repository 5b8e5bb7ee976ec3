//! `leeway build`: an ONNX model becomes a component with a certificate, checked
//! against native tract where golden inputs are given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use leeway_compiler::{Compiled, Granularity, Options, Oracle, Sealed};
use leeway_contract::section::GoldenVector;
use leeway_contract::{Certificate, DType, Digest, Tensor};
use leeway_runtime::golden;
use leeway_runtime::sandbox::{Sandbox, SandboxConfig};
use serde::Serialize;

use super::{print, print_json};
use crate::golden::samples;
use crate::{npy, units};

/// Golden vectors that are put into a component.
const GOLDEN_VECTORS: usize = 4;

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
    certificate: &'a Certificate,
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

    let onnx = std::fs::read(&arguments.model)
        .with_context(|| format!("cannot read {}", arguments.model.display()))?;
    let compiled = leeway_compiler::compile(&onnx, &options)?;
    check_labels(arguments, compiled.certificate())?;
    let (sealed, difference) = match &arguments.golden {
        Some(path) => {
            let arrays = npy::read_npz(path)?;
            let inputs = samples(compiled.certificate().inputs(), &arrays, GOLDEN_VECTORS)
                .with_context(|| format!("{}", path.display()))?;
            let (golden, difference) = golden_vectors(&compiled, &onnx, &options, inputs)?;
            (compiled.seal(&golden), Some(difference))
        }
        None => (compiled.seal(&[]), None),
    };

    let output = match &arguments.output {
        Some(output) => output.clone(),
        None => arguments.model.with_file_name(format!("{}.wasm", options.name)),
    };
    std::fs::write(&output, &sealed.component)
        .with_context(|| format!("cannot write {}", output.display()))?;
    report(arguments, &sealed, difference, &output, start)
}

fn check_labels(arguments: &Arguments, certificate: &Certificate) -> anyhow::Result<()> {
    let Some(labels) = &arguments.labels else { return Ok(()) };
    // Beside its scores a classifier may give the label.
    let outputs = certificate.outputs();
    let scores = outputs.iter().find(|output| output.dtype == DType::F32).unwrap_or(&outputs[0]);
    let classes = scores.shape.last().copied().unwrap_or(1) as usize;
    if labels.len() != classes {
        bail!("{} labels were given, the output {scores} has {classes} classes", labels.len());
    }
    Ok(())
}

/// Runs the component on the inputs, compares it with native tract, and returns
/// the vectors and the largest difference.
fn golden_vectors(
    compiled: &Compiled,
    onnx: &[u8],
    options: &Options,
    inputs: Vec<Vec<Tensor>>,
) -> anyhow::Result<(Vec<GoldenVector>, f32)> {
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    let module = sandbox.load(&compiled.seal(&[]).component)?;
    let golden = golden::record(&module, inputs)?;
    let oracle = Oracle::new(onnx, options)?;
    let mut largest = 0.0f32;
    for vector in &golden {
        let wanted = oracle.run(&vector.inputs)?;
        for (seen, wanted) in vector.outputs.iter().zip(&wanted) {
            largest = largest.max(seen.difference(wanted));
        }
    }
    if largest > TOLERANCE {
        bail!(
            "the component's outputs differ from native tract's by {largest:e}, more than \
             {TOLERANCE:e}: a defect in the compiler, please report it with the model"
        );
    }
    Ok((golden, largest))
}

fn report(
    arguments: &Arguments,
    sealed: &Sealed,
    difference: Option<f32>,
    output: &std::path::Path,
    start: Instant,
) -> anyhow::Result<()> {
    let certificate = &sealed.certificate;
    let digest = Digest::of(&sealed.component);
    if arguments.json {
        return print_json(&Built {
            component: output.display().to_string(),
            digest,
            component_bytes: sealed.component.len(),
            build_ms: start.elapsed().as_secs_f64() * 1e3,
            certified_fuel: certificate.total_fuel().0,
            golden_vectors: certificate.golden.len(),
            largest_difference_from_tract: difference,
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
        units::bytes(sealed.component.len() as u64),
        units::duration(start.elapsed()),
    );
    if let Some(difference) = difference {
        text += &format!(
            "\n{} golden vectors, at most {difference:.1e} from native tract",
            certificate.golden.len()
        );
    }
    print(&text)
}
