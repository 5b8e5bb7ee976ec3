//! Compiling in a program of its own, which may take only so much time and memory,
//! and ends at once where nobody wants its result any more.
//!
//! A component can be made so that Cranelift takes very long over it or fills the
//! memory; inside the process that serves neither could be stopped. The program is the
//! agent or the fog host once more, called with `compile` and one argument: it reads
//! the component from its standard input, leaves the code in the cache of compiled
//! code, and says on its standard output why it did not. What it left is then loaded as
//! at any other time.

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use leeway_runtime::sandbox::{EngineKind, LoadError, Sandbox, SandboxConfig};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};

use crate::transaction::Cancel;
use crate::transaction::quiet::give_way;

/// The most of what the program says, which fits into a pipe: it waits for nobody.
const MESSAGE_BYTES: usize = 16 << 10;
/// Between two looks at the program, and at whether it is still wanted.
const LOOK: Duration = Duration::from_millis(5);
/// How the program ends where the component is not at fault.
const NOT_HERE: u8 = 3;
/// Where the machine's memory is full, the kernel ends this program before all others.
const FIRST_TO_GO: &str = "1000";

/// What one compilation may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// The time, also of each processor.
    pub time: Duration,
    /// The memory.
    pub memory_bytes: u64,
}

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The program cannot be run.
    #[error("the compiling program cannot be run: {0}")]
    Program(#[from] io::Error),
    /// It took too long.
    #[error("compiling took more than {0:?}, which is the limit here")]
    Time(Duration),
    /// It ended without a word: most likely at its memory's limit.
    #[error("compiling ended with {status}: it may take {memory_bytes} bytes of memory here")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What it may take.
        memory_bytes: u64,
    },
    /// Somebody has killed it: most likely the kernel, as the machine's memory is full.
    #[error("compiling was killed: the memory of the machine, or of this service, is full")]
    Killed,
    /// What it made cannot be kept.
    #[error("{0}")]
    NotHere(String),
    /// The component is at fault; it says why.
    #[error("{0}")]
    Refused(String),
    /// Nobody wants it any more.
    #[error("compiling was cancelled")]
    Cancelled,
}

impl CompileError {
    /// Whether the same may work later, with nothing about the module changed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Program(_) | Self::Killed | Self::NotHere(_) | Self::Cancelled)
    }
}

/// Compiles in a program of its own.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The program, whose `main` hands the argument of `compile` to [`compile_here`].
    pub program: PathBuf,
    /// What one compilation may take.
    pub limits: CompileLimits,
}

/// What the program is asked for: its argument, in JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    code: PathBuf,
    engine: EngineKind,
    seconds: u64,
    memory_bytes: u64,
}

/// This process's own program, also where an upgrade has put another one in the place of
/// its file.
pub fn this_program() -> PathBuf {
    "/proc/self/exe".into()
}

impl Compiler {
    /// Leaves a component's code in the sandbox's cache of compiled code.
    pub fn compile(
        &self,
        sandbox: &Sandbox,
        component: &[u8],
        cancel: &Cancel,
    ) -> Result<(), CompileError> {
        let Some(code) = sandbox.cache_dir() else {
            return Err(CompileError::NotHere("there is no cache of compiled code".into()));
        };
        let CompileLimits { time, memory_bytes } = self.limits;
        let (code, engine) = (code.to_owned(), sandbox.engine_kind());
        let order = Order { code, engine, seconds: whole_seconds(time), memory_bytes };
        let order = serde_json::to_string(&order).map_err(io::Error::other)?;
        let mut command = Command::new(&self.program);
        command.arg("compile").arg(order).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = Running(command.spawn()?);
        let (input, output) = (program.0.stdin.take(), program.0.stdout.take());
        thread::scope(|scope| {
            let give = move || {
                // It may have ended already: what it says is why.
                input.map(|mut input| input.write_all(component))
            };
            thread::Builder::new().name("component".into()).spawn_scoped(scope, give)?;
            // Where it is not waited for any more, it is killed, which ends the thread.
            let mut program = program;
            let status = program.wait(time, cancel)?;
            let mut message = String::new();
            if let Some(output) = output {
                output.take(MESSAGE_BYTES as u64).read_to_string(&mut message)?;
            }
            self.judge(status, message)
        })
    }

    fn judge(&self, status: ExitStatus, message: String) -> Result<(), CompileError> {
        let CompileLimits { time, memory_bytes } = self.limits;
        if status.success() {
            return Ok(());
        }
        let by = |signal: Signal| status.signal() == Some(signal.as_raw());
        Err(match status.code() {
            None if by(Signal::XCPU) => CompileError::Time(time),
            None if by(Signal::KILL) => CompileError::Killed,
            _ if message.is_empty() => CompileError::Ended { status, memory_bytes },
            Some(code) if code == i32::from(NOT_HERE) => CompileError::NotHere(message),
            _ => CompileError::Refused(message),
        })
    }
}

/// A program that is killed where this is dropped before its end.
struct Running(Child);

impl Running {
    fn wait(&mut self, time: Duration, cancel: &Cancel) -> Result<ExitStatus, CompileError> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if cancel.is_cancelled() {
                return Err(CompileError::Cancelled);
            }
            if began.elapsed() >= time {
                return Err(CompileError::Time(time));
            }
            thread::sleep(LOOK);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The program's side: compiles what comes on the standard input, as it was ordered, and
/// says on the standard output why not.
pub fn compile_here(order: &str) -> ExitCode {
    let (code, message) = match compile_as_ordered(order) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(CompileError::Refused(message)) => (ExitCode::FAILURE, message),
        Err(error) => (NOT_HERE.into(), error.to_string()),
    };
    let end = message.floor_char_boundary(MESSAGE_BYTES);
    print!("{}", &message[..end]);
    code
}

