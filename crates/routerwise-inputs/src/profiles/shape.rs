//! Whether a profile's numbers can be a latency curve.

use routerwise_types::profile::{LatencyStat, Profile};
use routerwise_types::workload::Metric;

use super::Findings;

const METRICS: [Metric; 3] = [Metric::Ttft, Metric::Tpot, Metric::E2e];

const PROFILE_AGAIN: &str = "profile this configuration again";

/// Notes what cannot be (errors) and what is doubtful (warnings).
pub(super) fn check(profile: &Profile, findings: &mut Findings<'_>) {
    let key = &profile.key;
    let mut error = |what: &str| findings.error(key, what.to_owned(), PROFILE_AGAIN.to_owned());
    let Some(last) = profile.points.last() else {
        error("no load points");
        return;
    };
    if profile.points.windows(2).any(|pair| pair[1].offered <= pair[0].offered) {
        error("load points do not rise by offered rate");
    }
    if profile.points.iter().any(|point| point.offered.value() <= 0.0) {
        error("a load point without load");
    }
    if profile.points.iter().any(|point| point.n_requests == 0) {
        error("a load point without requests");
    }
    if profile.capacity < last.offered {
        error("the capacity lies below the last load point");
    }
    if profile.points.iter().any(|point| {
        METRICS
            .iter()
            .any(|metric| !point.stat(*metric).sketch.is_well_formed())
    }) {
        error("a malformed sketch");
    }
    for metric in METRICS {
        let stats: Vec<&LatencyStat> = profile.points.iter().map(|point| point.stat(metric)).collect();
        if stats.windows(2).any(|pair| clearly_falls(pair[0], pair[1])) {
            findings.warning(
                key,
                format!("the mean {metric} goes down as load goes up"),
                "the curve is made to rise by isotonic regression; if it falls by much, profile again with more requests".into(),
            );
        }
    }
}

/// Whether the mean falls by more than the confidence intervals of both explain.
fn clearly_falls(before: &LatencyStat, after: &LatencyStat) -> bool {
    after.mean.value() + after.ci95.value() < before.mean.value() - before.ci95.value()
}
