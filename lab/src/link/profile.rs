//! The named links of the lab: their figures, and where each figure comes from.

use std::fmt;
use std::time::Duration;

use super::outage::Outages;

/// Everything that decides how long a link takes to carry a segment.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkProfile {
    /// The name, as on the command line.
    pub name: &'static str,
    /// Rate from the device to the fog host, in bits per second.
    pub up_bits_per_s: u64,
    /// Rate from the fog host to the device, in bits per second.
    pub down_bits_per_s: u64,
    /// What every segment takes at least, one way, besides its serialisation.
    pub delay: Duration,
    /// Mean of what a segment takes on top of that: exponentially distributed,
    /// cut at [`LinkProfile::JITTER_CUT`] times the mean.
    pub jitter: Duration,
    /// The probability that a segment is lost, from 0 to below 1.
    pub loss: f64,
    /// When nothing passes; `None` for a link that is always there.
    pub outages: Option<Outages>,
    /// Where the figures come from, and which of them are assumed.
    pub source: &'static str,
}

/// A name that no profile has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no link profile {name:?}; there are {}", names())]
pub struct UnknownProfile {
    /// The name that was asked for.
    pub name: String,
}

const fn micros(us: u64) -> Duration {
    Duration::from_micros(us)
}

static PROFILES: [LinkProfile; 5] = [
    LinkProfile {
        name: "ethernet",
        up_bits_per_s: 100_000_000,
        down_bits_per_s: 100_000_000,
        delay: micros(100),
        jitter: micros(10),
        loss: 0.0,
        outages: None,
        source: "Rate: 100BASE-TX, full duplex (IEEE 802.3u). Assumed: 0.1 ms each way through \
                 one switch and both hosts' network stacks, jitter.",
    },
    LinkProfile {
        name: "wifi",
        up_bits_per_s: 15_000_000,
        down_bits_per_s: 30_000_000,
        delay: micros(1_000),
        jitter: micros(500),
        loss: 0.0005,
        outages: None,
        source: "Rates and the 2 ms of minimum round trip: the Wi-Fi preset of Firefox's network \
                 throttling. Jitter set for the median round trip of 3 ms that K. Sui et al. \
                 measured on a campus (MobiSys 2016, DOI 10.1145/2906388.2906393). Assumed: loss.",
    },
    LinkProfile {
        name: "weak-wifi",
        up_bits_per_s: 5_000_000,
        down_bits_per_s: 5_000_000,
        delay: micros(5_000),
        jitter: micros(6_000),
        loss: 0.01,
        outages: Some(Outages {
            every: Duration::from_secs(30),
            lasting: Duration::from_millis(300),
        }),
        source: "Delay and jitter set for a median round trip of 20 ms, which half of the packets \
                 exceed in the study \"WiFi can be the weakest link of round trip network latency \
                 in the wild\" (47 access points of a campus). Assumed: rate, 6 Mbit/s (the lowest \
                 of IEEE 802.11g's OFDM rates) less what the medium access costs; loss; outages, \
                 as when a station changes its access point.",
    },
    LinkProfile {
        name: "lte",
        up_bits_per_s: 6_000_000,
        down_bits_per_s: 13_000_000,
        delay: micros(31_000),
        jitter: micros(4_000),
        loss: 0.0005,
        outages: None,
        source: "Rates: medians of J. Huang et al., \"A Close Examination of Performance and Power \
                 Characteristics of 4G LTE Networks\" (MobiSys 2012). Round trip of 70 ms: the LTE \
                 preset of WebPageTest. Assumed: jitter's part of it, loss.",
    },
    LinkProfile {
        name: "3g",
        up_bits_per_s: 768_000,
        down_bits_per_s: 1_600_000,
        delay: micros(140_000),
        jitter: micros(10_000),
        loss: 0.002,
        outages: None,
        source: "Rates and the round trip of 300 ms: the 3G preset of WebPageTest. Assumed: \
                 jitter's part of it, loss.",
    },
];

