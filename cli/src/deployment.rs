//! A module to one device: sent, and brought in with the signature that it believes.

use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use leeway_client::{Client, ClientError};
use leeway_control::{DeployEvent, DeployRequest, Deployed, Progress, Settings, Step};

use crate::source::Fetched;

/// What is asked of a device with a module.
#[derive(Args, Clone, Default)]
pub struct DeployArguments {
    /// The model that it must be.
    #[arg(long)]
    pub model: Option<String>,
    /// Whether its counter may be lower than that of a release that was active.
    #[arg(long)]
    allow_older: bool,
    /// Why, for the device's history.
    #[arg(long)]
    reason: Option<String>,
    /// What is asked of the model from then on: streams, probation, rollout.
    #[arg(long, value_name = "FILE.toml")]
    settings: Option<PathBuf>,
}

impl DeployArguments {
    /// The request that they stand for.
    pub fn request(&self, module: &Fetched) -> anyhow::Result<DeployRequest> {
        let mut request = DeployRequest::new(module.digest);
        request.model.clone_from(&self.model);
        request.allow_older = self.allow_older;
        request.reason.clone_from(&self.reason);
        request.settings = self.settings.as_deref().map(settings_in).transpose()?;
        Ok(request)
    }
}

fn settings_in(path: &std::path::Path) -> anyhow::Result<Settings> {
    use anyhow::Context as _;
    let context = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(context)?;
    let settings: Settings = toml::from_str(&text).with_context(context)?;
    settings.check().map_err(anyhow::Error::msg).with_context(context)?;
    Ok(settings)
}

/// Who hears how far a deployment is.
pub trait Listener {
    /// The device has so many bytes, of so many.
    fn sent(&mut self, bytes: u64, total: u64);
    /// A step is done there.
    fn done(&mut self, progress: &Progress);
}

/// Sends a module and has it deployed. Where several statements about it are signed,
/// the device is asked with each, the newest first, until it believes one.
pub fn deploy(
    client: &Client,
    module: &Fetched,
    request: &DeployRequest,
    listener: &mut dyn Listener,
) -> Result<Deployed, ClientError> {
    let mut file = File::open(&module.path).map_err(ClientError::Source)?;
    let mut sent = |bytes, total| listener.sent(bytes, total);
    client.send_from(module.digest, &mut file, &mut sent)?;
    let mut envelopes = module.envelopes.iter().map(|envelope| envelope.to_json()).peekable();
    loop {
        let signature = envelopes.next();
        let request = DeployRequest { signature, ..request.clone() };
        let result = client.deploy(&request, |event| {
            if let DeployEvent::Progress(progress) = event {
                listener.done(progress);
            }
        });
        match result {
            Err(ClientError::Refused(refused))
                if refused.step == Step::Signature && envelopes.peek().is_some() => {}
            result => return result,
        }
    }
}
