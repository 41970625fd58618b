//! What a queue-aware router does: score minus a constant times the work that waits.

use crate::world::Replica;

/// Score minus penalty, and then the replica with the least in flight, among those that are there.
pub(super) struct Penalty<'a> {
    pub(super) per_second: f64,
    /// Requests/s that one replica of each model can take.
    pub(super) capacities: &'a [f64],
    /// Models that each route may not use.
    pub(super) barred: Vec<Vec<bool>>,
}

impl Penalty<'_> {
    /// Model and replica of a request; nothing when nobody is there.
    pub(super) fn choose(
        &self,
        engines: &[Vec<Option<Replica>>],
        route: usize,
        scores: &[f32],
        number: u64,
    ) -> Option<(usize, usize)> {
        let outstanding = |model: usize| -> Vec<usize> {
            let alive = engines[model].iter().flatten();
            alive.map(|replica| replica.engine.outstanding()).collect()
        };
        #[expect(clippy::cast_precision_loss, reason = "requests in flight")]
        let worth = |model: usize| {
            let outstanding = outstanding(model);
            let mean = outstanding.iter().sum::<usize>() as f64 / outstanding.len() as f64;
            f64::from(scores[model]) - self.per_second * mean / self.capacities[model]
        };
        let usable = (0..engines.len()).filter(|model| !self.barred[route][*model]);
        let alive = usable.filter(|model| engines[*model].iter().any(Option::is_some));
        let model = alive.reduce(|best, other| if worth(other) > worth(best) { other } else { best })?;
        let nth = routerwise_route::balance::less_loaded_of_two(&outstanding(model), number)?;
        let replica = engines[model]
            .iter()
            .enumerate()
            .filter(|(_, replica)| replica.is_some())
            .nth(nth)?;
        Some((model, replica.0))
    }
}
