//! Chooses the kernel of each layer by timing, on this machine, all that may be the
//! fastest: the whole model is compiled with each layer's first candidate, with each
//! layer's second one, and so on, and profiled layer by layer.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use leeway_compiler::{Options, Tunable, Tuning};
use leeway_runtime::sandbox::{Sandbox, SandboxConfig, profile};
use serde::{Deserialize, Serialize};

/// The version of the file's format.
const FORMAT: u32 = 1;

/// How often each candidate is profiled, in turns.
const PASSES: usize = 2;

/// A kernel that takes less than this part of the estimate's time is preferred to it:
/// what is nearer is noise.
const WORTH_IT: f64 = 0.98;

/// What was chosen, as it is kept in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    kernels: Tuning,
}

/// Reads what [`write`] wrote.
pub fn read(path: &Path) -> anyhow::Result<Tuning> {
    let of_path = || path.display().to_string();
    let bytes = std::fs::read(path).with_context(of_path)?;
    let File { format, kernels } = serde_json::from_slice(&bytes).with_context(of_path)?;
    if format != FORMAT {
        bail!("{}: the format is {format}, this program reads {FORMAT}", path.display());
    }
    Ok(kernels)
}

/// Writes what was chosen.
pub fn write(path: &Path, kernels: &Tuning) -> anyhow::Result<()> {
    let file = File { format: FORMAT, kernels: kernels.clone() };
    let json = serde_json::to_vec_pretty(&file)?;
    std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
}

/// Chooses the kernels of a model, with progress on standard error.
pub fn tune(onnx: &[u8], options: &Options) -> anyhow::Result<Tuning> {
    let estimated = leeway_compiler::compile(onnx, options)?;
    let tunable = estimated.tunable();
    let candidates = tunable.iter().map(|each| each.kernels.len()).max().unwrap_or(0);
    let layers = estimated.certificate().layers().count();
    let mut least = vec![vec![Duration::MAX; layers]; candidates];
    let bar = bar(PASSES * candidates);
    let sandbox = Sandbox::new(SandboxConfig::default())?;
    for _ in 0..PASSES {
        for (number, least) in least.iter_mut().enumerate() {
            let tuning = tunable.iter().map(|each| (each.problem.clone(), candidate(each, number)));
            let options = Options { tuning: tuning.collect(), ..options.clone() };
            let component = leeway_compiler::compile(onnx, &options)?.seal(&[]).component;
            let profile = profile::measure(&sandbox.load(&component)?, &component)?;
            for (least, &time) in least.iter_mut().zip(&profile.layers) {
                *least = (*least).min(time);
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(fastest(tunable, &least))
}

/// The candidate with this number, or, where there are less, the first.
fn candidate(tunable: &Tunable, number: usize) -> String {
    tunable.kernels.get(number).unwrap_or(&tunable.kernels[0]).clone()
}

/// Of each problem, the kernel that took the least time in all of its layers together.
/// `least` has, for each number of a candidate, the time of each layer.
fn fastest(tunable: &[Tunable], least: &[Vec<Duration>]) -> Tuning {
    let mut problems: BTreeMap<&str, Vec<&Tunable>> = BTreeMap::new();
    for each in tunable {
        problems.entry(&each.problem).or_default().push(each);
    }
    let fastest = |layers: &[&Tunable]| {
        let kernels = &layers[0].kernels;
        let time = |number: usize| -> f64 {
            layers.iter().map(|each| least[number][each.layer].as_secs_f64()).sum()
        };
        let best = (0..kernels.len()).min_by(|&a, &b| time(a).total_cmp(&time(b))).unwrap_or(0);
        let is_worth_it = time(best) < WORTH_IT * time(0);
        kernels[if is_worth_it { best } else { 0 }].clone()
    };
    problems.iter().map(|(problem, layers)| ((*problem).to_owned(), fastest(layers))).collect()
}

fn bar(steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:32.cyan/dim} {percent:>3} %  {elapsed}  tuning")
        .expect("the template is well-formed");
    let bar = ProgressBar::new(steps as u64).with_style(style);
    bar.tick();
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_that_is_fastest_in_all_layers_of_a_problem_is_chosen() {
        let kernels: Vec<String> = ["a", "b", "c"].map(Into::into).to_vec();
        let tunable = |layer, problem: &str, kernels: &[String]| Tunable {
            layer,
            problem: problem.into(),
            kernels: kernels.to_vec(),
        };
        let layers =
            [tunable(0, "p", &kernels), tunable(2, "p", &kernels), tunable(3, "q", &kernels[..2])];
        let least = [[10, 1, 10, 100], [5, 1, 16, 99], [9, 1, 9, 1]];
        let least = least.map(|times| times.map(Duration::from_micros).to_vec());
        let chosen = fastest(&layers, &least);
        assert_eq!(chosen["p"], "c", "18 of 20, and 21 of 20");
        assert_eq!(chosen["q"], "a", "a hundredth is noise, and there is no c");
    }
}
