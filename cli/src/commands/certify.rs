//! `leeway certify`: a component that was written by hand gets a certificate, whose
//! fuel and memory are measured.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use leeway_compiler::Options;
use leeway_contract::{DType, TensorSpec};
use leeway_interpret::{Ends, Measure};

use super::build::{Measurement, Product, check_labels, given, report};

/// Give a hand-written component a certificate, with measured fuel and memory.
#[derive(Args)]
pub struct Arguments {
    /// The core module or the component. It exports leeway:model/inference and
    /// imports nothing.
    module: PathBuf,
    /// Where the certified component goes.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// An input of the model, for example samples=U8[1,512]. One for each, in
    /// order.
    #[arg(long = "input", value_name = "NAME=TYPE[SIZE,...]", required = true)]
    #[arg(value_parser = spec)]
    inputs: Vec<TensorSpec>,
    /// An output of the model, likewise.
    #[arg(long = "output-tensor", value_name = "NAME=TYPE[SIZE,...]", required = true)]
    #[arg(value_parser = spec)]
    outputs: Vec<TensorSpec>,
    /// The name under which the model is deployed. By default the file's.
    #[arg(long)]
    name: Option<String>,
    /// The model's version.
    #[arg(long, default_value = "0.1.0")]
    version: String,
    /// Inputs to measure it on, and to keep in it as golden vectors: an array for
    /// each input, by its name, with one sample or many.
    #[arg(long, value_name = "FILE.npz")]
    golden: Option<PathBuf>,
    /// What is certified over the most fuel and memory that were measured, in
    /// percent.
    #[arg(long, value_name = "PERCENT", default_value_t = Measure::default().margin_percent)]
    margin: u32,
    /// The names of the classes, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    labels: Option<Vec<String>>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// `samples=U8[1,512]`.
fn spec(text: &str) -> Result<TensorSpec, String> {
    let wanted = || format!("wanted NAME=TYPE[SIZE,...] such as x=FP32[1,4], seen {text:?}");
    let (name, rest) = text.split_once('=').ok_or_else(wanted)?;
    let (dtype, rest) = rest.split_once('[').ok_or_else(wanted)?;
    let sizes = rest.strip_suffix(']').ok_or_else(wanted)?;
    let known = DType::ALL.into_iter().find(|known| known.name() == dtype);
    let dtype = known.ok_or_else(|| {
        let names = DType::ALL.map(DType::name).join(", ");
        format!("unknown type {dtype:?}, there are {names}")
    })?;
    let sizes = sizes.split(',').filter(|size| !size.is_empty()).map(|size| size.trim().parse());
    let shape = sizes.collect::<Result<_, _>>().map_err(|_| wanted())?;
    Ok(TensorSpec { name: name.to_owned(), dtype, shape })
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut options = Options::for_file(&arguments.module);
    if let Some(name) = &arguments.name {
        options.name.clone_from(name);
    }
    options.version.clone_from(&arguments.version);
    options.labels.clone_from(&arguments.labels);
    let path = arguments.module.display();
    let code = std::fs::read(&arguments.module).with_context(|| format!("cannot read {path}"))?;
    let ends = Ends { inputs: arguments.inputs.clone(), outputs: arguments.outputs.clone() };
    let draft =
        leeway_interpret::by_hand(&code, &options, ends).with_context(|| path.to_string())?;
    check_labels(arguments.labels.as_deref(), draft.certificate())?;
    let inputs = given(arguments.golden.as_deref(), draft.certificate(), super::MEASURED_INPUTS)?;
    let how = Measure { margin_percent: arguments.margin, ..Measure::default() };
    let measured =
        draft.measure(inputs.unwrap_or_default(), &how).with_context(|| path.to_string())?;
    let measurement = Measurement::new(&measured, arguments.margin);
    let product = Product {
        component: measured.component,
        certificate: measured.certificate,
        difference: None,
        measured: Some(measurement),
    };
    product.write(&arguments.output)?;
    report(arguments.json, &product, &arguments.output, start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read_as_they_are_printed() {
        for text in ["samples=U8[1,512]", "alarm=BOOL[1]", "x=FP32[]"] {
            let spec = spec(text).unwrap();
            assert_eq!(spec.to_string(), text.replace('=', " "));
        }
        for text in ["x", "x=FP32", "x=FP31[1]", "x=FP32[a]", "x=FP32[-1]"] {
            assert!(spec(text).is_err(), "{text}");
        }
    }
}
