//! The section `[mqtt]` of the configuration:
//!
//! ```toml
//! [mqtt]
//! url = "mqtts://broker.example.org:8883"   # or mqtt:// on the device itself
//! plaintext = true                    # mqtt:// to another machine: anybody between reads along
//! device = "line-3"                   # its name, which no other device has
//! prefix = "leeway"                   # before the name in all topics; this by default
//! authority = "broker-ca.pem"         # mqtts only: who has signed its certificate
//! certificate = "device.pem"          # optional, with `key`: this device's own
//! key = "device.key"
//! user = "line-3"                     # optional, with `password_file`
//! password_file = "mqtt-password"
//! status_s = 60                       # the longest between two of its status
//! ```

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::Uri;
use leeway_contract::Digest;
use leeway_tls::TlsError;
use leeway_tls::client::connect;
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{LastWill, LastWillProperties};
use rumqttc::{TlsConfiguration, Transport};
use serde::Deserialize;

/// How long the broker remembers what the device has not heard: a week.
const SESSION_SECONDS: u32 = 7 * 24 * 3600;
/// How often a silent connection is looked at.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The longest that connecting may take, in seconds.
const CONNECT_SECONDS: u64 = 10;
/// What may be under way to the broker at once.
const INFLIGHT: u16 = 16;
/// How long the device is not gone yet whose connection is: it may be made anew
/// (MQTT 5, 3.1.3.2.2).
const WILL_SECONDS: u32 = 5;
/// The largest desired state, with its topic.
const PACKET_BYTES: u32 = 256 << 10;

/// The broker, and how the device is called there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    url: String,
    device: String,
    #[serde(default = "prefix")]
    prefix: String,
    authority: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    #[serde(default = "status_s")]
    status_s: u64,
    /// Whether there may be no TLS although the broker is another machine.
    #[serde(default)]
    plaintext: bool,
}

fn prefix() -> String {
    "leeway".into()
}

fn status_s() -> u64 {
    60
}

/// Settings of MQTT by which there is no channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MqttError {
    /// No broker's URL.
    #[error("[mqtt] url is {seen:?}, wanted {wanted}")]
    Url {
        /// The URL.
        seen: String,
        /// What it should have been.
        wanted: &'static str,
    },
    /// What a topic cannot have in it.
    #[error("[mqtt] {which} is {seen:?}, wanted {wanted}")]
    Name {
        /// Which setting.
        which: &'static str,
        /// The name.
        seen: String,
        /// What it should have been.
        wanted: &'static str,
    },
    /// Anybody may listen.
    #[error(
        "[mqtt] speaks to {0} on another machine: wanted mqtts:// with an authority, or say in plain words that anybody between may read and change what is sent: plaintext = true"
    )]
    Exposed(String),
    /// One setting needs, or excludes, another.
    #[error("[mqtt]: {0}")]
    Settings(&'static str),
    /// The password cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Files that make no TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What does not change while the agent runs.
    #[error("[mqtt] device, prefix and status_s change with the next start only")]
    Restart,
}

/// The topics of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topics(String);

impl Topics {
    pub(super) fn desired(&self) -> String {
        format!("{}/desired", self.0)
    }

    pub(super) fn reply(&self) -> String {
        format!("{}/desired/reply", self.0)
    }

    pub(super) fn status(&self) -> String {
        format!("{}/status", self.0)
    }

    pub(super) fn online(&self) -> String {
        format!("{}/online", self.0)
    }

    pub(super) fn events(&self) -> String {
        format!("{}/events", self.0)
    }
}

