//! A fog host while everything goes wrong at once: names that change what they stand for
//! under load, requests with fuzzed heads and bodies, clients that send a byte at a time
//! or leave, wrong tensors. It never panics, never answers with wrong bits, never says
//! that it is broken itself, and its memory stays flat.
//!
//! `LEEWAY_SOAK_SECONDS=900 cargo test --release -p leeway-cli -p leeway-tests --test soak
//! -- --nocapture` is the long one; without the variable it takes some seconds.

#[path = "soak/attackers.rs"]
mod attackers;
#[path = "soak/clients.rs"]
mod clients;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use leeway_compiler::Options;
use leeway_contract::{Certificate, Digest, Tensor};
use leeway_fog_host::{FogConfig, Running};
use leeway_guest_models::reference_model;
use leeway_runtime::sandbox::{Limits, Sandbox, SandboxConfig};
use leeway_tests::random::{Random, Style};

const SECONDS: u64 = 5;
/// The inputs of each model that answers are compared for.
const INPUTS: u64 = 16;
/// What the process may grow by from a quarter of the time on. The allocator keeps what
/// it was given in bursts.
const GROWTH_BYTES: u64 = 24 << 20;

/// A module, and what it gives for some inputs.
pub(crate) struct Model {
    pub(crate) component: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) certificate: Certificate,
    /// Inputs and the bits of their outputs.
    pub(crate) pairs: Vec<(Vec<Tensor>, Vec<Tensor>)>,
}

/// What all threads share.
pub(crate) struct Soak {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    /// `m` stands for one of these, in turns.
    pub(crate) models: [Model; 2],
    pub(crate) over: AtomicBool,
    pub(crate) seen: Seen,
    /// What was wrong, if anything.
    pub(crate) wrong: Mutex<Vec<String>>,
}

/// How often what happened.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) answers: AtomicU64,
    pub(crate) refusals: AtomicU64,
    pub(crate) swaps: AtomicU64,
    pub(crate) fuzzed: AtomicU64,
    pub(crate) left: AtomicU64,
    pub(crate) slow: AtomicU64,
}

impl Soak {
    /// Whether it goes on.
    pub(crate) fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// Notes what must not be, and ends the soak.
    pub(crate) fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
        self.over.store(true, Ordering::Relaxed);
    }

    /// The reference models that the network of a request may be.
    pub(crate) fn model(&self, digest: Digest) -> Option<&Model> {
        self.models.iter().find(|model| model.digest == digest)
    }
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn model(name: &str, version: &str) -> Model {
    let onnx = reference_model(name).unwrap().onnx;
    let options = Options { name: "m".into(), version: version.into(), ..Options::default() };
    let sealed = leeway_compiler::compile(onnx, &options).unwrap().seal(&[]);
    let sandbox = Sandbox::new(SandboxConfig::default()).unwrap();
    let module = sandbox.load(&sealed.component).unwrap();
    let mut instance = module.instantiate().unwrap();
    let (specs, last) = (sealed.certificate.inputs(), sealed.certificate.last_stage());
    let pair = |seed| {
        let inputs = Random::new(seed).tensors(specs, Style::Tame);
        let outputs = instance.run(0..=last, &inputs, &Limits::default()).unwrap().outputs;
        (inputs, outputs)
    };
    let pairs = (0..INPUTS).map(pair).collect();
    let digest = Digest::of(&sealed.component);
    Model { component: sealed.component, digest, certificate: sealed.certificate, pairs }
}

/// The memory of this process that is in use.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn seconds() -> u64 {
    let given = std::env::var("LEEWAY_SOAK_SECONDS").ok();
    given.map_or(SECONDS, |text| text.parse().expect("LEEWAY_SOAK_SECONDS is a number"))
}

static PANICS: AtomicU64 = AtomicU64::new(0);

#[test]
fn nothing_that_clients_do_makes_it_panic_grow_or_answer_wrong() {
    // The host's threads are this process's: a panic that is contained counts too.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        count(&PANICS);
        report(panic);
    }));
    let host = Running::start(FogConfig {
        workers: 2,
        listen_grpc: Some(([127, 0, 0, 1], 0).into()),
        idle_time: Duration::from_secs(2),
        request_time: Duration::from_secs(2),
        connections: 512,
        ..FogConfig::default()
    });
    let host = host.unwrap();
    let soak = Soak {
        http: host.local_addr(),
        grpc: host.grpc_addr().unwrap(),
        models: [model("mlp-digits", "1"), model("cnn-digits", "2")],
        over: AtomicBool::new(false),
        seen: Seen::default(),
        wrong: Mutex::default(),
    };
    clients::push(&soak);
    let time = Duration::from_secs(seconds());
    let memory = thread::scope(|scope| {
        start(scope, &soak);
        let memory = watch(&soak, time);
        soak.over.store(true, Ordering::Relaxed);
        memory
    });
    let Seen { answers, refusals, swaps, fuzzed, left, slow } = &soak.seen;
    let counts = [answers, refusals, swaps, fuzzed, left, slow];
    let [answers, refusals, swaps, fuzzed, left, slow] =
        counts.map(|counter| counter.load(Ordering::Relaxed));
    println!(
        "{time:?}: {answers} answers with the right bits, {refusals} refusals, {swaps} swaps, \
         {fuzzed} fuzzed requests, {left} clients that left, {slow} slow ones; {} MiB, then at most {} MiB",
        memory.first >> 20,
        memory.most >> 20,
    );
    assert_eq!(*soak.wrong.lock().unwrap(), Vec::<String>::new());
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    assert!(answers > 0 && refusals > 0 && swaps > 1 && fuzzed > 0 && left > 0 && slow > 0);
    assert!(memory.most < memory.first + GROWTH_BYTES, "{memory:?}");
    // It is as it was before.
    clients::ask(&soak, &mut clients::agent(), 0);
    assert_eq!(*soak.wrong.lock().unwrap(), Vec::<String>::new());
    host.shutdown().unwrap();
}

fn start<'a>(scope: &'a Scope<'a, '_>, soak: &'a Soak) {
    for seed in 0..2 {
        scope.spawn(move || clients::keep_asking(soak, seed));
    }
    scope.spawn(|| clients::keep_swapping(soak));
    scope.spawn(|| attackers::send_wrong_tensors(soak));
    for seed in 0..2 {
        scope.spawn(move || attackers::fuzz(soak, seed));
    }
    scope.spawn(|| attackers::leave(soak));
    scope.spawn(|| attackers::be_slow(soak));
}

/// The memory at a quarter of the time, and the most from then on.
#[derive(Debug)]
struct Memory {
    first: u64,
    most: u64,
}

fn watch(soak: &Soak, time: Duration) -> Memory {
    let start = Instant::now();
    let mut memory = None;
    while soak.goes_on() && start.elapsed() < time {
        thread::sleep(Duration::from_millis(100));
        if start.elapsed() > time / 4 {
            let now = resident_bytes();
            let memory = memory.get_or_insert(Memory { first: now, most: now });
            memory.most = memory.most.max(now);
        }
    }
    let now = resident_bytes();
    memory.unwrap_or(Memory { first: now, most: now })
}