/// The profiles' names, for an error message.
fn names() -> String {
    let names: Vec<&str> = PROFILES.iter().map(|p| p.name).collect();
    names.join(", ")
}

impl LinkProfile {
    /// No segment's jitter is more than this many times the mean.
    pub const JITTER_CUT: u32 = 8;

    /// All named profiles, the fastest first.
    pub fn all() -> &'static [LinkProfile] {
        &PROFILES
    }

    /// The profile of this name.
    pub fn named(name: &str) -> Result<LinkProfile, UnknownProfile> {
        let found = PROFILES.iter().find(|p| p.name == name).cloned();
        found.ok_or_else(|| UnknownProfile { name: name.to_owned() })
    }

    /// A link that adds nothing, to start a profile of one's own from.
    pub fn ideal(name: &'static str) -> LinkProfile {
        LinkProfile {
            name,
            up_bits_per_s: u64::MAX,
            down_bits_per_s: u64::MAX,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            outages: None,
            source: "none",
        }
    }

    /// The expected round trip of a segment without payload that is not lost and
    /// meets no queue: delay and mean jitter, both ways.
    pub fn round_trip(&self) -> Duration {
        (self.delay + self.jitter) * 2
    }

    /// The figures on one line.
    pub fn summary(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for LinkProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} up, {} down, {} each way + {} jitter",
            rate(self.up_bits_per_s),
            rate(self.down_bits_per_s),
            millis(self.delay),
            millis(self.jitter),
        )?;
        match self.loss {
            0.0 => f.write_str(", no loss")?,
            loss => write!(f, ", {} % loss", trimmed(loss * 100.0))?,
        }
        match &self.outages {
            None => Ok(()),
            Some(outages) => write!(f, ", {outages}"),
        }
    }
}

fn rate(bits_per_s: u64) -> String {
    match bits_per_s {
        u64::MAX => "unlimited".to_owned(),
        b if b >= 1_000_000 => format!("{} Mbit/s", trimmed(b as f64 / 1e6)),
        b => format!("{} kbit/s", trimmed(b as f64 / 1e3)),
    }
}

fn millis(t: Duration) -> String {
    format!("{} ms", trimmed(t.as_secs_f64() * 1e3))
}

/// At most three decimals, without trailing zeros.
fn trimmed(x: f64) -> String {
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_its_name_and_names_its_sources() {
        for profile in LinkProfile::all() {
            assert_eq!(&LinkProfile::named(profile.name).unwrap(), profile);
            assert!(profile.source.contains("ssumed") && (0.0..1.0).contains(&profile.loss));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = LinkProfile::named("carrier-pigeon").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no link profile \"carrier-pigeon\"; there are ethernet, wifi, weak-wifi, lte, 3g"
        );
    }

    #[test]
    fn the_round_trips_are_those_of_the_sources() {
        let ms = |name| LinkProfile::named(name).unwrap().round_trip().as_secs_f64() * 1e3;
        assert!(ms("ethernet") < 1.0);
        assert_eq!(ms("wifi"), 3.0);
        assert_eq!(ms("weak-wifi"), 22.0);
        assert_eq!(ms("lte"), 70.0);
        assert_eq!(ms("3g"), 300.0);
    }

    #[test]
    fn the_summary_is_one_line_in_human_units() {
        let summary = |name| LinkProfile::named(name).unwrap().summary();
        assert_eq!(
            summary("ethernet"),
            "100 Mbit/s up, 100 Mbit/s down, 0.1 ms each way + 0.01 ms jitter, no loss"
        );
        assert_eq!(
            summary("weak-wifi"),
            "5 Mbit/s up, 5 Mbit/s down, 5 ms each way + 6 ms jitter, 1 % loss, \
             an outage of 0.3 s about every 30 s"
        );
    }
}