impl MqttConfig {
    pub(crate) fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let Self { authority, certificate, key, password_file, .. } = self;
        [authority, certificate, key, password_file].into_iter().flatten()
    }

    pub(super) fn topics(&self) -> Topics {
        Topics(format!("{}/{}", self.prefix, self.device))
    }

    /// The longest between two of its status.
    pub(super) fn status_interval(&self) -> Duration {
        Duration::from_secs(self.status_s)
    }

    /// Whether the same is said and heard by other settings, on the same topics.
    pub(super) fn has_topics_of(&self, other: &Self) -> bool {
        let of = |config: &Self| (config.topics(), config.status_s);
        of(self) == of(other)
    }

    /// The digest of the settings and of what is in their files.
    pub(super) fn digest(&self) -> Result<Digest, MqttError> {
        let mut all = format!("{self:?}").into_bytes();
        for path in self.clone().files() {
            // Of each of them, as they are of one length.
            all.extend(Digest::of(&read(path)?).to_hex().bytes());
        }
        Ok(Digest::of(&all))
    }

    /// Whether there is a channel by these settings. No file is read.
    pub(crate) fn check(&self) -> Result<(), MqttError> {
        let (host, _, tls) = self.broker()?;
        if tls && self.plaintext {
            return Err(MqttError::Settings("plaintext = true, and mqtts://: wanted one of them"));
        }
        if !tls && !self.plaintext && !is_this_machine(&host) {
            return Err(MqttError::Exposed(host));
        }
        let bad = |text: &str, more: &[char]| {
            text.is_empty() || text.contains(['+', '#', '\0']) || text.contains(more)
        };
        let wrong = |which, seen: &str, wanted| {
            Err(MqttError::Name { which, seen: seen.chars().take(80).collect(), wanted })
        };
        if bad(&self.device, &['/']) {
            return wrong("device", &self.device, "a name without +, # and /");
        }
        if bad(&self.prefix, &[]) || self.prefix.starts_with('$') {
            return wrong("prefix", &self.prefix, "levels of a topic without + and #");
        }
        if self.certificate.is_some() != self.key.is_some() {
            return Err(MqttError::Settings("certificate and key belong together"));
        }
        if self.user.is_some() != self.password_file.is_some() {
            return Err(MqttError::Settings("user and password_file belong together"));
        }
        if self.status_s == 0 {
            return Err(MqttError::Settings("status_s is 0, wanted 1 or more"));
        }
        Ok(())
    }

    /// Host, port, and whether there is TLS.
    fn broker(&self) -> Result<(String, u16, bool), MqttError> {
        let files = self.authority.is_some() || self.certificate.is_some();
        let wanted = match files {
            false => "mqtt://HOST:PORT, or mqtts://HOST:PORT with an authority",
            true => "mqtts://HOST:PORT, as there is an authority or a certificate",
        };
        let wrong = || MqttError::Url { seen: self.url.chars().take(200).collect(), wanted };
        let uri: Uri = self.url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("mqtt") => false,
            Some("mqtts") => true,
            _ => return Err(wrong()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        // An address of IPv6 is in brackets in a URL, and nowhere else.
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let alone = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !alone || tls != files || (tls && self.authority.is_none()) {
            return Err(wrong());
        }
        Ok((host.to_owned(), uri.port_u16().unwrap_or(if tls { 8883 } else { 1883 }), tls))
    }

    /// What the client is told.
    pub(super) fn options(&self) -> Result<MqttOptions, MqttError> {
        self.check()?;
        let (host, port, tls) = self.broker()?;
        let topics = self.topics();
        let mut options = MqttOptions::new(topics.0.replace('/', "-"), host, port);
        let online = topics.online();
        let will = LastWillProperties {
            delay_interval: Some(WILL_SECONDS),
            payload_format_indicator: None,
            message_expiry_interval: None,
            content_type: None,
            response_topic: None,
            correlation_data: None,
            user_properties: Vec::new(),
        };
        options
            .set_keep_alive(KEEP_ALIVE)
            .set_connection_timeout(CONNECT_SECONDS)
            .set_clean_start(false)
            .set_session_expiry_interval(Some(SESSION_SECONDS))
            .set_outgoing_inflight_upper_limit(INFLIGHT)
            .set_max_packet_size(Some(PACKET_BYTES))
            .set_last_will(LastWill::new(online, "false", QoS::AtLeastOnce, true, Some(will)));
        if tls {
            let pair = self.certificate.as_deref().zip(self.key.as_deref());
            let settings = connect(self.authority.as_deref(), pair)?;
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(settings)));
        }
        if let Some((user, path)) = self.user.as_ref().zip(self.password_file.as_ref()) {
            let password = String::from_utf8(read(path)?).map_err(|error| MqttError::Read {
                path: path.clone(),
                source: io::Error::new(io::ErrorKind::InvalidData, error),
            })?;
            options.set_credentials(user, password.trim_end_matches(['\r', '\n']));
        }
        Ok(options)
    }
}

