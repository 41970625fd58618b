//! Which replica of a model: the one with less outstanding work of two chosen by hash (power of two choices, Mitzenmacher 2001).

use crate::policy::mix;

/// The replica for a request, given the outstanding requests of each and a number that is different for every request.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a remainder below the number of replicas"
)]
pub fn less_loaded_of_two(outstanding: &[usize], request_number: u64) -> Option<usize> {
    let n = outstanding.len() as u64;
    if n < 2 {
        return (n == 1).then_some(0);
    }
    let draw = mix(request_number);
    let first = draw % n;
    // A second one that differs from the first.
    let second = (first + 1 + (draw >> 32) % (n - 1)) % n;
    let (first, second) = (first as usize, second as usize);
    Some(if outstanding[second] < outstanding[first] {
        second
    } else {
        first
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busier_of_two_is_avoided() {
        assert!((0..100).all(|i| less_loaded_of_two(&[5, 0], i) == Some(1)));
        assert_eq!(less_loaded_of_two(&[], 1), None);
        assert_eq!(less_loaded_of_two(&[9], 1), Some(0));
    }

    #[test]
    fn equal_replicas_share_evenly() {
        let mut counts = [0; 3];
        (0..9_000).for_each(|i| counts[less_loaded_of_two(&[1, 1, 1], i).unwrap()] += 1);
        assert!(counts.iter().all(|count| (2_700..3_300).contains(count)), "{counts:?}");
    }
}
