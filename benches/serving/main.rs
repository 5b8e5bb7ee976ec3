//! Serving: the fog host beside MLServer and FastAPI, both with ONNX Runtime on one
//! thread. The same client, the same models; every server on one CPU, the client on
//! another.
//!
//! `cargo bench -p leeway-cli -p leeway-tests --bench serving -- [OPTIONS] [MODEL...]`
//!
//! The peers take part if `--python` names an interpreter that has them
//! (`benches/serving/requirements.txt`). First all answer the same input, and must agree.
//! Then, in each round, each has a turn of a few seconds with as many requests under way
//! as there are connections. Of each, the best round is printed, as what a machine shared
//! with others adds is never an advantage: the most requests per second, the least p50
//! and p99, and the least CPU time of the whole server for one request.
//!
//! `--overload` offers the fog host, on its own, twice the requests that it can answer, at
//! fixed times, each with a deadline, and prints what became of them. An answer's time ends
//! when the kernel has it: what this client is late to read is counted apart.

mod exchange;
mod load;
mod overload;
mod servers;
#[path = "../../fog-host/src/stamp.rs"]
#[allow(dead_code, unused_imports, reason = "the fog host's: its tests run there")]
mod stamp;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use leeway_compiler::Options;
use leeway_contract::{Certificate, Digest, Tensor};
use leeway_guest_models::reference_model;
use leeway_runtime::realtime::allowed_cpus;
use leeway_tests::random::{Random, Style};

use exchange::{Call, Encoding};
use load::Seen;
use servers::{Kind, Server};

/// Compare the fog host with other servers of models.
#[derive(Parser)]
struct Arguments {
    /// The reference models to serve, by name.
    #[arg(default_values = ["mlp-digits", "cnn-digits"])]
    models: Vec<String>,
    /// A Python interpreter that has mlserver, fastapi, uvicorn and onnxruntime.
    #[arg(long, value_name = "PYTHON")]
    python: Option<PathBuf>,
    /// Rounds, in each of which every contestant has one turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The length of a turn, in seconds.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Requests under way at a time.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Only the contestants whose name has this in it.
    #[arg(long, default_value = "")]
    only: String,
    /// Twice the load that the fog host can answer, with deadlines.
    #[arg(long)]
    overload: bool,
    /// The deadline of every request under overload, in milliseconds.
    #[arg(long, default_value_t = 10.0)]
    deadline: f64,
    /// Serve models from this folder, as the fog host that is measured.
    #[arg(long, hide = true)]
    host: Option<PathBuf>,
    /// Cargo passes it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A model, and an input for it.
struct Model {
    name: String,
    onnx: &'static [u8],
    component: Vec<u8>,
    certificate: Certificate,
    inputs: Vec<Tensor>,
}

impl Model {
    fn new(name: &str) -> Result<Self> {
        let model = reference_model(name).with_context(|| format!("no reference model {name}"))?;
        let options = Options { name: name.into(), version: "1".into(), ..Options::default() };
        let sealed = leeway_compiler::compile(model.onnx, &options)?.seal(&[]);
        let inputs = Random::new(1).tensors(sealed.certificate.inputs(), Style::Tame);
        let (component, certificate) = (sealed.component, sealed.certificate);
        Ok(Self { name: name.into(), onnx: model.onnx, component, certificate, inputs })
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.component)
    }
}

/// The CPUs of servers and client: the first and the last that are allowed.
pub struct Cpus {
    server: usize,
    client: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(folder) = &arguments.host {
        return servers::host(folder);
    }
    let cpus = allowed_cpus();
    let (Some(&server), Some(&client)) = (cpus.first(), cpus.last()) else { bail!("no CPU") };
    let cpus = Cpus { server, client };
    let models: Vec<Model> =
        arguments.models.iter().map(|name| Model::new(name)).collect::<Result<_>>()?;
    servers::stay_on(cpus.client);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.overload {
            true => overload::run(&arguments, &cpus, &models).await,
            false => compare(&arguments, &cpus, &models).await,
        }
    })
}

