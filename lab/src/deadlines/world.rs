//! The world around the dispatcher: inputs that take as long as the calibration saw,
//! and a link that carries them as its condition allows.
//!
//! The luck of an input is drawn from its number: it is the same under each policy,
//! whether the input is sent or not. Inputs do not queue behind each other on the
//! link, so that one choice does not change another one's luck.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use leeway_contract::{Tensor, TensorSpec};
use leeway_runtime::offload::estimate::FogTime;
use leeway_runtime::offload::fog::{FogAnswer, FogError, Traffic};
use leeway_runtime::offload::simulate::{Arrival, World};
use leeway_runtime::offload::{Dispatcher, Due, InputId, Placed};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::hindsight::{Foresight, Future};
use super::{Scenario, Timed};
use crate::link::{Direction, Flow, LinkModel};

/// What an exchange moves beside its tensors: headers and the JSON part.
const OVERHEAD: Traffic = Traffic { up_bytes: 450, down_bytes: 400 };
/// What the fog host adds to an execution: reading and writing messages.
const SERVING: Duration = Duration::from_micros(150);
const NEVER: Duration = Duration::from_secs(1_000_000);

pub(super) struct Sky<'a> {
    scenario: &'a Scenario,
    timed: &'a [Timed],
    foresight: Foresight,
    /// Of the input that is being placed.
    placing: usize,
    numbers: HashMap<InputId, (usize, usize)>,
    probes: u64,
}

/// One input's luck.
struct Luck {
    local: Duration,
    compute: Duration,
    rng: ChaCha8Rng,
}

impl<'a> Sky<'a> {
    pub fn new(scenario: &'a Scenario, timed: &'a [Timed], foresight: Foresight) -> Self {
        Self { scenario, timed, foresight, placing: 0, numbers: HashMap::new(), probes: 0 }
    }

    fn luck(&self, number: usize, stream: usize) -> Luck {
        let mut rng = ChaCha8Rng::seed_from_u64(self.scenario.seed);
        rng.set_stream(number as u64 + 1);
        let timed = &self.timed[stream];
        let mut draw =
            |times: &[u64]| Duration::from_nanos(times[rng.random_range(0..times.len())]);
        let (local, compute) = (draw(&timed.device_ns), draw(&timed.fog_ns) + SERVING);
        Luck { local, compute, rng }
    }

    fn traffic(&self, stream: usize) -> Traffic {
        let bytes = |specs: &[TensorSpec]| {
            specs.iter().filter_map(|spec| spec.size_bytes()).sum::<usize>() as u64
        };
        let certificate = &self.timed[stream].certificate;
        Traffic {
            up_bytes: bytes(certificate.inputs()) + OVERHEAD.up_bytes,
            down_bytes: bytes(certificate.outputs()) + OVERHEAD.down_bytes,
        }
    }

    /// How long an exchange takes that is sent at `now`.
    fn exchange(&self, now: Duration, traffic: Traffic, compute: Duration, seed: u64) -> Duration {
        let carried = |at: Duration, direction, bytes: u64, salt| {
            let starts = self.scenario.resumes(at)?;
            let profile = self.scenario.at(starts).profile.clone()?;
            let mut model = LinkModel::new(profile, seed.wrapping_add(salt));
            let sent = model.send(&mut Flow::new(direction), Duration::ZERO, bytes as usize);
            let arrives = starts + sent.last()?.at;
            // What is on its way when the link goes arrives when it is back.
            self.scenario.resumes(arrives)
        };
        let time = || {
            let there = carried(now, Direction::Up, traffic.up_bytes, 1)?;
            carried(there + compute, Direction::Down, traffic.down_bytes, 2)
        };
        time().map_or(NEVER, |at| at - now)
    }

    fn future(&self, now: Duration, number: usize, stream: usize) -> (Future, Luck) {
        let mut luck = self.luck(number, stream);
        let seed = luck.rng.random();
        let offloaded = self.exchange(now, self.traffic(stream), luck.compute, seed);
        (Future { local: luck.local, offloaded }, luck)
    }
}

impl World for Sky<'_> {
    fn arrives(
        &mut self,
        now: Duration,
        number: usize,
        arrival: Arrival,
        _: &mut Dispatcher,
    ) -> Vec<InputId> {
        self.placing = number;
        self.foresight.tell(self.future(now, number, arrival.stream).0);
        Vec::new()
    }

    fn placed(&mut self, placed: &Placed) {
        self.numbers.insert(placed.input, (self.placing, placed.stream));
    }

    fn infer(
        &mut self,
        now: Duration,
        placed: &Placed,
        _: Duration,
    ) -> (Duration, Result<FogAnswer, FogError>) {
        let stream = placed.stream;
        let (future, luck) = self.future(now, self.placing, stream);
        let certificate = &self.timed[stream].certificate;
        let outputs = certificate.outputs().iter().map(|spec| Tensor {
            dtype: spec.dtype,
            shape: spec.shape.clone(),
            data: Vec::new(),
        });
        let (compute, fuel) = (luck.compute, certificate.total_fuel());
        let time = FogTime { compute, queue: Duration::ZERO, fuel };
        let answer = FogAnswer { outputs: outputs.collect(), time, traffic: self.traffic(stream) };
        (future.offloaded, Ok(answer))
    }

    fn probe(&mut self, now: Duration, due: Due) -> (Duration, Result<Traffic, FogError>) {
        let traffic = match due {
            Due::Throughput(bytes) => {
                Traffic { up_bytes: bytes as u64 + 250, down_bytes: bytes as u64 + 150 }
            }
            _ => Traffic { up_bytes: 250, down_bytes: 200 },
        };
        self.probes += 1;
        let seed = self.scenario.seed ^ (self.probes << 32);
        (self.exchange(now, traffic, Duration::ZERO, seed), Ok(traffic))
    }

    fn run(
        &mut self,
        _: Duration,
        input: InputId,
        stream: usize,
        _: RangeInclusive<u32>,
        budget: Duration,
    ) -> Duration {
        let whole = self.timed[stream].bound(&leeway_runtime::timing::BoundRule::default());
        let Some(&(number, _)) = self.numbers.get(&input) else { return budget };
        let part = budget.as_secs_f64() / whole.as_secs_f64().max(1e-12);
        self.luck(number, stream).local.mul_f64(part)
    }
}
