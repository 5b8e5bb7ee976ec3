//! `leeway run`: a component on tensors from `.npy` files, under its certificate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use leeway_contract::{DType, Digest, Tensor};
use leeway_runtime::power::PerInference;
use leeway_runtime::sandbox::{
    EngineKind, Execution, Limits, Module, RunError, Sandbox, SandboxConfig,
};
use leeway_runtime::timing::{Bound, BoundRule, Claims, Device, Seen, Store, Watch, store};
use serde::Serialize;

use super::{default_store, print, print_json};
use crate::energy::{self, EnergyArguments};
use crate::fog::FogArguments;
use crate::{npy, units};

/// Run a component on tensors from .npy files.
#[derive(Args)]
pub struct Arguments {
    /// The component.
    component: PathBuf,
    /// The tensor for an input.
    #[arg(long = "input", value_name = "NAME=FILE.npy", value_parser = input)]
    inputs: Vec<(String, PathBuf)>,
    /// Where the outputs go, as NAME.npy. By default they are not kept.
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// How often it is run.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// What executes it.
    #[arg(long, default_value = "native", value_name = "native|pulley")]
    engine: EngineKind,
    /// The longest that one run may take, in milliseconds.
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u64>,
    /// Only this component is run: another digest is refused.
    #[arg(long, value_name = "sha256:...")]
    digest: Option<Digest>,
    /// What was promised of its time, by `leeway calibrate --output`: runs that take longer
    /// are told. By default the calibration of this device that `leeway calibrate` keeps,
    /// where there is one; what is seen is kept with it.
    #[arg(long, value_name = "FILE.json", conflicts_with = "fog")]
    calibration: Option<PathBuf>,
    #[command(flatten)]
    fog: FogArguments,
    #[command(flatten)]
    energy: EnergyArguments,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn input(text: &str) -> Result<(String, PathBuf), String> {
    let (name, file) = text.split_once('=').ok_or("wanted NAME=FILE.npy")?;
    Ok((name.to_owned(), file.into()))
}

#[derive(Serialize)]
struct Ran {
    digest: Digest,
    engine: EngineKind,
    /// Where it ran, if not here; then the times are those of whole exchanges.
    #[serde(skip_serializing_if = "Option::is_none")]
    fog: Option<String>,
    outputs: Vec<Output>,
    certified_fuel: u64,
    fuel: Vec<u64>,
    nanoseconds: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    energy: Option<PerInference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    watch: Option<Watched>,
}

/// What was promised of the time of a run, and what was seen.
#[derive(Serialize)]
struct Watched {
    /// What is promised from now on.
    bound: Bound,
    /// Over all runs since calibration.
    seen: Seen,
    /// Of these runs, those that exceeded the promise and raised it.
    exceeded: u32,
}

#[derive(Serialize)]
struct Output {
    name: String,
    dtype: String,
    shape: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(SandboxConfig::with_engine(arguments.engine))?;
    let path = &arguments.component;
    let module = match arguments.digest {
        Some(wanted) => sandbox.load_file_expecting(path, wanted),
        None => sandbox.load_file(path),
    }
    .with_context(|| format!("cannot run {}", path.display()))?;
    let inputs = inputs(arguments, &module)?;
    let last = module.certificate().last_stage();
    let limits = Limits { deadline: arguments.deadline_ms.map(Duration::from_millis) };
    let watch = match arguments.fog.fog {
        // What was promised is this machine's time.
        Some(_) => None,
        None => watch(arguments, &sandbox, &module)?,
    };
    let mut exceeded = 0;
    let mut instance = module.instantiate()?;
    let executions: Vec<Execution> = match &arguments.fog.fog {
        Some(url) => {
            let component = std::fs::read(path).with_context(|| path.display().to_string())?;
            let what = (&module, component.as_slice());
            arguments.fog.run(url, what, &inputs, arguments.repeat, limits.deadline)?
        }
        None => {
            let mut run = |_| {
                let execution = instance.run(0..=last, &inputs, &limits)?;
                exceeded += u32::from(watch.as_ref().is_some_and(|w| w.observe(execution.elapsed)));
                Ok::<_, RunError>(execution)
            };
            (0..arguments.repeat).map(&mut run).collect::<Result<_, _>>()?
        }
    };
    let energy = arguments
        .energy
        .measure(&mut || instance.run(0..=last, &inputs, &limits).map(|run| run.elapsed))?;

