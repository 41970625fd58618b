//! Stop words. An answer's words are known before it is made, and so is where it stops.

use super::{Answer, Reason};
use crate::tokens;

/// Cuts an answer short at the first stop word that it comes to, but not before it has `min_tokens`.
pub(super) fn cut_short(answer: &mut Answer, stops: &[&str], min_tokens: u32, with_stop_word: bool) {
    if stops.is_empty() {
        return;
    }
    let mut text = String::new();
    let ends: Vec<usize> = (0..answer.lengths.output)
        .map(|ix| {
            tokens::append(&mut text, answer.hash, ix, ix + 1);
            text.len()
        })
        .collect();
    // Number of the token that completes what ends at a byte.
    let token_at = |end: usize| ends.partition_point(|token_ends| *token_ends < end) + 1;
    let found = stops.iter().filter_map(|stop| {
        let mut matches = text.match_indices(stop).map(|(at, _)| (at + stop.len(), at, *stop));
        matches.find(|(end, ..)| token_at(*end) > min_tokens as usize)
    });
    if let Some((end, at, stop)) = found.min() {
        answer.lengths.output = u32::try_from(token_at(end)).expect("at most as many as there were");
        answer.reason = Reason::Stop;
        answer.cut = Some(if with_stop_word { end } else { at });
        answer.stopped_by = Some(stop.to_owned());
    }
}
