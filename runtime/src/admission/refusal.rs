//! Why a set of streams is not admitted, in the words of its owner.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::nanos;

/// Why a set of streams is not admitted.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize)]
#[serde(rename_all = "kebab-case", tag = "refused")]
#[non_exhaustive]
pub enum Refusal {
    /// A stream cannot be analysed as it is described.
    #[error("stream {stream:?}: {problem}")]
    Invalid {
        /// Which.
        stream: String,
        /// What is wrong, what was seen and what is wanted.
        problem: String,
    },
    /// More of a core's time is wanted than there is.
    #[error(
        "core {core} would be wanted for {:.1} % of its time: {}; a longer period or a smaller \
         model is needed",
        100.0 * utilisation,
        Shares(streams)
    )]
    Overloaded {
        /// Which core.
        core: usize,
        /// The part of its time, from 0.
        utilisation: f64,
        /// Each stream's part of it.
        streams: Vec<(String, f64)>,
    },
    /// Earliest deadline first: an interval in which more is wanted than there is.
    #[error("{0}")]
    Demand(Box<Demand>),
    /// Fixed priorities: a stream's worst-case response time is past its deadline.
    #[error("{0}")]
    Response(Box<Response>),
    /// Fixed priorities: there is no order in which all deadlines are met.
    #[error(
        "no order of priorities meets all deadlines on core {core}: none of {} can be the least \
         urgent",
        Names(streams)
    )]
    NoOrder {
        /// The core.
        core: usize,
        /// The streams of which none can be the least urgent.
        streams: Vec<String>,
    },
    /// It fits on no core beside those that were placed before it.
    #[error("stream {stream:?} fits on no core: {}", Reasons(reasons))]
    NoCore {
        /// The stream.
        stream: String,
        /// For each core, why not.
        reasons: Vec<Refusal>,
    },
    /// The test would take too long: periods are too far apart.
    #[error(
        "the test for core {core} would take too long, as the shortest period is {shortest:?} and \
         the core is nearly always busy; a longer period is needed"
    )]
    TooManySteps {
        /// The core.
        core: usize,
        /// The shortest period on it.
        #[serde(rename = "shortest_ns", with = "nanos")]
        shortest: Duration,
    },
}

/// An interval in which more is wanted of a core than there is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Demand {
    /// A stream whose deadline ends the interval.
    pub stream: String,
    /// The core.
    pub core: usize,
    /// The length of the interval.
    #[serde(rename = "interval_ns", with = "nanos")]
    pub interval: Duration,
    /// The work of the jobs that arrive and must be answered in it.
    #[serde(rename = "demand_ns", with = "nanos")]
    pub demand: Duration,
    /// The segment of a later deadline that may have just begun.
    pub blocking: Option<Blocked>,
    /// Each stream's part of the demand.
    pub shares: Vec<Share>,
}

/// A stream's part of the work in an interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The stream.
    pub stream: String,
    /// Its work.
    #[serde(rename = "work_ns", with = "nanos")]
    pub work: Duration,
}

/// A worst-case response time that is past the deadline.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Response {
    /// The stream.
    pub stream: String,
    /// The core.
    pub core: usize,
    /// Its worst-case response time.
    #[serde(rename = "response_ns", with = "nanos")]
    pub response: Duration,
    /// Its deadline.
    #[serde(rename = "deadline_ns", with = "nanos")]
    pub deadline: Duration,
    /// The segment of a less urgent stream that may have just begun.
    pub blocking: Option<Blocked>,
    /// The streams that go before it.
    pub more_urgent: Vec<String>,
}

/// A segment of another stream that has just begun and is not interrupted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Blocked {
    /// How long it takes.
    #[serde(rename = "time_ns", with = "nanos")]
    pub time: Duration,
    /// Whose it is.
    pub by: String,
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { stream, core, interval, demand, .. } = self;
        write!(
            f,
            "stream {stream:?} may miss its deadline on core {core}: within an interval of \
             {interval:?}, work of {demand:?} must be done{}: ",
            Held(&self.blocking)
        )?;
        let each = self.shares.iter().map(|share| format!("{:?} {:?}", share.stream, share.work));
        f.write_str(&each.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { stream, core, response, deadline, more_urgent, .. } = self;
        write!(
            f,
            "stream {stream:?} may miss its deadline on core {core}: its worst-case response time \
             is {response:?} and its deadline {deadline:?}{}; more urgent: {}",
            Held(&self.blocking),
            Names(more_urgent)
        )
    }
}

struct Shares<'a>(&'a [(String, f64)]);

impl fmt::Display for Shares<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let each = self.0.iter().map(|(name, part)| format!("{name:?} {:.1} %", 100.0 * part));
        f.write_str(&each.collect::<Vec<_>>().join(", "))
    }
}

struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            [] => f.write_str("none"),
            names => {
                let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

struct Held<'a>(&'a Option<Blocked>);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            Some(Blocked { time, by }) => {
                write!(f, ", held up for {time:?} by a segment of {by:?}")
            }
            None => Ok(()),
        }
    }
}

struct Reasons<'a>(&'a [Refusal]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let each: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&each.join("; "))
    }
}