fn compile_as_ordered(order: &str) -> Result<(), CompileError> {
    let Order { code, engine, seconds, memory_bytes } =
        serde_json::from_str(order).map_err(io::Error::other)?;
    restrict(seconds, memory_bytes).map_err(io::Error::from)?;
    let mut component = Vec::new();
    io::stdin().read_to_end(&mut component)?;
    let config = SandboxConfig { cache_dir: Some(code), ..SandboxConfig::with_engine(engine) };
    let sandbox = Sandbox::new(config).map_err(io::Error::other)?;
    sandbox.compile(&component).map_err(|error| match error {
        LoadError::NotKept => CompileError::NotHere(error.to_string()),
        error => CompileError::Refused(error.to_string()),
    })
}

fn restrict(seconds: u64, memory_bytes: u64) -> rustix::io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let limit = |current, maximum| Rlimit { current: Some(current), maximum: Some(maximum) };
    // Reserved addresses do not count, as they would for the address space: an engine
    // reserves gigabytes of them and uses few.
    setrlimit(Resource::Data, limit(memory_bytes, memory_bytes))?;
    // All processors together may take as long as each of them. The first limit has a
    // signal of its own, by which the other end knows what happened.
    let processors = thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let seconds = seconds.saturating_mul(processors);
    setrlimit(Resource::Cpu, limit(seconds, seconds.saturating_add(1)))?;
    setrlimit(Resource::Core, limit(0, 0))?;
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_GO) {
        tracing::debug!(%error, "compiling is not what the kernel ends first");
    }
    give_way();
    Ok(())
}

fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Bench {
        folder: tempfile::TempDir,
        sandbox: Sandbox,
    }

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let cache_dir = Some(folder.path().join("code"));
            let sandbox = Sandbox::new(SandboxConfig { cache_dir, ..SandboxConfig::default() });
            Self { folder, sandbox: sandbox.unwrap() }
        }

        /// What comes of a program that does this.
        fn run(&self, script: &str, time: Duration, cancel: &Cancel) -> Result<(), CompileError> {
            let program = self.folder.path().join("program");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
            let limits = CompileLimits { time, memory_bytes: 1 << 20 };
            // More than a pipe holds.
            let component = vec![0; 1 << 20];
            Compiler { program, limits }.compile(&self.sandbox, &component, cancel)
        }

        fn said(&self, script: &str) -> CompileError {
            self.run(script, Duration::from_secs(600), &Cancel::default()).unwrap_err()
        }
    }

    #[test]
    fn how_the_program_ends_is_told_apart() {
        let bench = Bench::new();
        let long = Duration::from_secs(600);
        bench.run("cat > /dev/null", long, &Cancel::default()).unwrap();
        // Also one that reads nothing.
        bench.run("exit 0", long, &Cancel::default()).unwrap();
        assert!(matches!(bench.said("printf no; exit 1"), CompileError::Refused(m) if m == "no"));
        let full = bench.said("printf full; exit 3");
        assert!(matches!(&full, CompileError::NotHere(m) if m == "full") && full.is_transient());
        let killed = bench.said("kill -KILL $$");
        assert!(matches!(killed, CompileError::Killed) && killed.is_transient());
        let ended = bench.said("kill -ABRT $$");
        assert!(matches!(ended, CompileError::Ended { .. }) && !ended.is_transient());
        assert!(ended.to_string().contains("1048576 bytes"), "{ended}");
        assert!(matches!(bench.said("kill -XCPU $$"), CompileError::Time(t) if t == long));
        let missing = Compiler {
            program: bench.folder.path().join("missing"),
            limits: CompileLimits { time: long, memory_bytes: 1 },
        };
        let missing = missing.compile(&bench.sandbox, b"", &Cancel::default()).unwrap_err();
        assert!(matches!(missing, CompileError::Program(_)) && missing.is_transient());
    }

    /// It would never end, and reads nothing.
    #[test]
    fn what_is_not_wanted_any_more_or_takes_too_long_is_killed() {
        let bench = Bench::new();
        let pid = bench.folder.path().join("pid");
        let hangs = format!("echo $$ > {}; exec sleep 1000", pid.display());
        let began = || std::fs::read_to_string(&pid).is_ok_and(|text| text.ends_with('\n'));
        let is_gone = || {
            let process = std::fs::read_to_string(&pid).unwrap();
            !PathBuf::from(format!("/proc/{}", process.trim())).exists()
        };
        let late = bench.run(&hangs, Duration::from_secs(3), &Cancel::default()).unwrap_err();
        assert!(matches!(late, CompileError::Time(_)) && !late.is_transient() && is_gone());
        std::fs::remove_file(&pid).unwrap();
        let cancel = Cancel::default();
        thread::scope(|scope| {
            let ended = scope.spawn(|| bench.run(&hangs, Duration::from_secs(600), &cancel));
            while !began() {
                thread::sleep(LOOK);
            }
            cancel.cancel();
            assert!(matches!(ended.join().unwrap(), Err(CompileError::Cancelled)));
        });
        assert!(is_gone());
    }
}
