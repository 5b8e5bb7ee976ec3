//! What the host has seen of its clients and their devices, for whoever looks at
//! it: the last ten minutes, in memory, of as many as there is room for.
//!
//! A client is who asks (a token, a certificate, an address); a device is what
//! reports under a name, by a client. Nothing that the host decides depends on it.

mod series;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use leeway_protocol::device::{Decisions, DeviceReport, ModelReport};

use crate::observe::{Histogram, Times};
pub(crate) use series::{STEP, STEPS, Series};

/// The clients and the devices that are told apart. When there are more, the one
/// that was not seen for the longest is forgotten.
const KNOWN: usize = 256;

/// A sum, for a mean.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    seconds: f64,
    count: u32,
}

impl Mean {
    fn add(&mut self, time: Duration) {
        self.seconds += time.as_secs_f64();
        self.count += 1;
    }

    fn join(&mut self, other: &Self) {
        self.seconds += other.seconds;
        self.count += other.count;
    }

    /// In milliseconds; `None` of nothing.
    pub(crate) fn millis(&self) -> Option<f64> {
        (self.count > 0).then(|| self.seconds * 1e3 / f64::from(self.count))
    }
}

/// What the host itself did in a step.
#[derive(Clone, Default)]
pub(crate) struct Traffic {
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) request: Histogram,
    pub(crate) queue: Histogram,
    pub(crate) compute: Histogram,
}

/// What devices reported in a step.
#[derive(Clone, Default)]
pub(crate) struct Flow {
    pub(crate) decisions: Decisions,
    /// T_L.
    pub(crate) transfer: Mean,
    /// T_F.
    pub(crate) fog: Mean,
    /// The worst case on the device.
    pub(crate) wcet: Mean,
}

impl Flow {
    fn note(&mut self, report: &ModelReport) {
        self.decisions.add(report.decisions);
        let times = [
            (&mut self.transfer, report.transfer_ns),
            (&mut self.fog, report.fog_ns),
            (&mut self.wcet, Some(report.wcet_ns)),
        ];
        for (mean, nanos) in times {
            if let Some(nanos) = nanos {
                mean.add(Duration::from_nanos(nanos));
            }
        }
    }

    fn join(&mut self, other: &Self) {
        self.decisions.add(other.decisions);
        self.transfer.join(&other.transfer);
        self.fog.join(&other.fog);
        self.wcet.join(&other.wcet);
    }
}

/// Who asked.
#[derive(Clone)]
pub(crate) struct SeenClient {
    pub(crate) address: IpAddr,
    /// The program, by its own word.
    pub(crate) agent: String,
    pub(crate) at: Duration,
    pub(crate) answered: u64,
    /// Refused or failed.
    pub(crate) not_answered: u64,
}

/// What reported.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) at: Duration,
    /// Since the host began.
    pub(crate) decisions: Decisions,
    /// The last report that told of each model.
    pub(crate) models: BTreeMap<String, ModelReport>,
    pub(crate) flow: Series<Flow>,
}

/// A device's client, and its own name.
pub(crate) type DeviceName = (Arc<str>, String);

#[derive(Default)]
struct State {
    clients: BTreeMap<Arc<str>, SeenClient>,
    devices: BTreeMap<DeviceName, Device>,
    traffic: Series<Traffic>,
}

/// All that was seen.
pub(crate) struct Seen {
    began: Instant,
    state: Mutex<State>,
}

/// What became of a request for an inference.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answered {
    /// In these times.
    Yes(Times),
    /// It may be tried again later.
    Refused,
    /// Not at all.
    Failed,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), state: Mutex::default() }
    }

    /// How long the host has been there: the time of everything in here.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client asks for something.
    pub(crate) fn asks(&self, client: &Arc<str>, address: IpAddr, agent: Option<&str>) {
        let now = self.now();
        let mut state = self.lock();
        let known = state.clients.entry(Arc::clone(client)).or_insert_with(|| SeenClient {
            address,
            agent: String::new(),
            at: now,
            answered: 0,
            not_answered: 0,
        });
        (known.address, known.at) = (address, now);
        if let Some(agent) = agent
            && known.agent != agent
        {
            known.agent = agent.chars().take(100).collect();
        }
        forget_one(&mut state.clients, |client| client.at);
    }

    /// What became of a client's inference.
    pub(crate) fn inferred(&self, client: &str, answered: Answered) {
        let now = self.now();
        let mut state = self.lock();
        let step = state.traffic.at(now);
        match answered {
            Answered::Yes(times) => {
                step.answered += 1;
                step.request.observe(times.request);
                step.queue.observe(times.queue);
                step.compute.observe(times.compute);
            }
            Answered::Refused => step.refused += 1,
            Answered::Failed => step.failed += 1,
        }
        if let Some(client) = state.clients.get_mut(client) {
            match answered {
                Answered::Yes(_) => client.answered += 1,
                Answered::Refused | Answered::Failed => client.not_answered += 1,
            }
        }
    }

    /// A device reports.
    pub(crate) fn reported(&self, client: &Arc<str>, name: String, report: DeviceReport) {
        let now = self.now();
        let mut state = self.lock();
        let device = state.devices.entry((Arc::clone(client), name)).or_insert_with(|| Device {
            at: now,
            decisions: Decisions::default(),
            models: BTreeMap::new(),
            flow: Series::default(),
        });
        device.at = now;
        for model in report.models {
            device.decisions.add(model.decisions);
            device.flow.at(now).note(&model);
            device.models.insert(model.name.clone(), model);
            // What a device no longer has goes out of use by its own.
            while device.models.len() > leeway_protocol::device::MOST_MODELS {
                device.models.pop_first();
            }
        }
        forget_one(&mut state.devices, |device| device.at);
    }

    /// All clients, the one seen last first.
    pub(crate) fn clients(&self) -> Vec<(Arc<str>, SeenClient)> {
        let state = self.lock();
        let mut all: Vec<_> =
            state.clients.iter().map(|(name, client)| (Arc::clone(name), client.clone())).collect();
        all.sort_by_key(|(_, client)| std::cmp::Reverse(client.at));
        all
    }

    /// Has `look` see all devices.
    pub(crate) fn devices<T>(&self, look: impl FnOnce(&BTreeMap<DeviceName, Device>) -> T) -> T {
        look(&self.lock().devices)
    }

    /// What the host did in the last `steps`.
    pub(crate) fn traffic(&self, steps: usize) -> Vec<Traffic> {
        let now = self.now();
        let state = self.lock();
        state.traffic.last(steps, now).map(|step| step.cloned().unwrap_or_default()).collect()
    }
}

