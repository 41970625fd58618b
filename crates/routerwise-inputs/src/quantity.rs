//! Numbers with units, as people write them: `"140 GB"`, `"250 ms"`, `"10 %"`, `"30 /s"`.

use routerwise_types::{RequestsPerSecond, Seconds};

/// A time as it is written on a command line: `250ms`, `30s`, `2min`.
///
/// # Errors
/// What is expected instead.
pub fn time(text: &str) -> Result<Seconds, String> {
    let value = of(text, &TIME)?;
    Seconds::new(value).map_err(|error| error.to_string())
}

/// A rate as it is written on a command line: `30`, `30/s`, `600/min`.
///
/// # Errors
/// What is expected instead.
pub fn rate(text: &str) -> Result<RequestsPerSecond, String> {
    let value = of(text, &RATE)?;
    RequestsPerSecond::new(value).map_err(|error| error.to_string())
}

fn of(text: &str, unit: &Unit) -> Result<f64, String> {
    let value = parse(text, unit).filter(|value| unit.accepts(*value));
    value.ok_or_else(|| format!("expected is {}", unit.expected()))
}

/// A kind of quantity: what it may be written in, and which numbers it allows.
#[derive(Debug)]
pub(crate) struct Unit {
    /// In words, with an example.
    expected: &'static str,
    /// Suffix and its factor to the base unit.
    suffixes: &'static [(&'static str, f64)],
    /// Whether a number without a suffix will do; it is in the base unit then.
    plain: bool,
    /// Smallest and largest allowed value in the base unit.
    least: Bound,
    most: f64,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    Above(f64),
}

impl Unit {
    pub(crate) fn accepts(&self, value: f64) -> bool {
        let enough = match self.least {
            Bound::AtLeast(least) => value >= least,
            Bound::Above(least) => value > least,
        };
        value.is_finite() && enough && value <= self.most
    }

    /// Whether a plain number is in the base unit; else it is refused, because people mean different ones.
    pub(crate) fn takes_plain_numbers(&self) -> bool {
        self.plain
    }

    pub(crate) fn expected(&self) -> &'static str {
        self.expected
    }
}

/// An amount of memory; base unit: bytes.
pub(crate) const MEMORY: Unit = Unit {
    expected: "an amount of memory above 0, such as \"140 GB\" (a plain number is in bytes)",
    suffixes: &[
        ("TiB", 1_099_511_627_776.0),
        ("GiB", 1_073_741_824.0),
        ("MiB", 1_048_576.0),
        ("KiB", 1024.0),
        ("TB", 1e12),
        ("GB", 1e9),
        ("MB", 1e6),
        ("KB", 1e3),
        ("kB", 1e3),
        ("bytes", 1.0),
        ("B", 1.0),
    ],
    plain: true,
    least: Bound::Above(0.0),
    most: 1e15,
};

/// A span of time; base unit: seconds.
pub(crate) const TIME: Unit = Unit {
    expected: "a time above 0, such as \"250 ms\" or \"1.5 s\" (with its unit)",
    suffixes: &[
        ("ms", 1e-3),
        ("us", 1e-6),
        ("µs", 1e-6),
        ("min", 60.0),
        ("h", 3600.0),
        ("s", 1.0),
    ],
    plain: false,
    least: Bound::Above(0.0),
    most: 1e6,
};

/// A rate of requests; base unit: requests per second.
pub(crate) const RATE: Unit = Unit {
    expected: "a rate above 0, such as \"30 /s\" or \"600 /min\" (a plain number is per second)",
    suffixes: &[
        ("requests/s", 1.0),
        ("/s", 1.0),
        ("/min", 1.0 / 60.0),
        ("/h", 1.0 / 3600.0),
    ],
    plain: true,
    least: Bound::Above(0.0),
    most: 1e6,
};

/// A part of a whole, 0 and 1 included; base unit: 1.
pub(crate) const FRACTION: Unit = Unit {
    expected: "a part of the whole from 0 to 1, such as \"10 %\" or 0.1",
    suffixes: &[("%", 0.01)],
    plain: true,
    least: Bound::AtLeast(0.0),
    most: 1.0,
};

/// A share of a GPU: a part above 0.
pub(crate) const SHARE: Unit = Unit {
    expected: "a share above 0 and at most 1, such as \"50 %\" or 0.5",
    suffixes: &[("%", 0.01)],
    plain: true,
    least: Bound::Above(0.0),
    most: 1.0,
};

/// How much more than planned is to be reckoned with; base unit: 1.
pub(crate) const MARGIN: Unit = Unit {
    expected: "a margin from 0 to 10, such as \"10 %\" or 0.1",
    suffixes: &[("%", 0.01)],
    plain: true,
    least: Bound::AtLeast(0.0),
    most: 10.0,
};

