//! From an ONNX model to a WebAssembly component with an exact, certified fuel
//! cost.
//!
//! The way of a model through this crate, one module each: [`import`] reads it
//! with tract, [`source`] reads what tract passes over, [`ml`] classical models, [`unroll`]
//! removes short loops,
//! [`lower`] turns the typed graph into a [`schedule`] with the help of [`ops`],
//! [`fuse`] merges element-wise work, [`tuning`] takes kernels that were measured, [`stages`] cuts it, [`plan`]
//! gives everything an address, the [`kernels`] and the [`abi`] emit code, whose
//! fuel [`cost`] counts, and [`component`] puts it together. [`oracle`] runs the
//! same graph natively, to compare with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use leeway_contract::Digest;

pub mod abi;
pub mod archive;
pub mod attention;
pub mod component;
pub mod composed;
pub mod contain;
pub mod corrected;
pub mod cost;
pub mod element;
pub mod emit;
pub mod error;
pub mod expr;
pub mod fuse;
pub mod import;
pub mod joined;
pub mod kernels;
pub mod loops;
pub mod lower;
pub mod ml;
pub mod ops;
pub mod oracle;
pub mod padded;
pub mod plan;
pub mod quantised;
pub mod recurrent;
pub mod rewired;
pub mod schedule;
pub mod source;
pub mod stages;
pub mod strided;
pub mod tuning;
pub mod unroll;

pub use component::{Compiled, Sealed};
pub use error::CompileError;
pub use oracle::Oracle;
pub use stages::Granularity;
pub use tuning::{Tunable, Tuning};

/// How a model is to be compiled.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name under which it is deployed.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The name of its file, for messages.
    pub file: String,
    /// Where files beside it are looked for (ONNX external data). `None`: it
    /// must be in one file.
    pub directory: Option<PathBuf>,
    /// Sizes for symbolic dimensions, by name. A leading dimension that is not
    /// known is a batch, and 1 by default.
    pub sizes: BTreeMap<String, usize>,
    /// How finely it is cut into stages.
    pub granularity: Granularity,
    /// The names of its classes.
    pub labels: Option<Vec<String>>,
    /// Whether products are multiplied and added in one instruction where a machine
    /// has one: faster, and no longer the same bits on every machine.
    pub relaxed_simd: bool,
    /// The kernels that were chosen by measuring.
    pub tuning: Tuning,
}

impl Options {
    /// Options for a model in a file of its own: its name is the file's.
    pub fn for_file(path: &Path) -> Self {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self {
            name: stem.unwrap_or_else(|| "model".into()),
            version: "0.1.0".into(),
            file: path.display().to_string(),
            directory: path.parent().map(Path::to_owned),
            ..Self::default()
        }
    }
}

/// Compiles the ONNX model in `bytes`.
pub fn compile(bytes: &[u8], options: &Options) -> Result<Compiled, CompileError> {
    let directory = options.directory.as_deref();
    let (mut schedule, labels) = contain::reading(&options.file, || {
        let mut imported = import::read_onnx(bytes, &options.file, directory, &options.sizes)?;
        let labels = imported.labels.take();
        let imported = unroll::unroll(imported, &options.file)?;
        Ok((lower::lower(&imported, &options.file)?, labels))
    })?;
    let labels = options.labels.clone().or(labels);
    let options = Options { labels, ..options.clone() };
    contain::compiling(&options.file, || {
        fuse::fuse(&mut schedule);
        let tunable = tuning::choose(&mut schedule, &options.tuning, &options.file)?;
        joined::join(&mut schedule);
        let compiled = component::emit(&schedule, &options, Digest::of(bytes))?;
        Ok(compiled.with_tunable(tunable))
    })
}

/// Compiles the ONNX model in a file.
pub fn compile_file(path: &Path, options: &Options) -> Result<Compiled, CompileError> {
    let file = || path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| CompileError::Io { file: file(), source })?;
    compile(&bytes, options)
}
