//! What goes wrong on purpose.

use routerwise_types::hash::{mix, prompt_hash, uniform};
use serde::{Deserialize, Serialize};

/// What goes wrong on purpose. Rates are the part of requests that are hit, each fault by a draw of its own; nothing by default.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Requests answered 429.
    pub error_429: f64,
    /// Requests answered 500.
    pub error_500: f64,
    /// Requests answered 503.
    pub error_503: f64,
    /// `Retry-After` of 429 and 503, in whole seconds.
    pub retry_after: u32,
    /// Requests held back before the engine sees them…
    pub spike_rate: f64,
    /// …for so long.
    pub spike_seconds: f64,
    /// Answers that stall after `after_tokens` tokens…
    pub stall_rate: f64,
    /// …for so long; for good when 0.
    pub stall_seconds: f64,
    /// Answers whose connection breaks off after `after_tokens` tokens.
    pub truncate_rate: f64,
    /// Answers in which, after `after_tokens` tokens, there is something that is not JSON.
    pub malformed_rate: f64,
    /// Tokens before a stall, a break or something malformed.
    pub after_tokens: u32,
    /// Factor by which the engine is slower than it should be, as one on a throttled GPU is.
    pub slowdown: f64,
    /// Requests that may still be accepted until the engine crashes; never when absent.
    pub crash_after: Option<u64>,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            error_429: 0.0,
            error_500: 0.0,
            error_503: 0.0,
            retry_after: 1,
            spike_rate: 0.0,
            spike_seconds: 1.0,
            stall_rate: 0.0,
            stall_seconds: 0.0,
            truncate_rate: 0.0,
            malformed_rate: 0.0,
            after_tokens: 3,
            slowdown: 1.0,
            crash_after: None,
        }
    }
}

/// Not a usable description of faults.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongFaults {
    /// A rate outside `[0, 1]`.
    #[error("`{0}` must be a part of all requests, from 0 to 1")]
    Rate(&'static str),
    /// A time or factor that makes no sense.
    #[error("`{name}` must be from {least} to {most}")]
    Number {
        /// Its name.
        name: &'static str,
        /// From.
        least: &'static str,
        /// To.
        most: &'static str,
    },
}

/// What happens to one request, decided when it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Fate {
    /// An error instead of an answer.
    pub(crate) status: Option<u16>,
    /// Held back before the engine sees it, seconds.
    pub(crate) spike: Option<f64>,
    /// What happens in the middle of the answer, and after how many tokens.
    pub(crate) midway: Option<(u32, Midway)>,
}

/// What happens in the middle of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Midway {
    /// Nothing comes for so many seconds, or for good.
    Stall(Option<f64>),
    /// The connection breaks off.
    Truncate,
    /// Something that is not JSON.
    Malformed,
}

impl Faults {
    /// Checks what was written.
    ///
    /// # Errors
    /// [`WrongFaults`] names the first field that cannot be used.
    pub fn check(&self) -> Result<(), WrongFaults> {
        let rates = [
            ("error_429", self.error_429),
            ("error_500", self.error_500),
            ("error_503", self.error_503),
            ("spike_rate", self.spike_rate),
            ("stall_rate", self.stall_rate),
            ("truncate_rate", self.truncate_rate),
            ("malformed_rate", self.malformed_rate),
        ];
        if let Some((name, _)) = rates.into_iter().find(|(_, rate)| !(0.0..=1.0).contains(rate)) {
            return Err(WrongFaults::Rate(name));
        }
        let number = |name, value: f64, least: (f64, &'static str), most: (f64, &'static str)| {
            let (least_is, most_is) = (least.1, most.1);
            let wrong = WrongFaults::Number {
                name,
                least: least_is,
                most: most_is,
            };
            (least.0..=most.0).contains(&value).then_some(()).ok_or(wrong)
        };
        let day = (86_400.0, "86400");
        number("spike_seconds", self.spike_seconds, (0.0, "0"), day)?;
        number("stall_seconds", self.stall_seconds, (0.0, "0"), day)?;
        number("slowdown", self.slowdown, (0.01, "0.01"), (1000.0, "1000"))
    }

    /// What happens to the request of this number.
    pub(crate) fn fate(&self, seed: u64, request: u64) -> Fate {
        let hit = |name: &str, rate: f64| rate > 0.0 && uniform(mix(mix(seed ^ prompt_hash(name)) ^ request)) < rate;
        let errors = [
            ("429", self.error_429, 429),
            ("500", self.error_500, 500),
            ("503", self.error_503, 503),
        ];
        let stall = (self.stall_seconds > 0.0).then_some(self.stall_seconds);
        let midway = [
            ("stall", self.stall_rate, Midway::Stall(stall)),
            ("truncate", self.truncate_rate, Midway::Truncate),
            ("malformed", self.malformed_rate, Midway::Malformed),
        ];
        Fate {
            status: errors
                .into_iter()
                .find_map(|(name, rate, status)| hit(name, rate).then_some(status)),
            spike: hit("spike", self.spike_rate).then_some(self.spike_seconds),
            midway: midway
                .into_iter()
                .find_map(|(name, rate, what)| hit(name, rate).then_some((self.after_tokens, what))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_part_of_requests_that_are_hit_and_each_fault_draws_for_itself() {
        let faults = Faults {
            error_500: 0.2,
            stall_rate: 0.5,
            ..Faults::default()
        };
        let fates: Vec<Fate> = (0..10_000).map(|request| faults.fate(7, request)).collect();
        let errors = fates.iter().filter(|fate| fate.status == Some(500)).count();
        let both = fates
            .iter()
            .filter(|fate| fate.status.is_some() && fate.midway.is_some());
        assert!((1_800..2_200).contains(&errors), "{errors}");
        assert!((900..1_100).contains(&both.count()));
        assert_eq!(fates[3], faults.fate(7, 3));
        assert!((0..100).all(|request| Faults::default().fate(7, request) == Fate::default()));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let wrong = |faults: Faults| faults.check().unwrap_err().to_string();
        let mut faults = Faults::default();
        assert_eq!(faults.check(), Ok(()));
        faults.truncate_rate = 1.5;
        assert!(wrong(faults).contains("truncate_rate"));
        faults.truncate_rate = f64::NAN;
        assert!(wrong(faults).contains("truncate_rate"));
        faults = Faults {
            slowdown: 0.0,
            ..Faults::default()
        };
        assert!(wrong(faults).contains("slowdown"));
    }
}
