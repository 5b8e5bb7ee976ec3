//! Two versions of a model take turns on one device while it answers without a pause:
//! what is lost, how much longer answers take, and whether memory grows.
//!
//! Phases with swaps and phases without take turns, so that whatever else the machine
//! does slows both down.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use leeway_compiler::Options;
use leeway_contract::{Digest, Tensor};
use leeway_deploy::files::RealFiles;
use leeway_deploy::serving::Instances;
use leeway_deploy::state::{Rules, Settings, StreamSettings};
use leeway_deploy::store::Limits;
use leeway_deploy::transaction::{BytesSource, Cancel, Request, TrialOptions};
use leeway_deploy::trust::Trust;
use leeway_deploy::{Config, Deployer};
use leeway_runtime::admission::Executor;
use leeway_runtime::offload::{Runner, Setup};
use leeway_runtime::sandbox::{Limits as RunLimits, Sandbox, SandboxConfig};
use leeway_runtime::timing::BoundRule;

use crate::onnx::{FLOAT, Graph};
use crate::random::{Random, Style};

const MODEL: &str = "swapped";
/// Inputs and outputs of each layer of the model.
const SIZE: usize = 384;
const LAYERS: usize = 3;

/// How long answers took: counts in buckets that are a part of 1/32 wide, so that what
/// is recorded takes no more memory the longer it goes on.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; 64 * 32] }
    }
}

impl Latencies {
    fn record(&mut self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(32);
        let octave = 63 - ns.leading_zeros();
        let part = (ns >> (octave - 5)) & 31;
        self.counts[octave as usize * 32 + part as usize] += 1;
    }

    /// Answers that were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time that this part of all answers did not exceed.
    pub fn quantile(&self, part: f64) -> Duration {
        let wanted = (self.count() as f64 * part).ceil() as u64;
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        let bucket = bucket.unwrap_or(0) as u64;
        let (octave, part) = (bucket / 32, bucket % 32);
        Duration::from_nanos(((33 + part) << octave) >> 5)
    }

    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
    }
}

/// The answers of a version after which it is as fast as ever.
pub const COLD: usize = 8;

/// What answers took in one kind of phase.
#[derive(Clone, Debug, Default)]
pub struct Phase {
    /// From the call to the answer.
    pub wall: Latencies,
    /// Of the calling thread, which runs the model.
    pub cpu: Latencies,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Report {
    /// Swaps that were made.
    pub swaps: u64,
    /// Inferences that gave an error, or other bits than the version that answered.
    pub wrong: u64,
    /// What the first of them gave.
    pub first_wrong: Option<String>,
    /// Inferences that were begun.
    pub begun: u64,
    /// While versions were swapped.
    pub swapping: Phase,
    /// While none was.
    pub still: Phase,
    /// Of those while swapping: each version's first, second and so on.
    pub first: [Latencies; COLD],
    /// The memory of the process, in bytes, after each block.
    pub resident: Vec<u64>,
    /// What all swaps took.
    pub swap_time: Duration,
    /// And with the pauses between them.
    pub swapping_time: Duration,
}

impl Report {
    /// Inferences that have an answer.
    pub fn answered(&self) -> u64 {
        self.swapping.wall.count() + self.still.wall.count()
    }
}

/// The resident memory of this process, in bytes.
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a field");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    1024 * kilobytes.parse::<u64>().expect("a number")
}

/// A device with two versions of a model.
pub struct Soak {
    deployer: Arc<Deployer>,
    versions: [Version; 2],
    input: Vec<Tensor>,
    streams: Vec<StreamSettings>,
    _directory: tempfile::TempDir,
}

struct Version {
    digest: Digest,
    component: Vec<u8>,
    /// What it makes of the input.
    outputs: Vec<Tensor>,
}

const STILL: u8 = 0;
const SWAPPING: u8 = 1;

impl Soak {
    /// Compiles two versions and deploys both once, without a stream.
    pub fn new() -> anyhow::Result<Self> {
        Self::with(Vec::new())
    }

    /// The same with this stream, whose inputs the executor answers.
    pub fn with_stream(stream: StreamSettings) -> anyhow::Result<Self> {
        Self::with(vec![stream])
    }

