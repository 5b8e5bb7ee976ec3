//! Which version answers which input.

use std::sync::Arc;

use leeway_contract::Digest;

use super::Version;

/// Which of two versions is on probation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Neither.
    None,
    /// The one that answers.
    Primary,
    /// The other one, which answers a share.
    Other,
}

/// What a model's pointer points to. Never changed: another one takes its place.
#[derive(Clone, Debug)]
pub struct Routing {
    /// Answers, but for the other's share.
    pub primary: Arc<Version>,
    /// The version before, or a new one that answers a share.
    pub other: Option<Arc<Version>>,
    /// The part of the inputs that the other one answers, from 0 to 1.
    pub share: f64,
    /// The part of the inputs that both run, to compare their outputs.
    pub shadow: f64,
    /// Which is on probation.
    pub trial: Trial,
    /// The streams whose inputs these are, by their names; none where inputs are answered
    /// when there is time.
    pub streams: Arc<[String]>,
}

impl Routing {
    /// The version on probation.
    pub fn on_trial(&self) -> Option<&Arc<Version>> {
        match self.trial {
            Trial::None => None,
            Trial::Primary => Some(&self.primary),
            Trial::Other => self.other.as_ref(),
        }
    }

    /// Both versions.
    pub fn versions(&self) -> impl Iterator<Item = &Arc<Version>> {
        std::iter::once(&self.primary).chain(&self.other)
    }

    /// Whether one of the versions is this module.
    pub fn has(&self, digest: Digest) -> bool {
        self.versions().any(|version| version.digest() == digest)
    }

    /// The version that answers an input, and the one that does not.
    pub(super) fn choose(&self, turn: u64) -> (&Arc<Version>, Option<&Arc<Version>>) {
        match &self.other {
            Some(other) if is_turn(turn, self.share) => (other, Some(&self.primary)),
            other => (&self.primary, other.as_ref()),
        }
    }
}

/// Spreads a share evenly over turns: of the first `n`, `n * share` rounded down.
pub(super) fn is_turn(turn: u64, share: f64) -> bool {
    ((turn + 1) as f64 * share).floor() > (turn as f64 * share).floor()
}

#[test]
fn a_share_is_spread_evenly() {
    for share in [0.0, 0.01, 0.25, 1.0 / 3.0, 0.9, 1.0] {
        let turns = (0..1000).filter(|&turn| is_turn(turn, share)).count();
        assert_eq!(turns, (1000.0 * share).floor() as usize, "{share}");
    }
    assert_eq!((0..8).filter(|&turn| is_turn(turn, 0.25)).collect::<Vec<_>>(), [3, 7]);
}
