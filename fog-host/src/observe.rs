//! What the host counts and times: for the statistics extension, and for
//! Prometheus, whose names follow its conventions (base units, `_total`).

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leeway_contract::Fuel;
use leeway_protocol::statistics::{BatchStatistics, InferenceStatistics, ModelStatistics};
use serde::Serialize;

/// The upper bounds of the histograms' buckets, in seconds.
pub(crate) const BUCKETS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 10.0,
];

/// The models that are told apart. Of more, the rest are counted as one, `other`.
const MODELS: usize = 1000;

/// The times of one inference that was answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Times {
    /// From the request's head to the answer.
    pub(crate) request: Duration,
    /// Reading and checking the request.
    pub(crate) input: Duration,
    /// Waiting for a worker.
    pub(crate) queue: Duration,
    /// The run.
    pub(crate) compute: Duration,
    /// Writing the answer.
    pub(crate) output: Duration,
    /// The time that the client gave, where it did.
    pub(crate) deadline: Option<Duration>,
}

/// Why a request was refused, as a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refused {
    /// It could not have ended in time.
    Deadline,
    /// The queue is full.
    Queue,
    /// The client has too many requests under way, or in a second.
    Client,
    /// Nobody knows the client.
    Unknown,
    /// The client is known and may not do that.
    Forbidden,
    /// A pushed module that does not keep the contract.
    Module,
    /// The client keeps all that it may.
    Quota,
}

impl Refused {
    fn label(self) -> &'static str {
        match self {
            Refused::Deadline => "deadline",
            Refused::Queue => "queue",
            Refused::Client => "client",
            Refused::Unknown => "unauthenticated",
            Refused::Forbidden => "forbidden",
            Refused::Module => "module",
            Refused::Quota => "quota",
        }
    }
}

/// Durations by buckets.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Histogram {
    counts: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

impl Histogram {
    /// Adds another.
    pub(crate) fn join(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(sum, count)| *sum += count);
        self.count += other.count;
        self.seconds += other.seconds;
    }

    /// A quantile in seconds, as if a bucket's durations were spread evenly in it;
    /// `None` of nothing. What is above the last bound counts as that.
    pub(crate) fn quantile(&self, level: f64) -> Option<f64> {
        let rank = level * self.count as f64;
        let (mut below, mut lower) = (0, 0.0);
        for (count, upper) in self.counts.into_iter().zip(BUCKETS) {
            if count > 0 && (below + count) as f64 >= rank {
                let part = (rank - below as f64) / count as f64;
                return Some(lower + part * (upper - lower));
            }
            (below, lower) = (below + count, upper);
        }
        (self.count > 0).then_some(lower)
    }

    pub(crate) fn observe(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            self.counts[bucket] += 1;
        }
        self.count += 1;
        self.seconds += seconds;
    }
}

#[derive(Default)]
struct Model {
    statistics: InferenceStatistics,
    last_inference: u64,
    latencies: Latencies,
}

/// A model's latencies, to be shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    model: String,
    version: String,
    #[serde(flatten)]
    latencies: Latencies,
}

/// What inferences that were answered took.
#[derive(Clone, Debug, Default, Serialize)]
struct Latencies {
    fuel: u64,
    request: Histogram,
    queue: Histogram,
    compute: Histogram,
    /// Of the requests that gave a time.
    deadline: Histogram,
    late: u64,
}

/// Counts since the host began.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Totals {
    answered: u64,
    failed: u64,
    late: u64,
    pushes: u64,
    swaps: u64,
    refusals: BTreeMap<&'static str, u64>,
}

#[derive(Default)]
struct State {
    models: BTreeMap<(String, String), Model>,
    refusals: BTreeMap<Refused, u64>,
    pushes: u64,
    swaps: u64,
}

/// All that was counted since the host began.
#[derive(Default)]
pub(crate) struct Observations {
    state: Mutex<State>,
}

/// What is so at the moment of asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// The requests that wait for a worker.
    pub(crate) waiting: usize,
    /// The workers.
    pub(crate) workers: usize,
    /// The modules that are loaded.
    pub(crate) modules: usize,
    /// Whether the stored modules are loaded.
    pub(crate) ready: bool,
}

impl Observations {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn model(&self, name: &str, version: &str, note: impl FnOnce(&mut Model)) {
        let mut state = self.lock();
        let mut key = (name.to_owned(), version.to_owned());
        if state.models.len() >= MODELS && !state.models.contains_key(&key) {
            key = ("other".to_owned(), String::new());
        }
        note(state.models.entry(key).or_default());
    }

