//! The fog host that a command asks instead of this machine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use leeway_contract::Tensor;
use leeway_runtime::offload::fog::{Fog as _, FogAccess, HttpFog, InferRequest};
use leeway_runtime::sandbox::{Execution, Module};

/// The longest that giving it the module may take.
const PUSH_TIME: Duration = Duration::from_secs(600);
/// The longest that one inference may take, where nothing else is said.
const INFER_TIME: Duration = Duration::from_secs(60);

#[derive(Args)]
pub struct FogArguments {
    /// Run it on this fog host, which is given the component if it has not got it.
    #[arg(long, value_name = "URL", conflicts_with = "energy")]
    pub fog: Option<String>,
    /// The authority that has signed the fog host's certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "fog")]
    fog_authority: Option<PathBuf>,
    /// The certificate to show it, in PEM.
    #[arg(long, value_name = "FILE", requires = "fog_key")]
    fog_certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "fog_certificate")]
    fog_key: Option<PathBuf>,
    /// The file with the token to show it.
    #[arg(long, value_name = "FILE", requires = "fog")]
    fog_token: Option<PathBuf>,
}

impl FogArguments {
    fn reach(&self, url: &str) -> anyhow::Result<HttpFog> {
        let pair = self.fog_certificate.as_deref().zip(self.fog_key.as_deref());
        let access =
            FogAccess::read(self.fog_authority.as_deref(), pair, self.fog_token.as_deref())?;
        Ok(HttpFog::with_access(url, &access)?)
    }

    /// Runs a module so often on the fog host at `url`. Each time is the whole
    /// exchange's.
    pub fn run(
        &self,
        url: &str,
        (module, component): (&Module, &[u8]),
        inputs: &[Tensor],
        repeat: u32,
        deadline: Option<Duration>,
    ) -> anyhow::Result<Vec<Execution>> {
        let fog = self.reach(url)?;
        let digest = module.digest();
        fog.push(digest, component, PUSH_TIME).context("the fog host did not take the module")?;
        let (certificate, limit) = (module.certificate(), deadline.unwrap_or(INFER_TIME));
        let stages = 0..=certificate.last_stage();
        let ask = |id: u64| {
            let stages = stages.clone();
            let request = InferRequest { id, digest, certificate, stages, inputs };
            let start = Instant::now();
            let answer = fog.infer(&request, limit)?;
            let (fuel, elapsed) = (answer.time.fuel, start.elapsed());
            let memory_bytes = certificate.memory_bytes;
            Ok(Execution { outputs: answer.outputs, fuel, elapsed, memory_bytes })
        };
        (0..u64::from(repeat)).map(ask).collect()
    }
}
