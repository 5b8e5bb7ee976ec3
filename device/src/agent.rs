//! The agent: how it begins, serves and ends. What is on the disk serves before
//! anything is listened on, and nothing else is needed for that.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use leeway_deploy::compile::Compiler;
use leeway_deploy::desired::Reconciler;
use leeway_deploy::desired::machine::RetryRule;
use leeway_deploy::files::RealFiles;
use leeway_deploy::{Deployer, OpenError};
use leeway_runtime::offload::ProbeThread;
use leeway_runtime::offload::fog::{FogAccessError, HttpFog, HttpFogError};
use leeway_runtime::offload::report::{ReportRule, ReportThread, Reports};
use leeway_runtime::sandbox::SandboxConfig;
use leeway_runtime::timing::BoundRule;
use leeway_telemetry::{EndpointError, Exporter};
use leeway_tls::server::{ConnectionLimits, Connections};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::api;
use crate::config::{Config, ConfigError, FogConfig};
use crate::desired::DesiredFile;
use crate::mqtt::Mqtt;
use crate::notify::Notify;
use crate::origin::Places;
use crate::runner::{Running, RunningError};
use crate::tcp::Tcp;

/// Why the agent did not begin, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// What runs models.
    #[error("{0}")]
    Running(String),
    /// What is on the disk.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Where spans go.
    #[error(transparent)]
    Traces(#[from] EndpointError),
    /// The fog host's URL.
    #[error(transparent)]
    Fog(#[from] HttpFogError),
    /// What the fog host is shown.
    #[error(transparent)]
    FogAccess(#[from] FogAccessError),
    /// A directory or a socket.
    #[error("cannot use {what}: {source}")]
    Io {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
}

impl From<RunningError> for AgentError {
    fn from(error: RunningError) -> Self {
        match error {
            RunningError::Config(error) => error.into(),
            error => AgentError::Running(error.to_string()),
        }
    }
}

fn using(what: impl ToString) -> impl FnOnce(io::Error) -> AgentError {
    move |source| AgentError::Io { what: what.to_string(), source }
}

fn reach(fog: &FogConfig) -> Result<HttpFog, AgentError> {
    let reached = HttpFog::with_access(&fog.url, &fog.access()?)?;
    Ok(match &fog.traces {
        Some(url) => reached.with_traces(Exporter::start("leeway-device", url)?),
        None => reached,
    })
}

/// An agent whose models serve.
#[derive(Debug)]
pub struct Agent {
    path: PathBuf,
    config: Config,
    deployer: Arc<Deployer>,
    reconciler: Arc<Reconciler>,
    desired: Option<DesiredFile>,
    tcp: Option<Arc<Tcp>>,
    /// While it serves.
    mqtt: Option<Mqtt>,
    _reporting: Option<ReportThread>,
    _probing: Option<ProbeThread>,
}

impl Agent {
    /// Begins, by this configuration file. Candidates are compiled by this program, called
    /// with `compile`; in this process, which nothing stops, where there is none.
    pub fn open(path: &Path, program: Option<PathBuf>) -> Result<Self, AgentError> {
        let config = Config::read(path)?;
        if !config.root.is_dir() {
            fs::create_dir_all(&config.root).map_err(using(config.root.display()))?;
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(&config.root, private).map_err(using(config.root.display()))?;
        }
        let tcp = config.tcp.as_ref().map(|tcp| Tcp::new(tcp).map(Arc::new));
        let tcp = tcp.transpose().map_err(ConfigError::from)?;
        let fog = config.fog.as_ref().map(reach).transpose()?;
        let (fog, reports) = (fog.map(Arc::new), Arc::new(Reports::default()));
        let name = config.fog.as_ref().and_then(|fog| fog.report.clone());
        let reporting = name.zip(fog.clone()).map(|(name, fog)| {
            reports.spawn(name, fog, ReportRule::default()).map_err(using("a thread"))
        });
        let reporting = reporting.transpose()?;
        let calibrations = leeway_deploy::calibrations(&config.root)?;
        let running = Running::start(&config, fog, calibrations)?;
        let deployer = leeway_deploy::open(
            Arc::new(RealFiles),
            leeway_deploy::Config {
                root: config.root.clone(),
                limits: config.store.limits(),
                trust: config.trust()?,
                sandbox: SandboxConfig::with_engine(config.engine),
                compiler: program
                    .map(|program| Compiler { program, limits: config.limits.compile() }),
                instance_bytes: config.limits.instance_bytes(),
                trial: config.trial()?,
                bound: BoundRule::default(),
                offloading: config.offloading()?,
                streams: Arc::clone(&running.streams),
                launch: running.launch,
            },
        )?;
        deployer.serving().listen(move |model, decision| reports.note_of(model, decision));
        // Many devices that lost the same network do not come back in step.
        let rule = RetryRule { seed: u64::from(std::process::id()), ..RetryRule::default() };
        let places = Box::new(Places::new());
        let reconciler = Reconciler::start(Arc::clone(&deployer), places, rule)
            .map_err(using("a thread for the desired state"))?;
        let desired = config.desired.clone().map(DesiredFile::new);
        let path = path.to_owned();
        Ok(Self {
            path,
            config,
            deployer,
            reconciler,
            desired,
            tcp,
            mqtt: None,
            _reporting: reporting,
            _probing: running.probing,
        })
    }

    /// What serves.
    pub fn deployer(&self) -> &Arc<Deployer> {
        &self.deployer
    }

    /// What brings the device to what it shall be.
    pub fn reconciler(&self) -> &Arc<Reconciler> {
        &self.reconciler
    }

    /// Serves until SIGTERM or SIGINT; SIGHUP reads again whom to believe, who is let in
    /// by TCP, how the broker is reached, and what the device shall be.
    pub async fn serve(mut self) -> Result<(), AgentError> {
        let notify = Notify::from_environment();
        let (end, ended) = watch::channel(());
        let unix = self.listen_unix()?;
        let (deployer, reconciler) = (Arc::clone(&self.deployer), Arc::clone(&self.reconciler));
        let both = api::Both { deployer, reconciler };
        let router = api::router(both.clone(), None);
        let unix = Connections { router, limits: LOCAL }.serve_unix(unix, until(ended.clone()));
        let mut servers = tokio::task::JoinSet::new();
        servers.spawn(unix);
        let mqtt = self.config.mqtt.as_ref().map(|config| Mqtt::start(config, both.clone()));
        self.mqtt = mqtt.transpose().map_err(ConfigError::from)?;
        if let Some((tcp, config)) = self.tcp.clone().zip(self.config.tcp.as_ref()) {
            let listener = TcpListener::bind(config.listen).await.map_err(using(config.listen))?;
            let router = api::router(both, Some(tcp.door()));
            servers.spawn(async move { tcp.serve(listener, router, until(ended)).await });
        }
        tracing::info!(socket = %self.config.socket.display(), "serving");
        notify.tell("READY=1\nSTATUS=models serve");
        self.live(&notify).await?;
        notify.tell("STOPPING=1");
        drop(end);
        if let Some(mqtt) = self.mqtt.take() {
            mqtt.stop().await;
        }
        while servers.join_next().await.is_some() {}
        self.deployer.record_probations();
        fs::remove_file(&self.config.socket).ok();
        Ok(())
    }

    fn listen_unix(&self) -> Result<UnixListener, AgentError> {
        let path = &self.config.socket;
        // One that an agent left that was killed: nobody answers on it.
        if std::os::unix::net::UnixStream::connect(path).is_err() {
            fs::remove_file(path).ok();
        }
        let listener = UnixListener::bind(path).map_err(using(path.display()))?;
        let group = fs::Permissions::from_mode(0o660);
        fs::set_permissions(path, group).map_err(using(path.display()))?;
        Ok(listener)
    }

    /// Gives signs of life and hears signals, until one ends it.
    async fn live(&mut self, notify: &Notify) -> Result<(), AgentError> {
        let hear = |kind| signal(kind).map_err(using("signals"));
        let mut terminate = hear(SignalKind::terminate())?;
        let mut interrupt = hear(SignalKind::interrupt())?;
        let mut reload = hear(SignalKind::hangup())?;
        let mut life = notify.watchdog.map(tokio::time::interval);
        let mut look = self.desired.as_ref().map(|_| tokio::time::interval(LOOK));
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = reload.recv() => self.reload(notify),
                () = tick(&mut life) => notify.tell("WATCHDOG=1"),
                () = tick(&mut look) => self.look(false),
            }
        }
    }

    /// Reads what the device shall be, where the file has changed.
    fn look(&mut self, again: bool) {
        let Some(file) = &mut self.desired else { return };
        let read = if again { Some(file.read()) } else { file.changed() };
        let Some(read) = read else { return };
        match read.and_then(|state| Ok(self.reconciler.want(state, false)?)) {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(%error, path = %file.path().display(), "it is not what the device shall be");
            }
        }
    }

    /// Reads again whom to believe, who is let in, and how the broker is reached. What is
    /// wrong leaves what was.
    fn reload(&mut self, notify: &Notify) {
        notify.tell_reloading();
        match self.read_again() {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(error) => tracing::error!(%error, "the configuration was not read again"),
        }
        self.look(true);
        self.reconciler.retry();
        notify.tell("READY=1");
    }

    fn read_again(&mut self) -> Result<(), ConfigError> {
        let config = Config::read(&self.path)?;
        let trust = config.trust()?;
        let mqtt = self.mqtt.as_mut().zip(config.mqtt.as_ref());
        let mqtt = mqtt.map(|(mqtt, config)| mqtt.read(config).map(|settings| (mqtt, settings)));
        let mqtt = mqtt.transpose()?;
        if let Some((tcp, config)) = self.tcp.as_ref().zip(config.tcp.as_ref()) {
            tcp.reload(config)?;
        }
        if let Some((mqtt, settings)) = mqtt {
            mqtt.renew(settings);
        }
        self.deployer.set_trust(trust);
        Ok(())
    }
}

/// What the connections of local programs may take: those that may use the socket at all
/// are believed to mean well, and none can keep the others out for long.
const LOCAL: ConnectionLimits = ConnectionLimits {
    most: 256,
    idle_time: Duration::from_secs(600),
    head_time: Duration::from_secs(10),
};

/// How often the file is looked at that says what the device shall be.
const LOOK: Duration = Duration::from_secs(2);

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

async fn until(mut ended: watch::Receiver<()>) {
    ended.changed().await.ok();
}