    /// An inference was answered.
    pub(crate) fn answered(&self, name: &str, version: &str, times: Times, fuel: Fuel) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.model(name, version, |model| {
            let statistics = &mut model.statistics;
            statistics.success += times.request;
            statistics.queue += times.queue;
            statistics.compute_input += times.input;
            statistics.compute_infer += times.compute;
            statistics.compute_output += times.output;
            model.last_inference = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            let latencies = &mut model.latencies;
            latencies.fuel = latencies.fuel.saturating_add(fuel.0);
            latencies.request.observe(times.request);
            latencies.queue.observe(times.queue);
            latencies.compute.observe(times.compute);
            if let Some(deadline) = times.deadline {
                latencies.deadline.observe(deadline);
                latencies.late += u64::from(times.request > deadline);
            }
        });
    }

    /// An inference failed, or was refused, after so long.
    pub(crate) fn failed(&self, name: &str, version: &str, time: Duration) {
        self.model(name, version, |model| model.statistics.fail += time);
    }

    /// Something was refused.
    pub(crate) fn refused(&self, why: Refused) {
        *self.lock().refusals.entry(why).or_default() += 1;
    }

    /// A module was pushed.
    pub(crate) fn pushed(&self) {
        self.lock().pushes += 1;
    }

    /// An alias was made to stand for a module.
    pub(crate) fn swapped(&self) {
        self.lock().swaps += 1;
    }

    /// The latencies of all models.
    pub(crate) fn latencies(&self) -> Vec<Latency> {
        let state = self.lock();
        let of = |((name, version), model): (&(String, String), &Model)| {
            let latencies = model.latencies.clone();
            Latency { model: name.clone(), version: version.clone(), latencies }
        };
        state.models.iter().map(of).collect()
    }

    /// Counts of everything.
    pub(crate) fn totals(&self) -> Totals {
        let state = self.lock();
        let sum = |of: fn(&Model) -> u64| state.models.values().map(of).sum();
        Totals {
            answered: sum(|model| model.statistics.success.count),
            failed: sum(|model| model.statistics.fail.count),
            late: sum(|model| model.latencies.late),
            pushes: state.pushes,
            swaps: state.swaps,
            refusals: state.refusals.iter().map(|(why, count)| (why.label(), *count)).collect(),
        }
    }

    /// The statistics extension's entry of a version of a model.
    pub(crate) fn statistics(&self, name: &str, version: &str) -> ModelStatistics {
        let key = (name.to_owned(), version.to_owned());
        let counted = |model: &Model| (model.statistics, model.last_inference);
        let (statistics, last_inference) =
            self.lock().models.get(&key).map(counted).unwrap_or_default();
        let count = statistics.success.count;
        let batch = BatchStatistics {
            batch_size: 1,
            compute_input: statistics.compute_input,
            compute_infer: statistics.compute_infer,
            compute_output: statistics.compute_output,
        };
        ModelStatistics {
            name: key.0,
            version: key.1,
            last_inference,
            inference_count: count,
            execution_count: count,
            inference_stats: statistics,
            batch_stats: if count > 0 { vec![batch] } else { vec![] },
        }
    }

    /// Everything in Prometheus's text format, version 0.0.4.
    pub(crate) fn prometheus(&self, now: Now) -> String {
        let state = self.lock();
        let mut text = Exposition::default();
        let models: Vec<(String, &Model)> = state
            .models
            .iter()
            .map(|((name, version), model)| {
                (format!("model=\"{}\",version=\"{}\"", escape(name), escape(version)), model)
            })
            .collect();
        text.family("leeway_requests_total", "counter", "Inferences by what became of them.");
        for (labels, model) in &models {
            let counts =
                [("answered", &model.statistics.success), ("failed", &model.statistics.fail)];
            for (outcome, count) in counts {
                let labels = format!("{labels},outcome=\"{outcome}\"");
                text.sample("leeway_requests_total", &labels, count.count);
            }
        }
        text.family("leeway_fuel_total", "counter", "Fuel that inferences burned.");
        for (labels, model) in &models {
            text.sample("leeway_fuel_total", labels, model.latencies.fuel);
        }
        type Choose = fn(&Latencies) -> &Histogram;
        let histograms: [(&str, &str, Choose); 4] = [
            ("leeway_request_seconds", "From a request's head to its answer.", |m| &m.request),
            ("leeway_queue_seconds", "Waiting for a worker.", |m| &m.queue),
            ("leeway_compute_seconds", "The run of a model.", |m| &m.compute),
            ("leeway_deadline_seconds", "The time that requests gave.", |m| &m.deadline),
        ];
        for (name, help, histogram) in histograms {
            text.family(name, "histogram", help);
            for (labels, model) in &models {
                text.histogram(name, labels, histogram(&model.latencies));
            }
        }
        text.family("leeway_late_total", "counter", "Answers after the time that was given.");
        for (labels, model) in &models {
            text.sample("leeway_late_total", labels, model.latencies.late);
        }
        text.family("leeway_refusals_total", "counter", "Requests refused, by the reason.");
        for (why, count) in &state.refusals {
            let labels = format!("reason=\"{}\"", why.label());
            text.sample("leeway_refusals_total", &labels, count);
        }
        for (name, help, count) in [
            ("leeway_pushes_total", "Modules pushed.", state.pushes),
            ("leeway_swaps_total", "Aliases made to stand for a module.", state.swaps),
        ] {
            text.family(name, "counter", help);
            text.sample(name, "", count);
        }
        for (name, help, value) in [
            ("leeway_queue_length", "Requests that wait for a worker.", now.waiting),
            ("leeway_workers", "Threads that run models.", now.workers),
            ("leeway_modules_loaded", "Modules that are loaded.", now.modules),
            ("leeway_ready", "1 when the stored modules are loaded.", now.ready.into()),
        ] {
            text.family(name, "gauge", help);
            text.sample(name, "", value);
        }
        text.0
    }
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Text in Prometheus's format.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(line);
        self.0.push('\n');
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        match labels {
            "" => self.line(format_args!("{name} {value}")),
            _ => self.line(format_args!("{name}{{{labels}}} {value}")),
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let mut sum = 0;
        for (bound, count) in BUCKETS.iter().zip(histogram.counts) {
            sum += count;
            self.sample(&format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), sum);
        }
        let all = format!("{labels},le=\"+Inf\"");
        self.sample(&format!("{name}_bucket"), &all, histogram.count);
        self.sample(&format!("{name}_sum"), labels, histogram.seconds);
        self.sample(&format!("{name}_count"), labels, histogram.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { waiting: 3, workers: 2, modules: 1, ready: true };

    fn observed() -> Observations {
        let observations = Observations::default();
        let ms = Duration::from_millis;
        let times = Times {
            request: ms(4),
            input: ms(1),
            queue: ms(0),
            compute: ms(2),
            output: ms(1),
            deadline: None,
        };
        observations.answered("m\"", "1", times, Fuel(130));
        let times = Times { deadline: Some(ms(3)), ..times };
        observations.answered("m\"", "1", times, Fuel(130));
        observations.failed("m\"", "1", ms(1));
        observations.refused(Refused::Deadline);
        observations
    }

    #[test]
    fn statistics_are_sums_by_version() {
        let statistics = observed().statistics("m\"", "1");
        assert_eq!((statistics.inference_count, statistics.execution_count), (2, 2));
        assert_eq!(statistics.inference_stats.fail.count, 1);
        assert_eq!(statistics.inference_stats.compute_infer.ns, 4_000_000);
        assert_eq!(statistics.batch_stats.len(), 1);
        assert!(statistics.last_inference > 0);
        assert_eq!(observed().statistics("m\"", "2").inference_count, 0);
    }

    #[test]
    fn prometheus_gets_cumulative_buckets_and_escaped_labels() {
        let text = observed().prometheus(NOW);
        for line in [
            r#"leeway_requests_total{model="m\"",version="1",outcome="answered"} 2"#,
            r#"leeway_fuel_total{model="m\"",version="1"} 260"#,
            r#"leeway_compute_seconds_bucket{model="m\"",version="1",le="0.001"} 0"#,
            r#"leeway_compute_seconds_bucket{model="m\"",version="1",le="0.0025"} 2"#,
            r#"leeway_compute_seconds_bucket{model="m\"",version="1",le="+Inf"} 2"#,
            r#"leeway_compute_seconds_count{model="m\"",version="1"} 2"#,
            r#"leeway_deadline_seconds_count{model="m\"",version="1"} 1"#,
            r#"leeway_late_total{model="m\"",version="1"} 1"#,
            r#"leeway_refusals_total{reason="deadline"} 1"#,
            "leeway_queue_length 3",
        ] {
            assert!(text.lines().any(|seen| seen == line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for millis in [2, 2, 2, 2, 8, 8, 8, 8, 8, 60_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let quantile = |level| histogram.quantile(level).unwrap();
        assert!((0.001..=0.002_5).contains(&quantile(0.2)));
        assert!((0.005..=0.01).contains(&quantile(0.6)));
        assert_eq!(quantile(1.0), 10.0);
    }

    #[test]
    fn models_without_number_are_counted_as_one() {
        let observations = Observations::default();
        for number in 0..MODELS + 10 {
            observations.failed(&number.to_string(), "1", Duration::ZERO);
        }
        assert_eq!(observations.lock().models.len(), MODELS + 1);
    }
}
