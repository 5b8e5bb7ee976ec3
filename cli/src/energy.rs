//! The arguments of commands that measure joules.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use leeway_runtime::power::{MeasureRule, PerInference, PowerModel, joules};
use leeway_runtime::sysfs::Root;

use crate::units;

/// How joules are to be found.
#[derive(Args)]
pub struct EnergyArguments {
    /// Tell the joules of one inference: by the device's sensors, after a second
    /// of doing nothing; what else the machine does disturbs it.
    #[arg(long)]
    energy: bool,
    /// The device's declared power: idle_watts, busy_watts, transmit_watts and
    /// receive_watts. Used where its sensors do not tell.
    #[arg(long, value_name = "FILE.toml", requires = "energy")]
    power_model: Option<PathBuf>,
    /// Measure with this sensor, whatever else there is (`leeway doctor` names the
    /// one that is taken otherwise).
    #[arg(long = "power-sensor", value_name = "NAME", requires = "energy")]
    power_sensors: Vec<String>,
    /// The tree that has `sys` in it.
    #[arg(long, value_name = "DIR", default_value = "/", requires = "energy")]
    sysfs_root: PathBuf,
}

impl EnergyArguments {
    /// The joules of one inference, where they are asked for; `run` runs one, and
    /// tells its execution time.
    pub fn measure<E: std::error::Error + Send + Sync + 'static>(
        &self,
        run: &mut dyn FnMut() -> Result<Duration, E>,
    ) -> anyhow::Result<Option<PerInference>> {
        if !self.energy {
            return Ok(None);
        }
        let model = self.power_model.as_ref().map(|file| {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            PowerModel::from_toml(&text).with_context(|| file.display().to_string())
        });
        let model = model.transpose()?;
        let root = Root::new(&self.sysfs_root);
        let energy =
            joules(&root, &self.power_sensors, model.as_ref(), &MeasureRule::default(), run)
                .context("the joules of an inference (a power model is given by --power-model)")?;
        Ok(Some(energy))
    }
}

/// One line about it.
pub fn text(energy: &PerInference) -> String {
    let by = match &energy.instead {
        Some(why) => why.clone(),
        None => format!("by {}, over {} runs", energy.sensors.join(", "), energy.runs),
    };
    format!("{} per inference ({}; {by})", units::energy(energy.joules), energy.basis)
}
