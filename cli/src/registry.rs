//! What the commands share that send and fetch modules: options, signatures beside a
//! file, progress.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use leeway_distribution::RegistryOptions;

/// How to speak to a registry.
#[derive(Args)]
pub struct RegistryArguments {
    /// Speak to the registry without TLS. On loopback that is so anyway.
    #[arg(long)]
    plain_http: bool,
}

impl RegistryArguments {
    /// The options that they stand for.
    pub fn options(&self) -> RegistryOptions {
        RegistryOptions { plain_http: self.plain_http, ..RegistryOptions::default() }
    }
}

/// The signatures in `files`; where none are named, the one beside the component.
pub fn signatures(component: &Path, files: &[PathBuf]) -> anyhow::Result<Vec<Vec<u8>>> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
    if !files.is_empty() {
        return files.iter().map(read).collect();
    }
    let beside = beside(component, 0);
    match beside.exists() {
        true => Ok(vec![read(&beside)?]),
        false => Ok(vec![]),
    }
}

/// Writes signatures beside a component; returns the files.
pub fn write_signatures(component: &Path, signatures: &[Vec<u8>]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::with_capacity(signatures.len());
    for (number, signature) in signatures.iter().enumerate() {
        let file = beside(component, number);
        std::fs::write(&file, signature).with_context(|| file.display().to_string())?;
        files.push(file);
    }
    Ok(files)
}

/// The file of a component's signature of this number: MODEL.wasm.sig, MODEL.wasm.1.sig...
pub fn beside(component: &Path, number: usize) -> PathBuf {
    let mut name = component.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.push(".sig");
    name.into()
}

/// Runs a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(future))
}

/// A sign of life while it is not known how long it takes.
pub fn spinner(text: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_message(text.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

/// A bar over so many bytes.
pub fn bar(bytes: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec}");
    ProgressBar::new(bytes).with_style(style.expect("the template is valid"))
}
