//! What is asked of devices with a module.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use leeway_control::{DeployRequest, Settings};

use crate::source::Fetched;

/// What is asked of a device with a module.
#[derive(Args)]
pub struct DeployArguments {
    /// The model that it must be.
    #[arg(long)]
    model: Option<String>,
    /// Whether its counter may be lower than that of a release that was active.
    #[arg(long)]
    allow_older: bool,
    /// Measure it anew where the device has calibrated it before, and forget what raised
    /// its bound since then.
    #[arg(long)]
    recalibrate: bool,
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
        request.recalibrate = self.recalibrate;
        request.reason.clone_from(&self.reason);
        request.settings = self.settings.as_deref().map(settings_in).transpose()?;
        Ok(request)
    }
}

fn settings_in(path: &Path) -> anyhow::Result<Settings> {
    let context = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(context)?;
    let settings: Settings = toml::from_str(&text).with_context(context)?;
    settings.check().map_err(anyhow::Error::msg).with_context(context)?;
    Ok(settings)
}
