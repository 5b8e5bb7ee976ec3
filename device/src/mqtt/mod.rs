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

mod changes;
mod config;
mod link;
mod voice;

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::api::Both;

pub use config::{MqttConfig, MqttError};

/// The longest that saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// The device's end of the channel, until it is stopped.
pub(crate) struct Mqtt {
    stop: watch::Sender<()>,
    voice: JoinHandle<()>,
}

impl Mqtt {
    /// Begins, by these settings, whose files are read now. Nobody waits for the broker.
    pub(crate) fn start(config: &MqttConfig, both: Both) -> Result<Self, MqttError> {
        let (stop, stopped) = watch::channel(());
        let (client, link) = link::Link::new(config.options()?, config.topics());
        let voice = voice::Voice::new(config, client, both);
        let voice = tokio::spawn(voice.speak(link, stopped));
        Ok(Self { stop, voice })
    }

    /// Says goodbye, if the broker is there.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(GOODBYE, self.voice).await.ok();
    }
}