impl Device {
    /// What the device reported in the last steps.
    pub(crate) fn flow(&self, now: Duration) -> Vec<Flow> {
        let mut flow = vec![Flow::default(); STEPS];
        self.add_flow(now, &mut flow);
        flow
    }

    /// Adds what the device reported in the last steps.
    pub(crate) fn add_flow(&self, now: Duration, to: &mut [Flow]) {
        for (sum, step) in to.iter_mut().zip(self.flow.last(STEPS, now)) {
            if let Some(step) = step {
                sum.join(step);
            }
        }
    }
}

/// Forgets whoever was not seen for the longest, where there are too many.
fn forget_one<K: Ord + Clone, V>(known: &mut BTreeMap<K, V>, at: impl Fn(&V) -> Duration) {
    if known.len() > KNOWN {
        let oldest = known.iter().min_by_key(|(_, one)| at(one)).map(|(name, _)| name.clone());
        if let Some(oldest) = oldest {
            known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use leeway_contract::Digest;

    fn report(local: u64, fog: u64, transfer_ns: Option<u64>) -> DeviceReport {
        let decisions = Decisions { local, fog, ..Decisions::default() };
        let model = ModelReport {
            name: "m".into(),
            digest: Digest::of(b"m"),
            policy: "threshold".into(),
            decisions,
            wcet_ns: 10_000_000,
            transfer_ns,
            fog_ns: Some(1_000_000),
            latency_ns: 0,
            deadline_ns: None,
        };
        DeviceReport { models: vec![model] }
    }

    #[test]
    fn reports_add_up_by_device_and_over_all() {
        let (seen, client) = (Seen::new(), Arc::<str>::from("gateway"));
        seen.reported(&client, "a".into(), report(1, 2, Some(4_000_000)));
        seen.reported(&client, "a".into(), report(3, 0, None));
        seen.reported(&client, "b".into(), report(5, 5, Some(8_000_000)));
        let now = seen.now();
        seen.devices(|devices| {
            let a = &devices[&(Arc::clone(&client), "a".to_owned())];
            assert_eq!((a.decisions.local, a.decisions.fog), (4, 2));
            let mut all = a.flow(now);
            devices[&(client, "b".to_owned())].add_flow(now, &mut all);
            let sum: u64 = all.iter().map(|step| step.decisions.total()).sum();
            assert_eq!(sum, 16);
            let transfer = all.iter().find_map(|step| step.transfer.millis()).unwrap();
            assert!((4.0..=8.0).contains(&transfer), "{transfer}");
        });
    }

    #[test]
    fn whoever_was_not_seen_for_the_longest_is_forgotten() {
        let (seen, address) = (Seen::new(), IpAddr::from([192, 0, 2, 1]));
        for number in 0..KNOWN + 5 {
            let client = number.to_string().into();
            seen.asks(&client, address, Some("curl"));
            seen.reported(&client, "d".into(), DeviceReport::default());
        }
        let clients = seen.clients();
        assert_eq!(clients.len(), KNOWN);
        assert_eq!(&*clients[0].0, (KNOWN + 4).to_string());
        assert!(seen.devices(|devices| devices.len()) == KNOWN);
    }

    #[test]
    fn a_clients_inferences_are_counted_by_what_became_of_them() {
        let (seen, client) = (Seen::new(), "a".into());
        seen.asks(&client, IpAddr::from([192, 0, 2, 1]), None);
        for answered in [Answered::Yes(Times::default()), Answered::Refused, Answered::Failed] {
            seen.inferred(&client, answered);
        }
        let (_, client) = &seen.clients()[0];
        assert_eq!((client.answered, client.not_answered), (1, 2));
        let steps = seen.traffic(2);
        let sum = |of: fn(&Traffic) -> u64| steps.iter().map(of).sum::<u64>();
        assert_eq!((sum(|s| s.answered), sum(|s| s.refused), sum(|s| s.failed)), (1, 1, 1));
    }
}
