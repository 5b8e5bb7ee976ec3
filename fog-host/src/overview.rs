//! What is to be seen of a host at a glance: `/v1/overview`, which the page at `/`
//! draws. Times are durations, in milliseconds where the name says so; lists by
//! steps of time go from the oldest to now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leeway_contract::{Bound, Certificate, Digest};
use leeway_protocol::device::ModelReport;
use leeway_runtime::sandbox::Module;
use serde::Serialize;

use crate::audit::Event;
use crate::catalog::Version;
use crate::host::Host;
use crate::observe::{BUCKETS, Histogram, Latency, Totals};
use crate::seen::{Device, Flow, STEP, STEPS, SeenClient, Traffic};

/// The steps that "now" means: a minute.
const RECENT: usize = 12;
/// The steps of a device's own small picture.
const SMALL: usize = 36;
/// Without a sign for so long, a device counts as gone.
const GONE: Duration = Duration::from_secs(90);

/// Everything.
#[derive(Serialize)]
pub(crate) struct Overview {
    host: About,
    /// Who looks.
    viewer: String,
    /// Whether that is known by a login.
    login: bool,
    step_seconds: u64,
    recent: Recent,
    totals: Totals,
    traffic: TrafficSteps,
    flow: FlowSteps,
    devices: Vec<DeviceEntry>,
    clients: Vec<ClientEntry>,
    models: Vec<ModelEntry>,
    bucket_seconds: [f64; BUCKETS.len()],
    latency: Vec<Latency>,
    events: Vec<Event>,
}

#[derive(Serialize)]
struct About {
    version: &'static str,
    engine: String,
    uptime_seconds: u64,
    ready: bool,
    workers: usize,
    waiting: usize,
    queue: usize,
}

/// The last minute.
#[derive(Serialize)]
struct Recent {
    answered_per_second: f64,
    refused_per_second: f64,
    request: Quantiles,
    queue: Quantiles,
    compute: Quantiles,
}

