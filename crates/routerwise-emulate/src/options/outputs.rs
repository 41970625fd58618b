//! How long answers are that neither `max_tokens` nor a stop word cuts short.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand_distr::{Distribution, LogNormal};
use routerwise_simulate::arrivals::stream;

/// How long answers are that neither `max_tokens` nor a stop word cuts short.
///
/// Written `256` (always) or `mean:200` (drawn).
#[derive(Clone, Debug, PartialEq)]
pub enum OutputTokens {
    /// Always as long.
    Fixed(u32),
    /// Log-normal with this mean and a coefficient of variation of 1, as answers of chat models are spread.
    Mean(f64),
    /// Each of these equally often.
    Mix(Arc<[u32]>),
}

impl Default for OutputTokens {
    fn default() -> Self {
        Self::Mean(200.0)
    }
}

impl OutputTokens {
    /// The length that belongs to a hash: the same request gets the same answer.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what an answer may have first"
    )]
    pub(crate) fn draw(&self, hash: u64) -> u32 {
        match self {
            Self::Fixed(tokens) => (*tokens).max(1),
            Self::Mean(mean) => {
                let spread = std::f64::consts::LN_2;
                let drawn = LogNormal::new(mean.ln() - spread / 2.0, spread.sqrt()).expect("a finite mean above 0");
                drawn.sample(&mut stream(hash, "output")).round().clamp(1.0, 1e6) as u32
            }
            Self::Mix(lengths) => {
                let n = u64::try_from(lengths.len().max(1)).expect("a count");
                let ix = usize::try_from(hash % n).expect("below a count of lengths");
                lengths.get(ix).copied().unwrap_or(1).max(1)
            }
        }
    }
}

/// Not a way to say how long answers are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a length of answers: write a number of tokens such as `256`, or `mean:200`")]
pub struct WrongOutputTokens(String);

impl FromStr for OutputTokens {
    type Err = WrongOutputTokens;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || WrongOutputTokens(text.to_owned());
        match text.strip_prefix("mean:") {
            Some(mean) => {
                let mean: f64 = mean.parse().map_err(|_| wrong())?;
                let usable = (1.0..=1e6).contains(&mean);
                usable.then_some(Self::Mean(mean)).ok_or_else(wrong)
            }
            None => {
                let tokens: u32 = text.parse().map_err(|_| wrong())?;
                let usable = (1..=1_000_000).contains(&tokens);
                usable.then_some(Self::Fixed(tokens)).ok_or_else(wrong)
            }
        }
    }
}

impl fmt::Display for OutputTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(tokens) => write!(f, "{tokens}"),
            Self::Mean(mean) => write!(f, "mean:{mean}"),
            Self::Mix(lengths) => write!(f, "one of {} lengths", lengths.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_lengths_have_their_mean_and_belong_to_their_hash() {
        let lengths = OutputTokens::Mean(200.0);
        let drawn: Vec<u32> = (0..20_000).map(|hash| lengths.draw(hash)).collect();
        let mean = drawn.iter().map(|tokens| f64::from(*tokens)).sum::<f64>() / 20_000.0;
        assert!((mean - 200.0).abs() < 8.0, "{mean}");
        assert!(drawn.iter().all(|tokens| *tokens > 0));
        assert_eq!(lengths.draw(7), drawn[7]);
    }

    #[test]
    fn lengths_are_written_as_a_number_or_a_mean() {
        assert_eq!("256".parse(), Ok(OutputTokens::Fixed(256)));
        assert_eq!("mean:80.5".parse(), Ok(OutputTokens::Mean(80.5)));
        for wrong in ["", "0", "-1", "mean:", "mean:0", "mean:inf", "many"] {
            assert!(wrong.parse::<OutputTokens>().is_err(), "{wrong}");
        }
        let mix = OutputTokens::Mix(Arc::from([3, 5]));
        assert_eq!([mix.draw(0), mix.draw(1), mix.draw(2)], [3, 5, 3]);
    }
}
