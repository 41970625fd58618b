//! Event time: integer nanoseconds, because ties and replays must be exact.

use crate::units::Seconds;

/// A point in time, counted from the start of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The start of the run.
    pub const START: Self = Self(0);

    /// Rounds seconds since the start to the nearest nanosecond.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped first; 2^63 ns are 292 years"
    )]
    pub fn from_seconds(seconds: f64) -> Self {
        Self((seconds.clamp(0.0, 9e9) * 1e9).round() as u64)
    }

    /// Seconds since the start.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact to the nanosecond below 104 days")]
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 * 1e-9
    }

    /// The span from `earlier` to `self`; nothing when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Seconds {
        Seconds::new(Self(self.0.saturating_sub(earlier.0)).as_seconds()).unwrap_or(Seconds::ZERO)
    }
}
