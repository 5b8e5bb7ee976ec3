//! Compiling in a program of its own, which may take only so much time and memory,
//! and ends with the request that wanted it.
//!
//! A component can be made so that Cranelift takes very long over it or fills the
//! memory; inside this process neither could be stopped. The program is this one
//! again (`leeway-fog compile`): it reads the component from its standard input,
//! leaves the code in the cache of compiled code, and says on its standard output
//! why it did not. What it left is then loaded as at any other time.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use leeway_runtime::sandbox::{EngineKind, Sandbox, SandboxConfig};
use rustix::process::{Resource, Rlimit, nice, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// The most that is read of what the program says.
const LARGEST_MESSAGE_BYTES: u64 = 16 << 10;
/// How much less urgent compiling is than running models.
const NICE: i32 = 10;

/// What one compilation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// The time, also of the processor.
    pub time: Duration,
    /// The memory.
    pub memory_bytes: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(120), memory_bytes: 4 << 30 }
    }
}

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    /// The program cannot be run.
    #[error("the compiling program cannot be run: {0}")]
    Program(#[from] std::io::Error),
    /// It took too long.
    #[error("compiling took more than {0:?}")]
    Time(Duration),
    /// It ended without a word: most likely at its memory's limit.
    #[error("compiling ended with {status}: it may take {memory_bytes} bytes of memory")]
    Ended {
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it may take.
        memory_bytes: u64,
    },
    /// It says why.
    #[error("{0}")]
    Refused(String),
}

/// How components are compiled.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    /// The program.
    pub(crate) program: PathBuf,
    /// The cache of compiled code.
    pub(crate) code: PathBuf,
    /// The engine to compile for.
    pub(crate) engine: EngineKind,
    /// What one compilation may take.
    pub(crate) limits: CompileLimits,
}

impl Compiler {
    /// Leaves a component's code in the cache. Dropping this ends the program.
    pub(crate) async fn compile(&self, component: &Bytes) -> Result<(), CompileError> {
        let CompileLimits { time, memory_bytes } = self.limits;
        let mut child = Command::new(&self.program)
            .args(["compile", "--engine", &self.engine.to_string()])
            .args(["--seconds", &time.as_secs().max(1).to_string()])
            .args(["--memory-bytes", &memory_bytes.to_string()])
            .arg("--code")
            .arg(&self.code)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (mut input, output) = (child.stdin.take(), child.stdout.take());
        let talk = async {
            if let Some(input) = &mut input {
                // It may have ended already: what it says is why.
                let _ = input.write_all(component).await;
            }
            drop(input);
            let mut message = String::new();
            if let Some(output) = output {
                output.take(LARGEST_MESSAGE_BYTES).read_to_string(&mut message).await?;
            }
            Ok::<_, std::io::Error>((child.wait().await?, message))
        };
        let (status, message) =
            tokio::time::timeout(time, talk).await.map_err(|_| CompileError::Time(time))??;
        match (status.success(), message.is_empty()) {
            (true, _) => Ok(()),
            (false, true) => Err(CompileError::Ended { status, memory_bytes }),
            (false, false) => Err(CompileError::Refused(message)),
        }
    }
}

/// The program's side: compiles what comes on the standard input. Returns the
/// message that says why not.
pub fn compile_here(code: &Path, engine: EngineKind, limits: CompileLimits) -> Result<(), String> {
    restrict(limits).map_err(|error| format!("the limits cannot be set: {error}"))?;
    let mut component = Vec::new();
    std::io::stdin().read_to_end(&mut component).map_err(|error| error.to_string())?;
    let config =
        SandboxConfig { cache_dir: Some(code.to_owned()), ..SandboxConfig::with_engine(engine) };
    let sandbox = Sandbox::new(config).map_err(|error| error.to_string())?;
    sandbox.load(&component).map(drop).map_err(|error| error.to_string())
}

fn restrict(limits: CompileLimits) -> rustix::io::Result<()> {
    let both = |most| Rlimit { current: Some(most), maximum: Some(most) };
    // Reserved addresses do not count, as they would for the address space: an
    // instance reserves gigabytes of them and uses few.
    setrlimit(Resource::Data, both(limits.memory_bytes))?;
    setrlimit(Resource::Cpu, both(cpu_seconds(limits.time)))?;
    setrlimit(Resource::Core, both(0))?;
    nice(NICE).map(drop)
}

/// All processors together may take as long as each of them.
fn cpu_seconds(time: Duration) -> u64 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    time.as_secs().max(1).saturating_mul(processors)
}