/// A factor or coefficient without a unit.
pub(crate) const FACTOR: Unit = Unit {
    expected: "a number above 0, such as 1.5",
    suffixes: &[],
    plain: true,
    least: Bound::Above(0.0),
    most: 1e6,
};

/// A difference in score that does not matter.
pub(crate) const TOLERANCE: Unit = Unit {
    expected: "a difference in score from 1e-9 to 1, such as 1e-4",
    suffixes: &[],
    plain: true,
    least: Bound::AtLeast(1e-9),
    most: 1.0,
};

/// Money for a million tokens, in the user's currency.
pub(crate) const MONEY: Unit = Unit {
    expected: "a price for a million tokens of at least 0, such as 0.60",
    suffixes: &[],
    plain: true,
    least: Bound::AtLeast(0.0),
    most: 1e9,
};

/// A sampling temperature.
pub(crate) const TEMPERATURE: Unit = Unit {
    expected: "a temperature from 0 to 2, such as 0.7",
    suffixes: &[],
    plain: true,
    least: Bound::AtLeast(0.0),
    most: 2.0,
};

/// Money per hour, in the user's currency.
pub(crate) const PRICE: Unit = Unit {
    expected: "a price per hour of at least 0, such as 2.50 or \"2.50 /h\"",
    suffixes: &[("/h", 1.0)],
    plain: true,
    least: Bound::AtLeast(0.0),
    most: 1e6,
};

/// Arithmetic throughput; base unit: FLOP/s.
pub(crate) const COMPUTE: Unit = Unit {
    expected: "a throughput above 0, such as \"312 TFLOP/s\" (a plain number is in FLOP/s)",
    suffixes: &[("PFLOP/s", 1e15), ("TFLOP/s", 1e12), ("GFLOP/s", 1e9), ("FLOP/s", 1.0)],
    plain: true,
    least: Bound::Above(0.0),
    most: 1e18,
};

/// Memory bandwidth; base unit: bytes per second.
pub(crate) const BANDWIDTH: Unit = Unit {
    expected: "a bandwidth above 0, such as \"2039 GB/s\" (a plain number is in bytes/s)",
    suffixes: &[("TB/s", 1e12), ("GB/s", 1e9), ("B/s", 1.0)],
    plain: true,
    least: Bound::Above(0.0),
    most: 1e15,
};

/// A count of model parameters.
pub(crate) const PARAMETERS: Unit = Unit {
    expected: "a number of parameters, such as 8.03e9",
    suffixes: &[],
    plain: true,
    least: Bound::AtLeast(1e6),
    most: 1e14,
};

/// A count of tokens, written with its unit.
pub(crate) const TOKENS: Unit = Unit {
    expected: "a number of tokens, such as \"32768 tokens\"",
    suffixes: &[("tokens", 1.0)],
    plain: true,
    least: Bound::AtLeast(1.0),
    most: 1e9,
};

/// The number in the base unit; `None` when the text is no number in one of the unit's suffixes.
pub(crate) fn parse(text: &str, unit: &Unit) -> Option<f64> {
    let text = text.trim();
    let (number, factor) = unit
        .suffixes
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .or_else(|| unit.plain.then_some((text, 1.0)))?;
    let number: f64 = number.trim_end().parse().ok()?;
    Some(number * factor)
}

/// Rounds down into the range of a count.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range of u32 first"
)]
pub(crate) fn whole(value: f64) -> u32 {
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(text: &str, unit: &Unit, expected: f64) {
        let found = parse(text, unit).unwrap();
        assert!((found / expected - 1.0).abs() < 1e-12, "{text}: {found}");
    }

    #[test]
    fn people_write_units_in_the_value() {
        reads("140 GB", &MEMORY, 140e9);
        reads("80GiB", &MEMORY, 85_899_345_920.0);
        reads("250 ms", &TIME, 0.25);
        reads("2 min", &TIME, 120.0);
        reads("1.5 s", &TIME, 1.5);
        reads("30 /s", &RATE, 30.0);
        reads("90 /min", &RATE, 1.5);
        reads("10 %", &FRACTION, 0.1);
        reads("312 TFLOP/s", &COMPUTE, 312e12);
        reads("2039 GB/s", &BANDWIDTH, 2.039e12);
    }

    #[test]
    fn a_number_in_an_unknown_unit_is_no_quantity() {
        assert_eq!(parse("140 GBs", &MEMORY), None);
        assert_eq!(parse("fast", &TIME), None);
        assert_eq!(parse("", &TIME), None);
        assert_eq!(parse("200", &TIME), None, "200 what?");
    }

    #[test]
    fn a_quantity_outside_its_range_is_not_accepted() {
        assert!(!TIME.accepts(-1.0));
        assert!(!TIME.accepts(f64::NAN));
        assert!(!SHARE.accepts(0.0));
        assert!(FRACTION.accepts(0.0));
        assert!(!FRACTION.accepts(90.0));
    }
}
