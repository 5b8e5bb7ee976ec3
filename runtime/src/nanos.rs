//! Serialises a [`Duration`] as whole nanoseconds, for fields named `.._ns` on
//! the outside: `#[serde(with = "crate::nanos")]`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer};

/// The nanoseconds of `time`; `u64::MAX` (584 years) where they are more.
pub fn of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Writes the nanoseconds.
pub(crate) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(of(*time))
}

/// Reads the nanoseconds.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    u64::deserialize(from).map(Duration::from_nanos)
}

/// The same for a time that may be missing.
pub(crate) mod option {
    use super::*;

    /// Writes the nanoseconds, or null.
    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => to.serialize_some(&of(*time)),
            None => to.serialize_none(),
        }
    }

    /// Reads the nanoseconds, or null.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_nanos))
    }
}