/// Who takes part, with which encoding.
const CONTESTANTS: [(Kind, Encoding); 8] = [
    (Kind::MlServer, Encoding::Json),
    (Kind::MlServer, Encoding::Grpc),
    (Kind::FastApi, Encoding::Json),
    (Kind::Leeway, Encoding::Json),
    (Kind::Leeway, Encoding::Binary),
    (Kind::Leeway, Encoding::Http2),
    (Kind::Leeway, Encoding::BinaryHttp2),
    (Kind::Leeway, Encoding::Grpc),
];

async fn compare(arguments: &Arguments, cpus: &Cpus, models: &[Model]) -> Result<()> {
    let taking_part = |(kind, encoding): &(Kind, Encoding)| {
        let name = format!("{} {}", kind.name(), encoding.name());
        name.contains(&arguments.only) && (arguments.python.is_some() || *kind == Kind::Leeway)
    };
    let contestants: Vec<_> = CONTESTANTS.into_iter().filter(taking_part).collect();
    let mut servers: Vec<Server> = Vec::new();
    for kind in [Kind::MlServer, Kind::FastApi, Kind::Leeway] {
        if contestants.iter().any(|(other, _)| *other == kind) {
            servers.push(Server::start(kind, arguments.python.as_deref(), models, cpus).await?);
        }
    }
    let server = |kind| servers.iter().find(|server| server.kind == kind).expect("it was started");
    println!(
        "{:<12} {:<22} {:>10} {:>9} {:>9} {:>9} {:>11} {:>10}",
        "model", "server", "requests/s", "p50 ms", "p99 ms", "CPU us", "x MLServer", "x FastAPI"
    );
    for model in models {
        agree(model, &contestants, server).await?;
        let mut best: Vec<Option<Seen>> = vec![None; contestants.len()];
        for round in 0..arguments.rounds {
            for turn in 0..contestants.len() {
                let place = (turn + round) % contestants.len();
                let (kind, encoding) = contestants[place];
                let server = server(kind);
                let call = Call::new(encoding, model, None);
                let time = Duration::from_secs_f64(arguments.seconds);
                let seen = load::closed(server, &call, arguments.connections, time).await?;
                best[place] = Some(best[place].map_or(seen, |best| best.better(seen)));
            }
        }
        report(model, &contestants, &best);
    }
    Ok(())
}

/// Each contestant gives the same outputs, nearly.
async fn agree<'a>(
    model: &Model,
    contestants: &[(Kind, Encoding)],
    server: impl Fn(Kind) -> &'a Server,
) -> Result<()> {
    let mut first: Option<Vec<f32>> = None;
    for (kind, encoding) in contestants {
        let call = Call::new(*encoding, model, None);
        let outputs = call.outputs(server(*kind).address(*encoding), model).await;
        let outputs = outputs.with_context(|| format!("{} {}", kind.name(), encoding.name()))?;
        let first = first.get_or_insert_with(|| outputs.clone());
        let apart = first.iter().zip(&outputs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        if first.len() != outputs.len() || apart > 1e-4 {
            bail!("{}: {} gives {outputs:?}, another {first:?}", model.name, kind.name());
        }
    }
    Ok(())
}

fn report(model: &Model, contestants: &[(Kind, Encoding)], best: &[Option<Seen>]) {
    let of = |kind: Kind| {
        let place = contestants.iter().position(|each| *each == (kind, Encoding::Json));
        place.and_then(|place| best[place])
    };
    for ((kind, encoding), seen) in contestants.iter().zip(best) {
        let Some(seen) = seen else { continue };
        let beside = |peer: Option<Seen>| {
            peer.map_or("-".into(), |peer| format!("{:.2}", seen.per_second / peer.per_second))
        };
        println!(
            "{:<12} {:<22} {:>10.0} {:>9.3} {:>9.3} {:>9.1} {:>11} {:>10}",
            model.name,
            format!("{} {}", kind.name(), encoding.name()),
            seen.per_second,
            seen.p50.as_secs_f64() * 1e3,
            seen.p99.as_secs_f64() * 1e3,
            seen.cpu.as_secs_f64() * 1e6,
            beside(of(Kind::MlServer)),
            beside(of(Kind::FastApi)),
        );
    }
}
