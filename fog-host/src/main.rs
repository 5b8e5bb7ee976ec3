//! `leeway-fog`: the fog host as a program.

mod token;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use leeway_deploy::compile::{Compiler, compile_here, this_program};
use leeway_fog_host::{
    ClientLimits, Collector, FogConfig, FogHost, Preload, Reload, StoreLocation, TlsFiles, runtime,
};
use leeway_runtime::sandbox::EngineKind;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Runs the models of embedded devices, by digest, over the Open Inference
/// Protocol v2. Logs go to standard error; RUST_LOG chooses how much (default:
/// info). SIGHUP has certificates, keys and clients read again, SIGTERM finishes
/// what was accepted.
#[derive(Parser)]
#[command(name = "leeway-fog", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Subcommand)]
enum Command {
    /// Make a client's token, and print it with its entry for the file of clients.
    Token(token::Token),
    /// Compile the component on standard input: what the host calls itself.
    #[command(hide = true)]
    Compile { order: String },
}

#[derive(Args)]
struct Serve {
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The address to listen on for gRPC, for example 127.0.0.1:8081 [default: none].
    #[arg(long, value_name = "LISTEN")]
    listen_grpc: Option<SocketAddr>,
    /// Where modules and aliases are kept: a directory, with compiled code and the audit
    /// log in it, or a bucket that any number of hosts may share (s3://BUCKET/PREFIX,
    /// gs://..., az://...; credentials and endpoint by AWS_*, GOOGLE_*, AZURE_*).
    /// Without it they are lost at the end.
    #[arg(long, value_name = "DIR|URL")]
    store: Option<String>,
    /// Where compiled code and the audit log are kept if the store is a bucket. Without
    /// it they are lost at the end.
    #[arg(long, value_name = "DIR", requires = "store")]
    local: Option<PathBuf>,
    /// Seconds between two looks at the store for what other hosts changed there.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = interval)]
    follow: f64,
    /// A component, or a directory with some, to push and name before listening.
    #[arg(long, value_name = "FILE|DIR")]
    load: Option<PathBuf>,
    /// What these are served as [default: the name in the certificate].
    #[arg(long, requires = "load")]
    name: Option<String>,
    /// Threads that run models [default: one for each processor, bound to it].
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Requests that may wait for a worker; one more is refused.
    #[arg(long, value_name = "N", default_value_t = 64)]
    queue: usize,
    /// The most memory that an instance of a model may have, in MiB; a module that is
    /// certified for more is refused.
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=4096))]
    instance_memory: u64,
    /// Make each instance on demand, where the machine has no addresses for a pool of
    /// them (4 GiB for each worker).
    #[arg(long)]
    without_pool: bool,
    /// What executes the models: native or pulley.
    #[arg(long, default_value_t = EngineKind::Native)]
    engine: EngineKind,
    /// The longest that a request may wait and run, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    request_time: u64,
    #[command(flatten)]
    traces: Traces,
    /// The form of the log on standard error: text, or a JSON object on each line.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(flatten)]
    trust: Trust,
    /// The most inferences in a second of each address, where no --clients are given.
    #[arg(long, value_name = "N", conflicts_with = "clients")]
    requests_per_second: Option<f64>,
    /// The most inferences at once of each address, where no --clients are given.
    #[arg(long, value_name = "N", conflicts_with = "clients")]
    concurrent_requests: Option<usize>,
}

#[derive(Args)]
struct Traces {
    /// Where spans are sent, by OTLP over HTTP, for example http://127.0.0.1:4318.
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// The authority of the collector's certificate, in PEM: for an https:// URL, which
    /// wants one.
    #[arg(long, value_name = "FILE", requires = "otlp_endpoint")]
    otlp_authority: Option<PathBuf>,
    /// The share of the traces that begin here which are recorded, from 0 to 1. One that
    /// a client began is recorded where the client records it.
    #[arg(long, value_name = "SHARE", default_value_t = 1.0, value_parser = share)]
    traces_sample: f64,
}

