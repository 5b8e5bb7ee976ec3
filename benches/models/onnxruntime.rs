//! ONNX Runtime as a contestant: a Python process that answers requests, see
//! `onnxruntime_worker.py`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use leeway_contract::{DType, Tensor, TensorSpec};
use serde_json::{Value, json};

/// The process.
pub struct OnnxRuntime {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Its version.
    pub version: String,
}

impl OnnxRuntime {
    /// Starts it with this Python interpreter, on this CPU.
    pub fn start(python: &Path, cpu: Option<usize>) -> Result<Self> {
        let worker =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/models/onnxruntime_worker.py");
        let mut process = Command::new(python)
            .arg(worker)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} does not start", python.display()))?;
        let requests = process.stdin.take().context("its input is piped")?;
        let answers = BufReader::new(process.stdout.take().context("its output is piped")?);
        let mut worker = Self { process, requests, answers, version: String::new() };
        let cpu = cpu.unwrap_or(0);
        let version = worker.ask(&json!({ "cpu": cpu }));
        let version = version
            .with_context(|| format!("{} has no onnxruntime: pip install it", python.display()))?;
        worker.version = version.as_str().unwrap_or_default().to_owned();
        Ok(worker)
    }

    /// Loads a model, with the inputs of all its runs; `folder` is for files.
    pub fn load(
        &mut self,
        model: &Path,
        specs: &[TensorSpec],
        inputs: &[Tensor],
        folder: &Path,
    ) -> Result<()> {
        let mut described = Vec::new();
        for (index, (spec, tensor)) in specs.iter().zip(inputs).enumerate() {
            let file = folder.join(format!("input{index}.bin"));
            std::fs::write(&file, &tensor.data)?;
            let dtype = numpy_type(tensor.dtype);
            described.push(
                json!({ "name": spec.name, "dtype": dtype, "shape": tensor.shape, "file": file }),
            );
        }
        self.ask(&json!({ "load": model, "inputs": described })).map(drop)
    }

    /// Runs it, and returns the CPU time of all runs.
    pub fn run(&mut self, repeats: u32) -> Result<Duration> {
        let seconds = self.ask(&json!({ "run": repeats }))?;
        let seconds = seconds.as_f64().context("the seconds are a number")?;
        Ok(Duration::from_secs_f64(seconds))
    }

    /// The bytes of each output.
    pub fn outputs(&mut self, count: usize, folder: &Path) -> Result<Vec<Vec<u8>>> {
        self.ask(&json!({ "outputs": folder }))?;
        (0..count).map(|index| Ok(std::fs::read(folder.join(format!("{index}.bin")))?)).collect()
    }

    /// Writes a model with 8-bit weights and activations.
    pub fn quantise(&mut self, model: &Path, to: &Path) -> Result<()> {
        self.ask(&json!({ "quantise": model, "to": to })).map(drop)
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the process of ONNX Runtime ended");
        }
        let mut answer: Value = serde_json::from_str(&line)?;
        match answer.get("error") {
            Some(error) => bail!("ONNX Runtime: {}", error.as_str().unwrap_or_default()),
            None => Ok(answer["ok"].take()),
        }
    }
}

impl Drop for OnnxRuntime {
    fn drop(&mut self) {
        // It ends when its input does; this is for one that hangs.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn numpy_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float32",
        DType::F64 => "float64",
        DType::F16 | DType::BF16 => "float16",
        DType::U8 => "uint8",
        DType::I8 => "int8",
        DType::I32 => "int32",
        DType::I64 => "int64",
        DType::I16 => "int16",
        DType::U16 => "uint16",
        DType::U32 => "uint32",
        DType::U64 => "uint64",
        DType::Bool => "bool",
    }
}