/// Whether nobody is between this machine and a host.
fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read(path: &Path) -> Result<Vec<u8>, MqttError> {
    std::fs::read(path).map_err(|source| MqttError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_channel_is_refused_in_words() {
        let said = |text: &str| {
            let config: MqttConfig = toml::from_str(text).unwrap();
            config.check().err().map(|error| error.to_string()).unwrap_or_default()
        };
        let (url, device) = ("url = \"mqtt://localhost\"\n", "device = \"line-3\"\n");
        let open = |host: &str| format!("url = \"mqtt://{host}\"\n{device}");
        for (text, wanted) in [
            (format!("{url}{device}"), ""),
            (open("127.0.0.1:1"), ""),
            (open("[::1]"), ""),
            (format!("{}plaintext = true", open("broker")), ""),
            (open("broker"), "speaks to broker on another machine"),
            (open("[2001:db8::1]:1"), "speaks to 2001:db8::1 on"),
            (
                format!("url = \"mqtts://broker\"\nauthority = \"ca\"\nplaintext = true\n{device}"),
                "one of them",
            ),
            (format!("{url}{device}prefix = \"plant/2\"\n"), ""),
            (format!("url = \"mqtts://broker:1\"\nauthority = \"ca\"\n{device}"), ""),
            (format!("url = \"mqtts://broker\"\n{device}"), "with an authority"),
            (format!("{url}authority = \"ca\"\n{device}"), "mqtts://HOST:PORT, as"),
            (format!("url = \"http://broker\"\n{device}"), "http://broker"),
            (format!("url = \"mqtt://broker/x\"\n{device}"), "mqtt://broker/x"),
            (format!("{url}device = \"a/b\"\n"), "\"a/b\""),
            (format!("{url}device = \"\"\n"), "device"),
            (format!("{url}{device}prefix = \"a/#\"\n"), "\"a/#\""),
            (format!("{url}{device}user = \"u\"\n"), "password_file"),
            (format!("{url}{device}key = \"k\"\n"), "certificate and key"),
            (format!("{url}{device}status_s = 0\n"), "status_s"),
        ] {
            let seen = said(&text);
            assert_eq!(seen.is_empty(), wanted.is_empty(), "{text}: {seen}");
            assert!(seen.contains(wanted), "{text}: {seen}");
        }
    }

    #[test]
    fn topics_are_below_prefix_and_device_and_the_port_is_the_scheme_s() {
        let text = "url = \"mqtt://localhost\"\ndevice = \"line-3\"\nprefix = \"plant/2\"\n";
        let config: MqttConfig = toml::from_str(text).unwrap();
        assert_eq!(config.topics().desired(), "plant/2/line-3/desired");
        assert_eq!(config.topics().reply(), "plant/2/line-3/desired/reply");
        assert_eq!(config.broker().unwrap(), ("localhost".into(), 1883, false));
        assert_eq!(config.options().unwrap().client_id(), "plant-2-line-3");
        let url = "mqtts://[2001:db8::1]".to_owned();
        let config = MqttConfig { url, authority: Some("ca".into()), ..config };
        assert_eq!(config.broker().unwrap(), ("2001:db8::1".into(), 8883, true));
    }
}