impl Traces {
    fn into_collector(self) -> Option<Collector> {
        let Self { otlp_endpoint, otlp_authority: authority, traces_sample: sample } = self;
        Some(Collector { url: otlp_endpoint?, authority, sample })
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "wanted a number")?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("wanted 0 to 1".to_owned()) }
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Args)]
struct Trust {
    /// The certificate of this host, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// The authority of the certificates that clients may show, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_client_authority: Option<PathBuf>,
    /// The file of clients, by token or certificate, and what they may do.
    #[arg(long, value_name = "FILE")]
    clients: Option<PathBuf>,
    /// The file of the keys that must have signed modules. Without it every module is
    /// taken.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Listen on an address that other machines reach although anybody in between
    /// can read and change what is sent.
    #[arg(long)]
    without_tls: bool,
    /// Listen on an address that other machines reach although any of them can push
    /// and run modules.
    #[arg(long)]
    without_authentication: bool,
}

impl Serve {
    fn into_config(self) -> anyhow::Result<FogConfig> {
        let default = FogConfig::default();
        let Trust { tls_certificate, tls_key, tls_client_authority, clients, trust, .. } =
            self.trust;
        let tls = tls_certificate.zip(tls_key).map(|(certificate, key)| TlsFiles {
            certificate,
            key,
            client_authority: tls_client_authority,
        });
        Ok(FogConfig {
            listen: self.listen,
            listen_grpc: self.listen_grpc,
            store: location(self.store, self.local)?,
            follow_interval: Duration::from_secs_f64(self.follow),
            preload: self.load.map(|path| Preload { path, name: self.name }),
            engine: self.engine,
            pin_workers: self.workers.is_none(),
            workers: self.workers.unwrap_or(default.workers),
            queue: self.queue,
            max_instance_bytes: self.instance_memory << 20,
            pool: !self.without_pool,
            request_time: Duration::from_secs(self.request_time),
            client_limits: ClientLimits {
                requests_per_second: self.requests_per_second,
                concurrent_requests: self.concurrent_requests,
            },
            traces: self.traces.into_collector(),
            tls,
            access: clients,
            trust,
            without_tls: self.trust.without_tls,
            without_authentication: self.trust.without_authentication,
            compiler: Some(Compiler { program: this_program(), limits: FogConfig::COMPILE_LIMITS }),
            ..default
        })
    }
}

/// A URL has a scheme; all else is a directory.
fn location(store: Option<String>, local: Option<PathBuf>) -> anyhow::Result<StoreLocation> {
    Ok(match (store, local) {
        (None, _) => StoreLocation::Temporary,
        (Some(url), local) if url.contains("://") => StoreLocation::Bucket { url, local },
        (Some(directory), None) => StoreLocation::Directory(directory.into()),
        (Some(directory), Some(_)) => {
            anyhow::bail!("--local is for a store that is a bucket, and {directory} is a directory")
        }
    })
}

fn interval(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "wanted a number of seconds".to_owned())?;
    if (0.05..=86_400.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("wanted 0.05 to 86400 seconds".to_owned())
    }
}

fn main() -> ExitCode {
    let Arguments { command, serve } = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match serve.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    let result = match command {
        None => serve.into_config().and_then(|config| runtime(None)?.block_on(run(config))),
        Some(Command::Token(token)) => token.make(),
        Some(Command::Compile { order }) => return compile_here(&order),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leeway-fog: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: FogConfig) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot await SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot await SIGINT")?;
    if config.store == StoreLocation::Temporary {
        tracing::warn!("no --store was given: pushed modules are lost at the end");
    }
    if config.access.is_none() && !config.listen.ip().is_loopback() {
        tracing::warn!(address = %config.listen, "whoever reaches this address can push and run modules");
    }
    let host = FogHost::bind(config).await?;
    let hangup = signal(SignalKind::hangup()).context("cannot await SIGHUP")?;
    tokio::spawn(reload(hangup, host.reloader()));
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    host.serve(shutdown).await?;
    Ok(())
}

async fn reload(mut hangup: tokio::signal::unix::Signal, reload: Reload) {
    while hangup.recv().await.is_some() {
        if let Err(error) = reload.reload() {
            tracing::error!(%error, "nothing was read again");
        }
    }
}