    let outputs = executions.last().map_or(&[][..], |execution| &execution.outputs);
    let ran = Ran {
        digest: module.digest(),
        engine: arguments.engine,
        fog: arguments.fog.fog.clone(),
        outputs: write_outputs(arguments.output_dir.as_deref(), &module, outputs)?,
        certified_fuel: module.certificate().total_fuel().0,
        fuel: executions.iter().map(|execution| execution.fuel.0).collect(),
        nanoseconds: executions.iter().map(|e| e.elapsed.as_nanos() as u64).collect(),
        energy,
        watch: watch.map(|watch| Watched { bound: watch.bound(), seen: watch.seen(), exceeded }),
    };
    match arguments.json {
        true => print_json(&ran),
        false => print(&text(&ran)),
    }
}

/// What watches the runs, where the model was calibrated.
fn watch(
    arguments: &Arguments,
    sandbox: &Sandbox,
    module: &Module,
) -> anyhow::Result<Option<Watch>> {
    let rule = BoundRule::default();
    if let Some(file) = &arguments.calibration {
        let calibration = store::read_file(file)?;
        let Claims { module: of, engine, .. } = calibration.claims;
        if (of, engine) != (module.digest(), arguments.engine) {
            bail!(
                "{} is of {of} on {engine}; one of {} on {} is wanted",
                file.display(),
                module.digest(),
                arguments.engine
            );
        }
        return Ok(Some(Watch::new(calibration, rule)));
    }
    let Some(directory) = default_store().ok().filter(|directory| directory.is_dir()) else {
        return Ok(None);
    };
    let store = Store::new(directory)?;
    let of_core = |core| {
        let claims = Claims {
            module: module.digest(),
            engine: arguments.engine,
            engine_hash: sandbox.engine_hash(),
            device: Device::of_this_machine(core),
        };
        store.load(&claims).ok()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let calibration = (0..cores).rev().map(Some).chain([None]).find_map(of_core);
    Ok(calibration.map(|calibration| Watch::kept(calibration, rule, store)).transpose()?)
}

/// The model's inputs in its own order.
fn inputs(arguments: &Arguments, module: &Module) -> anyhow::Result<Vec<Tensor>> {
    let specs = module.certificate().inputs();
    for (name, _) in &arguments.inputs {
        if !specs.iter().any(|spec| spec.name == *name) {
            let known: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
            bail!("the model has no input {name:?}; it has {known:?}");
        }
    }
    let read = |spec: &leeway_contract::TensorSpec| {
        let given = arguments.inputs.iter().find(|(name, _)| *name == spec.name);
        let (_, file) = given.with_context(|| {
            format!("no tensor for the input {spec}: give it with --input {}=FILE.npy", spec.name)
        })?;
        let tensor = npy::read(file)?;
        spec.check(&tensor).with_context(|| format!("{}", file.display()))?;
        Ok(tensor)
    };
    specs.iter().map(read).collect()
}

fn write_outputs(
    directory: Option<&Path>,
    module: &Module,
    outputs: &[Tensor],
) -> anyhow::Result<Vec<Output>> {
    if let Some(directory) = directory {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let certificate = module.certificate();
    let mut written = Vec::new();
    for (spec, tensor) in certificate.outputs().iter().zip(outputs) {
        let file = match directory {
            Some(directory) => {
                let file = directory.join(format!("{}.npy", file_name(&spec.name)));
                npy::write(&file, tensor)?;
                Some(file.display().to_string())
            }
            None => None,
        };
        let label = certificate.labels.as_ref().zip(class(tensor));
        written.push(Output {
            name: spec.name.clone(),
            dtype: spec.dtype.name().to_owned(),
            shape: spec.shape.clone(),
            file,
            label: label.and_then(|(labels, class)| labels.get(class).cloned()),
        });
    }
    Ok(written)
}

/// The class that an output names: the largest score's, or the index that it is.
fn class(tensor: &Tensor) -> Option<usize> {
    match (tensor.dtype, tensor.data.as_slice().try_into()) {
        (DType::I64, Ok(bytes)) => usize::try_from(i64::from_le_bytes(bytes)).ok(),
        _ => tensor.argmax(),
    }
}

/// A tensor's name as the name of a file: no separators, no hidden files.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().map(safe).collect();
    match name.trim_start_matches('.') {
        "" => "output".to_owned(),
        name => name.to_owned(),
    }
}

fn text(ran: &Ran) -> String {
    let mut times = ran.nanoseconds.clone();
    times.sort_unstable();
    let place = ran.fog.clone().unwrap_or_else(|| ran.engine.to_string());
    let time = |ns: u64| units::duration(Duration::from_nanos(ns));
    let mut text = format!(
        "{}\n{} run(s) on {place}: median {}, fastest {}, slowest {}\nfuel {} of {} certified",
        ran.digest,
        times.len(),
        time(times[times.len() / 2]),
        time(times[0]),
        time(times[times.len() - 1]),
        ran.fuel[0],
        ran.certified_fuel,
    );
    if let Some(energy) = &ran.energy {
        text += &format!("\n{}", energy::text(energy));
    }
    if let Some(Watched { bound, seen, exceeded }) = &ran.watch {
        text += &format!(
            "\n{exceeded} run(s) over the promised time, which is {} now ({}); {} of {} since \
             calibration",
            units::duration(bound.time),
            bound.basis,
            seen.exceeded,
            seen.runs
        );
    }
    for output in &ran.outputs {
        text += &format!("\n{} {}{:?}", output.name, output.dtype, output.shape);
        if let Some(label) = &output.label {
            text += &format!(" = {label}");
        }
        if let Some(file) = &output.file {
            text += &format!(" -> {file}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_outputs_stay_in_their_directory() {
        assert_eq!(file_name("a/b:0"), "a_b_0");
        assert_eq!(file_name("../../etc"), "_.._etc");
        assert_eq!(file_name(".."), "output");
    }
}
