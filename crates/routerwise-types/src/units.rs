//! Units as types: adding seconds to tokens does not compile, and a value outside its range does not exist.
//!
//! ```
//! use routerwise_types::{Fraction, RequestsPerSecond, Seconds};
//!
//! let rate = RequestsPerSecond::new(20.0)?.share(Fraction::new(0.25)?);
//! assert_eq!(rate * Seconds::new(0.4)?, 2.0); // Little's law: requests in flight
//! assert!(Seconds::new(f64::NAN).is_err());
//! # Ok::<(), routerwise_types::OutOfRange>(())
//! ```
//!
//! In JSON every unit is a plain number in the base unit that its schema names (seconds, bytes, requests per second).

use std::borrow::Cow;
use std::fmt;
use std::ops::{Add, Mul};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A number that its unit does not allow.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{unit} must be {range}, found {value}")]
pub struct OutOfRange {
    /// The unit's name in words.
    pub unit: &'static str,
    /// The allowed range in words.
    pub range: &'static str,
    /// What was found.
    pub value: f64,
}

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $words:literal, $range:literal, |$v:ident| $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            #[doc = concat!("Accepts ", $range, "; rejects everything else, NaN included.")]
            ///
            /// # Errors
            /// [`OutOfRange`] names the unit, its range and the value.
            pub fn new($v: f64) -> Result<Self, OutOfRange> {
                if $ok {
                    Ok(Self($v))
                } else {
                    Err(OutOfRange { unit: $words, range: $range, value: $v })
                }
            }

            /// The number in the base unit.
            #[must_use]
            pub fn value(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = OutOfRange;
            fn try_from(value: f64) -> Result<Self, OutOfRange> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(unit: $name) -> f64 {
                unit.0
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "number", "description": concat!($words, "; ", $range) })
            }
        }
    };
}

unit!(
    /// A span of time in seconds.
    Seconds, "time in seconds", "a finite number of at least 0", |v| v.is_finite() && v >= 0.0
);
unit!(
    /// Mean arrival rate (`λ`).
    RequestsPerSecond, "rate in requests per second", "a finite number of at least 0", |v| v.is_finite() && v >= 0.0
);
unit!(
    /// Share `ρ` of a GPU's compute that one engine process may use (NVIDIA MPS active thread percentage / 100).
    GpuShare, "share of a GPU", "above 0 and at most 1", |v| v > 0.0 && v <= 1.0
);
unit!(
    /// Predicted or measured quality `s` of an answer.
    Score, "score", "between 0 and 1", |v| (0.0..=1.0).contains(&v)
);
unit!(
    /// Part of a whole: a routing fraction `w`, a utilisation, a probability.
    Fraction, "fraction", "between 0 and 1", |v| (0.0..=1.0).contains(&v)
);
unit!(
    /// Dual price `α` of a model: the quality that one more prompt on it costs everybody else, in units of score.
    Price, "price in units of score", "a finite number of at least 0", |v| v.is_finite() && v >= 0.0
);

impl Seconds {
    /// No time at all.
    pub const ZERO: Self = Self(0.0);

    /// The same span in milliseconds, for messages.
    #[must_use]
    pub fn as_millis(self) -> f64 {
        self.0 * 1e3
    }
}

impl Add for Seconds {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl RequestsPerSecond {
    /// `self` scaled by a fraction: the load that one model of several sees.
    #[must_use]
    pub fn share(self, fraction: Fraction) -> Self {
        Self(self.0 * fraction.0)
    }
}

/// Little's law, `L = λ·W`: the mean number of requests in flight.
impl Mul<Seconds> for RequestsPerSecond {
    type Output = f64;
    fn mul(self, wait: Seconds) -> f64 {
        self.0 * wait.0
    }
}

impl GpuShare {
    /// The whole GPU.
    pub const WHOLE: Self = Self(1.0);
}

impl Fraction {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// Everything.
    pub const ONE: Self = Self(1.0);
}

impl Price {
    /// Free.
    pub const ZERO: Self = Self(0.0);
}

/// `12 ms`, `1.3 s`: three significant digits, the unit a person would choose.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            v if v < 1e-3 => (v * 1e6, "µs"),
            v if v < 1.0 => (v * 1e3, "ms"),
            v => (v, "s"),
        };
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        write!(f, "{value:.digits$} {unit}")
    }
}

impl fmt::Display for RequestsPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} requests/s", self.0)
    }
}

impl fmt::Display for GpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} %", self.0 * 100.0)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", self.0 * 100.0)
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4}", self.0)
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// The amount as a float, for formulas.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "memory sizes stay far below 2^53 bytes")]
    pub fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// Rounds a non-negative number of bytes up.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u64 first"
    )]
    pub fn ceil(value: f64) -> Self {
        Self(value.clamp(0.0, 1e18).ceil() as u64)
    }

    /// `self − other`, or nothing when `other` is larger.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

/// Decimal units, as vendors print memory sizes: `80.0 GB`.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.as_f64();
        match value {
            v if v >= 1e9 => write!(f, "{:.1} GB", v / 1e9),
            v if v >= 1e6 => write!(f, "{:.1} MB", v / 1e6),
            v => write!(f, "{v:.0} bytes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_refuses_what_lies_outside_its_range() {
        assert!(Seconds::new(f64::NAN).is_err());
        assert!(Seconds::new(-1.0).is_err());
        assert!(RequestsPerSecond::new(f64::INFINITY).is_err());
        assert!(GpuShare::new(0.0).is_err());
        assert!(GpuShare::new(1.0).is_ok());
        assert!(Score::new(1.01).is_err());
        assert_eq!(
            Fraction::new(2.0).unwrap_err().to_string(),
            "fraction must be between 0 and 1, found 2"
        );
    }

    #[test]
    fn json_cannot_smuggle_a_bad_value_in() {
        assert!(serde_json::from_str::<Seconds>("-3").is_err());
        assert_eq!(
            serde_json::from_str::<Seconds>("0.25").unwrap(),
            Seconds::new(0.25).unwrap()
        );
    }

    #[test]
    fn people_read_times_in_the_unit_they_would_choose() {
        let show = |v: f64| Seconds::new(v).unwrap().to_string();
        assert_eq!(show(0.4), "400 ms");
        assert_eq!(show(0.0123), "12.3 ms");
        assert_eq!(show(1.25), "1.25 s");
        assert_eq!(Bytes(80_000_000_000).to_string(), "80.0 GB");
    }
}