#[derive(Serialize)]
struct Quantiles {
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

#[derive(Serialize)]
struct TrafficSteps {
    answered: Vec<u64>,
    refused: Vec<u64>,
    failed: Vec<u64>,
}

#[derive(Serialize)]
struct FlowSteps {
    local: Vec<u64>,
    fog: Vec<u64>,
    fallback: Vec<u64>,
    compensated: Vec<u64>,
    missed: Vec<u64>,
    /// T_L.
    transfer_ms: Vec<Option<f64>>,
    /// T_F.
    fog_ms: Vec<Option<f64>>,
    /// The worst case on the device.
    wcet_ms: Vec<Option<f64>>,
}

#[derive(Serialize)]
struct DeviceEntry {
    client: String,
    name: String,
    address: Option<String>,
    here: bool,
    seen_seconds: f64,
    #[serde(flatten)]
    decisions: leeway_protocol::device::Decisions,
    models: Vec<ModelReport>,
    small: SmallSteps,
}

#[derive(Serialize)]
struct SmallSteps {
    on_device: Vec<u64>,
    on_fog: Vec<u64>,
}

#[derive(Serialize)]
struct ClientEntry {
    name: String,
    address: String,
    agent: String,
    seen_seconds: f64,
    answered: u64,
    not_answered: u64,
}

#[derive(Serialize)]
struct ModelEntry {
    /// `None` for modules that no name stands for.
    name: Option<String>,
    current: Option<String>,
    unloaded: bool,
    versions: Vec<VersionEntry>,
}

#[derive(Serialize)]
struct VersionEntry {
    /// The alias's, or else the certificate's.
    version: String,
    digest: Digest,
    /// `None` where the module is not loaded.
    certificate: Option<CertificateEntry>,
}

/// What of a certificate can be read at a glance.
#[derive(Serialize)]
struct CertificateEntry {
    model: String,
    version: String,
    compiler: String,
    bound: Bound,
    bit_identical: bool,
    fuel: u64,
    memory_bytes: u64,
    macs: u64,
    weight_bytes: u64,
    golden: usize,
    stages: Vec<StageEntry>,
}

#[derive(Serialize)]
struct StageEntry {
    name: String,
    fuel: u64,
    macs: u64,
    weight_bytes: u64,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Overview {
    /// Of this moment, for `viewer`. `of` chooses the device, by its client and its
    /// name, whose flow is told; without it, it is that of all devices.
    pub(crate) fn of(
        host: &Host,
        viewer: &str,
        login: bool,
        of: Option<&(String, String)>,
    ) -> Self {
        let traffic = host.seen.traffic(STEPS);
        let clients = host.seen.clients();
        let now = host.seen.now();
        let (flow, devices) = host.seen.devices(|all| {
            let mut flow = vec![Flow::default(); STEPS];
            let mut devices = Vec::with_capacity(all.len());
            for ((client, name), device) in all {
                if of.is_none_or(|of| *of.0 == **client && of.1 == *name) {
                    device.add_flow(now, &mut flow);
                }
                let known = clients.iter().find(|(known, _)| known == client);
                let address = known.map(|(_, known)| known.address.to_string());
                devices.push(DeviceEntry::new(client, name, address, device, now));
            }
            (FlowSteps::new(&flow), devices)
        });
        let about = About {
            version: env!("CARGO_PKG_VERSION"),
            engine: host.config.engine.to_string(),
            uptime_seconds: now.as_secs(),
            ready: host.is_ready(),
            workers: host.config.workers,
            waiting: host.pool.waiting(),
            queue: host.config.queue,
        };
        let client = |(name, client): &(Arc<str>, SeenClient)| ClientEntry::new(name, client, now);
        Self {
            host: about,
            viewer: viewer.to_owned(),
            login,
            step_seconds: STEP.as_secs(),
            recent: Recent::new(&traffic[STEPS - RECENT..]),
            totals: host.observations.totals(),
            traffic: TrafficSteps {
                answered: traffic.iter().map(|step| step.answered).collect(),
                refused: traffic.iter().map(|step| step.refused).collect(),
                failed: traffic.iter().map(|step| step.failed).collect(),
            },
            flow,
            devices,
            clients: clients.iter().map(client).collect(),
            models: models(host),
            bucket_seconds: BUCKETS,
            latency: host.observations.latencies(),
            events: host.audit.recent(),
        }
    }
}

impl Recent {
    fn new(steps: &[Traffic]) -> Self {
        let seconds = (steps.len() as u64 * STEP.as_secs()) as f64;
        let per_second =
            |of: fn(&Traffic) -> u64| steps.iter().map(of).sum::<u64>() as f64 / seconds;
        let quantiles = |of: fn(&Traffic) -> &Histogram| {
            let mut all = Histogram::default();
            steps.iter().for_each(|step| all.join(of(step)));
            let millis = |level| all.quantile(level).map(|seconds| seconds * 1e3);
            Quantiles { p50_ms: millis(0.5), p99_ms: millis(0.99) }
        };
        Self {
            answered_per_second: per_second(|step| step.answered),
            refused_per_second: per_second(|step| step.refused),
            request: quantiles(|step| &step.request),
            queue: quantiles(|step| &step.queue),
            compute: quantiles(|step| &step.compute),
        }
    }
}

impl FlowSteps {
    fn new(steps: &[Flow]) -> Self {
        let count = |of: fn(&Flow) -> u64| steps.iter().map(of).collect();
        Self {
            local: count(|step| step.decisions.local),
            fog: count(|step| step.decisions.fog),
            fallback: count(|step| step.decisions.fallback),
            compensated: count(|step| step.decisions.compensated),
            missed: count(|step| step.decisions.missed),
            transfer_ms: steps.iter().map(|step| step.transfer.millis()).collect(),
            fog_ms: steps.iter().map(|step| step.fog.millis()).collect(),
            wcet_ms: steps.iter().map(|step| step.wcet.millis()).collect(),
        }
    }
}

impl DeviceEntry {
    fn new(
        client: &str,
        name: &str,
        address: Option<String>,
        device: &Device,
        now: Duration,
    ) -> Self {
        let flow = device.flow(now);
        let small = &flow[STEPS - SMALL..];
        let age = now.saturating_sub(device.at);
        Self {
            client: client.to_owned(),
            name: name.to_owned(),
            address,
            here: age < GONE,
            seen_seconds: age.as_secs_f64(),
            decisions: device.decisions,
            models: device.models.values().cloned().collect(),
            small: SmallSteps {
                on_device: small
                    .iter()
                    .map(|step| step.decisions.total() - step.decisions.fog)
                    .collect(),
                on_fog: small.iter().map(|step| step.decisions.fog).collect(),
            },
        }
    }
}

impl ClientEntry {
    fn new(name: &str, client: &SeenClient, now: Duration) -> Self {
        Self {
            name: name.to_owned(),
            address: client.address.to_string(),
            agent: client.agent.clone(),
            seen_seconds: now.saturating_sub(client.at).as_secs_f64(),
            answered: client.answered,
            not_answered: client.not_answered,
        }
    }
}

/// All names with their versions, and then the loaded modules without a name.
fn models(host: &Host) -> Vec<ModelEntry> {
    let mut nameless: BTreeMap<Digest, Module> =
        host.modules.all().into_iter().map(|module| (module.digest(), module)).collect();
    let loaded = nameless.clone();
    let mut entries = Vec::new();
    for (name, model) in host.catalog.all() {
        let entry = |(version, digest): (Version, Digest)| {
            nameless.remove(&digest);
            let certificate =
                loaded.get(&digest).map(|module| CertificateEntry::new(module.certificate()));
            VersionEntry { version: version.to_string(), digest, certificate }
        };
        entries.push(ModelEntry {
            unloaded: host.is_unloaded(&name),
            name: Some(name.to_string()),
            current: model.current.map(|version| version.to_string()),
            versions: model.versions.into_iter().map(entry).collect(),
        });
    }
    entries.extend(nameless.into_iter().map(|(digest, module)| {
        let certificate = CertificateEntry::new(module.certificate());
        let version = certificate.version.clone();
        let versions = vec![VersionEntry { version, digest, certificate: Some(certificate) }];
        ModelEntry { name: None, current: None, unloaded: false, versions }
    }));
    entries
}

impl CertificateEntry {
    fn new(certificate: &Certificate) -> Self {
        let stage = |(number, stage): (usize, &leeway_contract::Stage)| {
            let specs = |specs: &[leeway_contract::TensorSpec]| {
                specs.iter().map(|spec| format!("{} {:?}", spec.name, spec.shape)).collect()
            };
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            StageEntry {
                name: stage.name.clone(),
                fuel: certificate.fuel(number..=number).unwrap_or_default().0,
                macs: stage.macs,
                weight_bytes: stage.weight_bytes,
                inputs: specs(&stage.inputs),
                outputs: specs(&stage.outputs),
            }
        };
        Self {
            model: certificate.model.name.clone(),
            version: certificate.model.version.clone(),
            compiler: format!("{} {}", certificate.compiler.name, certificate.compiler.version),
            bound: certificate.bound(),
            bit_identical: certificate.is_bit_identical(),
            fuel: certificate.total_fuel().0,
            memory_bytes: certificate.memory_bytes,
            macs: certificate.macs(),
            weight_bytes: certificate.stages.iter().map(|stage| stage.weight_bytes).sum(),
            golden: certificate.golden.len(),
            stages: certificate.stages.iter().enumerate().map(stage).collect(),
        }
    }
}
