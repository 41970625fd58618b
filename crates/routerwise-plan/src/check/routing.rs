//! What the prices and tie splits do with every prompt.

use std::collections::BTreeMap;

use routerwise_types::plan::{Plan, RoutePolicy};
use routerwise_types::quality::Scores;

use super::{TOLERANCE, Violation, mismatch, number};

/// What every model gets.
pub(super) struct Realised {
    pub(super) fractions: Vec<f64>,
    /// Sum of weight times score.
    quality: Vec<f64>,
}

/// Sends every prompt to the running models whose score minus price is within the tie tolerance of the best, in the stated
/// split of that set, or evenly where the plan states none.
pub(super) fn realise(scores: &Scores, plan: &Plan, policy: &RoutePolicy) -> Realised {
    let splits: BTreeMap<&[usize], &[f64]> = policy
        .routing
        .ties
        .iter()
        .map(|tie| (tie.models.as_slice(), tie.parts.as_slice()))
        .collect();
    let running: Vec<usize> = (0..plan.models.len())
        .filter(|model| plan.models[*model].configuration.is_some())
        .collect();
    let mut realised = Realised {
        fractions: vec![0.0; plan.models.len()],
        quality: vec![0.0; plan.models.len()],
    };
    for (prompt, weight) in scores.normalised_weights().into_iter().enumerate() {
        let score = |model: usize| f64::from(scores.columns[model][prompt]);
        let worth = |model: usize| score(model) - policy.models[model].price.value();
        let best = running
            .iter()
            .map(|model| worth(*model))
            .fold(f64::NEG_INFINITY, f64::max);
        let close = |model: &usize| worth(*model) >= best - policy.routing.tie_tolerance;
        let tied: Vec<usize> = running.iter().copied().filter(close).collect();
        let even = vec![1.0 / f64::from(u32::try_from(tied.len()).unwrap_or(u32::MAX)); tied.len()];
        let parts = splits.get(tied.as_slice()).copied().unwrap_or(&even);
        for (model, part) in tied.iter().zip(parts) {
            realised.fractions[*model] += weight * part;
            realised.quality[*model] += weight * part * score(*model);
        }
    }
    realised
}

/// Tie splits that are none.
pub(super) fn malformed(place: &str, plan: &Plan, policy: &RoutePolicy) -> Vec<Violation> {
    let mut found = Vec::new();
    let routing = &policy.routing;
    if !(0.0..=1.0).contains(&routing.tie_tolerance) {
        let at = format!("{place}.routing.tie_tolerance");
        found.push(mismatch(at, routing.tie_tolerance.to_string(), "between 0 and 1"));
    }
    for (index, tie) in routing.ties.iter().enumerate() {
        let at = format!("{place}.routing.ties[{index}]");
        let rising = tie.models.windows(2).all(|pair| pair[0] < pair[1]);
        if tie.models.len() < 2 || !rising || tie.models.iter().any(|model| *model >= plan.models.len()) {
            found.push(mismatch(
                &at,
                format!("models {:?}", tie.models),
                "two or more model indices, rising",
            ));
        }
        let sum: f64 = tie.parts.iter().sum();
        let whole = tie.parts.len() == tie.models.len() && (sum - 1.0).abs() <= TOLERANCE;
        if !whole || tie.parts.iter().any(|part| !(0.0..=1.0 + TOLERANCE).contains(part)) {
            let expected = "one part of at least 0 for each model, summing to 1";
            found.push(mismatch(&at, format!("parts {:?}", tie.parts), expected));
        }
        if routing.ties[..index].iter().any(|other| other.models == tie.models) {
            found.push(mismatch(
                &at,
                format!("a second split of {:?}", tie.models),
                "one split for each set",
            ));
        }
    }
    found
}

/// Fractions and qualities that the plan states wrongly.
pub(super) fn violations(place: &str, plan: &Plan, policy: &RoutePolicy, realised: &Realised) -> Vec<Violation> {
    let mut found = Vec::new();
    for (ix, (model, routed)) in plan.models.iter().zip(&policy.models).enumerate() {
        let (w, name) = (realised.fractions[ix], &model.name);
        found.extend(number(
            format!("{place}, `{name}`, fraction"),
            routed.fraction.value(),
            w,
        ));
        match routed.quality {
            Some(quality) if w > 0.0 => {
                found.extend(number(
                    format!("{place}, `{name}`, quality"),
                    quality.value(),
                    realised.quality[ix] / w,
                ));
            }
            Some(quality) => found.push(mismatch(
                format!("{place}, `{name}`, quality"),
                quality.to_string(),
                "none",
            )),
            None if w > TOLERANCE => {
                found.push(mismatch(format!("{place}, `{name}`, quality"), "none", "a mean score"))
            }
            None => {}
        }
    }
    let quality: f64 = realised.quality.iter().sum();
    let stated = policy.prediction.quality.value();
    found.extend(number(format!("{place}.prediction.quality"), stated, quality));
    found
}
