//! MQTT 5: a desired state comes by a broker, and status and events go there. The
//! device is behind no open port, and hears what it missed when the link is back.
//!
//! | topic                         |          |                                             |
//! |-------------------------------|----------|---------------------------------------------|
//! | `PREFIX/DEVICE/desired`       | retained | what the device shall be: as `PUT /v1/desired` |
//! | `PREFIX/DEVICE/desired/reply` |          | whether it was taken, else what is wrong      |
//! | `PREFIX/DEVICE/status`        | retained | as `GET /v1/status`: on a change, and now and then |
//! | `PREFIX/DEVICE/online`        | retained | `true`; `false` when the device has gone      |
//! | `PREFIX/DEVICE/events`        |          | steps, swaps, refusals, versions that went back |
//!
//! Nothing here is needed for serving: where the broker is not reached, it is tried
//! again after a while, and models answer meanwhile.
//!
//! - [`config`]: the section `[mqtt]` of the configuration.
//! - [`link`]: the connection, again and again.
//! - [`voice`]: what is said and heard on it.
//! - [`changes`]: what happened between two looks at the device.
//! - [`fit`]: what is said where the broker has no room for all of it.

mod changes;
mod config;
mod fit;
mod link;
mod voice;

use std::fmt;
use std::time::Duration;

use leeway_contract::Digest;
use rumqttc::v5::MqttOptions;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::Both;

pub use config::{MqttConfig, MqttError};

/// The longest that saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// The device's end of the channel, until it is stopped.
pub(crate) struct Mqtt {
    settings: Settings,
    options: watch::Sender<MqttOptions>,
    stop: watch::Sender<()>,
    voice: JoinHandle<()>,
}

/// Settings whose files were read.
pub(crate) struct Settings {
    config: MqttConfig,
    options: MqttOptions,
    /// Of the settings and of what is in the files.
    digest: Digest,
}

impl fmt::Debug for Mqtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mqtt").field("config", &self.settings.config).finish_non_exhaustive()
    }
}

impl Settings {
    fn read(config: &MqttConfig) -> Result<Self, MqttError> {
        let (options, digest) = (config.options()?, config.digest()?);
        Ok(Self { config: config.clone(), options, digest })
    }
}

impl Mqtt {
    /// Begins, by these settings, whose files are read now. Nobody waits for the broker.
    pub(crate) fn start(config: &MqttConfig, both: Both) -> Result<Self, MqttError> {
        let settings = Settings::read(config)?;
        let (stop, stopped) = watch::channel(());
        let (options, options_end) = watch::channel(settings.options.clone());
        let (client, link) = link::Link::new(options_end, config.topics());
        let voice = voice::Voice::new(config, client, both);
        let voice = tokio::spawn(voice.speak(link, stopped));
        Ok(Self { settings, options, stop, voice })
    }

    /// Reads settings and their files again. Nothing changes yet.
    pub(crate) fn read(&self, config: &MqttConfig) -> Result<Settings, MqttError> {
        match self.settings.config.has_topics_of(config) {
            true => Settings::read(config),
            false => Err(MqttError::Restart),
        }
    }

    /// Connects anew by these settings, if they are others than those that hold.
    pub(crate) fn renew(&mut self, settings: Settings) {
        if settings.digest != self.settings.digest {
            self.options.send_replace(settings.options.clone());
            self.settings = settings;
        }
    }

    /// Says goodbye, if the broker is there.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(GOODBYE, self.voice).await.ok();
    }
}
