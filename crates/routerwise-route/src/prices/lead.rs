//! The best two models of some prompts side by side: most prompts have one best by far, and need nothing else.

use super::sample::{Block, LANES};

/// No model: turning away is best.
const NOBODY: u32 = u32::MAX;

/// The best two of each row of a block.
pub(super) struct Lead {
    first: [f32; LANES],
    second: [f32; LANES],
    /// Which of the models the first is.
    model: [u32; LANES],
}

impl Lead {
    /// Scores less prices compared, with one more choice that is worth `refusal`. Branches would cost more than comparisons here.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what that loses is reckoned with where it is used"
    )]
    pub(super) fn of(block: &Block<'_>, on: &[usize], prices: &[f64], refusal: f64) -> Self {
        let mut lead = Self {
            first: [refusal as f32; LANES],
            second: [f32::NEG_INFINITY; LANES],
            model: [NOBODY; LANES],
        };
        for ((nth, model), price) in (0u32..).zip(on).zip(prices) {
            let (column, price) = (block.of(*model), *price as f32);
            for (lane, score) in column.iter().enumerate() {
                let worth = score - price;
                let (first, second) = (lead.first[lane], lead.second[lane]);
                let wins = worth > first;
                let loser = if wins { first } else { worth };
                lead.second[lane] = if loser > second { loser } else { second };
                lead.model[lane] = if wins { nth } else { lead.model[lane] };
                lead.first[lane] = if wins { worth } else { first };
            }
        }
        lead
    }

    /// Which model is better than everything else by more than this, if one is.
    pub(super) fn alone(&self, lane: usize, by: f64) -> Option<usize> {
        let ahead = f64::from(self.first[lane]) - f64::from(self.second[lane]) > by;
        (ahead && self.model[lane] != NOBODY).then_some(self.model[lane] as usize)
    }
}
