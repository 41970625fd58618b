//! Which replica of a model: the one with less outstanding work of two chosen by hash (power of two choices, Mitzenmacher 2001), or
//! the one that its prompt's beginning hashes to, with bounded loads (Mirrokni, Thorup, Zadimoghaddam 2018).

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

/// The replica that a prefix hashes to, or the next one in its order that has at most `bound` times the mean work.
///
/// The order is that of `hash(prefix, replica)` (rendezvous), so a replica that comes or goes moves only its own prefixes.
pub(crate) fn by_prefix(
    prefix: u64,
    bound: f64,
    usable: &(impl Iterator<Item = usize> + Clone),
    work: impl Fn(usize) -> f64,
) -> Option<usize> {
    let (n, sum) = usable
        .clone()
        .fold((0.0, 0.0), |(n, sum), ix| (n + 1.0, sum + work(ix)));
    let most = bound.max(1.0) * sum / f64::max(n, 1.0);
    let rank = |ix: usize| mix(prefix ^ mix(ix as u64 + 1));
    let mut best: Option<usize> = None;
    for ix in usable.clone().filter(|ix| work(*ix) <= most * (1.0 + 1e-9)) {
        if best.is_none_or(|best| rank(ix) > rank(best)) {
            best = Some(ix);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_stays_with_its_replica_until_that_has_too_much() {
        let at = |work: [f64; 4]| by_prefix(7, 1.25, &(0..4), |ix| work[ix]).unwrap();
        let home = at([1.0; 4]);
        let mut busy = [10.0; 4];
        busy[home] = 12.0;
        assert_eq!(at(busy), home);
        busy[home] = 20.0;
        let next = at(busy);
        assert_ne!(next, home);
        // Another replica that goes takes nothing along.
        let gone = (0..4).find(|ix| *ix != home).unwrap();
        assert_eq!(
            by_prefix(7, 1.25, &(0..4).filter(|ix| *ix != gone), |_| 1.0),
            Some(home)
        );
    }

    #[test]
    fn prefixes_are_spread_evenly() {
        let mut counts = [0; 4];
        (0..8_000).for_each(|prefix| counts[by_prefix(mix(prefix), 1.25, &(0..4), |_| 1.0).unwrap()] += 1);
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
    }

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