    fn with(streams: Vec<StreamSettings>) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut versions = Vec::new();
        let mut input = Vec::new();
        let sandbox = Sandbox::new(SandboxConfig::default())?;
        for number in 1..=2 {
            let name = MODEL.to_owned();
            let options = Options { name, version: number.to_string(), ..Options::default() };
            let component = leeway_compiler::compile(&onnx(number), &options)?.seal(&[]).component;
            let module = sandbox.load(&component)?;
            if input.is_empty() {
                let specs = module.certificate().inputs();
                input = Random::new(3).tensors(specs, Style::Tame);
            }
            let stages = 0..=module.certificate().last_stage();
            let mut instance = module.instantiate()?;
            let outputs = instance.run(stages, &input, &RunLimits::default())?.outputs;
            versions.push(Version { digest: module.digest(), component, outputs });
        }
        let versions = versions.try_into().map_err(|_| anyhow::anyhow!("two versions"))?;
        let config = Config {
            root: directory.path().to_owned(),
            limits: Limits::default(),
            trust: Trust { allow_unsigned: true, ..Trust::default() },
            sandbox: SandboxConfig::default(),
            compiler: None,
            instance_bytes: u64::MAX,
            trial: TrialOptions::default(),
            bound: BoundRule::default(),
            streams: Arc::new(Runner::start(Setup::alone(Executor::default()))?),
            offloading: None,
            launch: Arc::new(Instances::launch),
        };
        let deployer = leeway_deploy::open(Arc::new(RealFiles), config)?;
        let soak = Self { deployer, versions, input, streams, _directory: directory };
        (0..2).try_for_each(|turn| soak.swap(turn))?;
        Ok(soak)
    }

    /// Brings one of the versions in, by a whole transaction.
    fn swap(&self, turn: u64) -> anyhow::Result<()> {
        let version = &self.versions[(turn % 2) as usize];
        // Of a machine that does other things as well, overruns say nothing.
        let most = u64::MAX;
        let probation = Rules { overruns: most, deadline_misses: most, ..Rules::default() };
        let streams = self.streams.clone();
        let settings = Some(Settings { streams, probation, ..Settings::default() });
        let request = Request { settings, ..Request::new(version.digest) };
        let mut source = BytesSource(version.component.clone());
        self.deployer.deploy(&request, Some(&mut source), &Cancel::default(), &|_| {})?;
        Ok(())
    }

    /// Makes `blocks` blocks of `swaps` swaps each under load, of which one begins `every` so
    /// long after the other or when that has ended, and a quarter as long without. `told`
    /// hears how many blocks are done.
    pub fn run(
        &self,
        blocks: u64,
        swaps: u64,
        every: Duration,
        mut told: impl FnMut(u64, &Report),
    ) -> anyhow::Result<Report> {
        let mut report = Report::default();
        for block in 0..blocks {
            let (ended, phase) = (AtomicBool::new(false), AtomicU8::new(STILL));
            std::thread::scope(|scope| {
                let load = scope.spawn(|| self.load(&ended, &phase));
                let work = self.work(block, swaps, every, &phase, &mut report);
                ended.store(true, Ordering::Relaxed);
                let seen = load.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                report.begun += seen.begun;
                report.wrong += seen.wrong;
                report.first_wrong = report.first_wrong.take().or(seen.first_wrong);
                for (sum, one) in
                    [(&mut report.still, &seen.phases[0]), (&mut report.swapping, &seen.phases[1])]
                {
                    sum.wall.add(&one.wall);
                    sum.cpu.add(&one.cpu);
                }
                report.first.iter_mut().zip(&seen.first).for_each(|(sum, one)| sum.add(one));
                work
            })?;
            report.resident.push(resident_bytes());
            told(block + 1, &report);
        }
        Ok(report)
    }

    /// One block: swaps, and a time without, in turns first.
    fn work(
        &self,
        block: u64,
        swaps: u64,
        every: Duration,
        phase: &AtomicU8,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let still = |time: Duration| {
            phase.store(STILL, Ordering::Relaxed);
            std::thread::sleep(time);
        };
        if block % 2 == 1 {
            still(report.swapping_time / u32::try_from(block)? / 4);
        }
        phase.store(SWAPPING, Ordering::Relaxed);
        let begin = Instant::now();
        for turn in 0..swaps {
            let swap = Instant::now();
            self.swap(block * swaps + turn)?;
            report.swaps += 1;
            report.swap_time += swap.elapsed();
            std::thread::sleep(every.saturating_sub(swap.elapsed()));
        }
        let took = begin.elapsed();
        report.swapping_time += took;
        if block.is_multiple_of(2) {
            still(took / 4);
        }
        Ok(())
    }

    /// Asks without a pause, and looks at each answer.
    fn load(&self, ended: &AtomicBool, phase: &AtomicU8) -> Load {
        let mut load = Load::default();
        let (mut last, mut place) = (None, 0);
        while !ended.load(Ordering::Relaxed) {
            let inputs = self.input.clone();
            load.begun += 1;
            let during = phase.load(Ordering::Relaxed);
            let (begin, thread) = (Instant::now(), ThreadTime::now());
            let answer = self.deployer.infer(MODEL, inputs);
            let (wall, cpu) = (begin.elapsed(), thread.elapsed());
            let wrong = match answer {
                Ok(answer) => {
                    place = if last == Some(answer.digest) { place + 1 } else { 0 };
                    last = Some(answer.digest);
                    let version = self.versions.iter().find(|v| v.digest == answer.digest);
                    let right = version.is_some_and(|v| v.outputs == answer.ran.outputs);
                    (!right).then(|| format!("other outputs than {}'s", answer.digest))
                }
                Err(error) => Some(error.to_string()),
            };
            if wrong.is_none() {
                let phase = &mut load.phases[usize::from(during)];
                phase.wall.record(wall);
                phase.cpu.record(cpu);
                if during == SWAPPING
                    && let Some(first) = load.first.get_mut(place)
                {
                    first.record(wall);
                }
            } else {
                load.wrong += 1;
                load.first_wrong = load.first_wrong.or(wrong);
            }
        }
        load
    }
}

#[derive(Default)]
struct Load {
    begun: u64,
    wrong: u64,
    first_wrong: Option<String>,
    phases: [Phase; 2],
    first: [Latencies; COLD],
}

fn onnx(seed: u64) -> Vec<u8> {
    let mut graph = Graph::new();
    let mut value = graph.input("x", FLOAT, &[1, SIZE].map(Into::into));
    for layer in 0..LAYERS {
        let weights = Random::new(10 * seed + layer as u64).numbers(SIZE * SIZE);
        let weights = graph.floats(&[SIZE, SIZE], &weights);
        value = graph.node("MatMul", &[&value, &weights], &[]);
    }
    graph.finish(&[&value])
}

#[test]
fn quantiles_are_within_a_bucket() {
    let mut latencies = Latencies::default();
    for us in 1..=1000 {
        latencies.record(Duration::from_micros(us));
    }
    for (part, us) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
        let seen = latencies.quantile(part).as_secs_f64() * 1e6;
        assert!(seen >= us && seen <= us * 1.07, "{part}: {seen}");
    }
}
