//! `[[slo]]`: latency objectives.

use routerwise_types::Seconds;
use routerwise_types::workload::{Metric, Scope, Slo, Statistic};

use crate::defaults;
use crate::quantity::TIME;
use crate::text::{Table, Value};

/// All objectives; at least one.
pub(super) fn read(root: &mut Table<'_>) -> Option<Vec<Slo>> {
    let entries = root
        .require("slo", "[{ metric = \"ttft\", target = \"400 ms\" }]")
        .and_then(Value::list)?;
    let mut slos: Vec<Option<Slo>> = Vec::new();
    for value in entries {
        let place = value.place();
        let slo = value.table().and_then(one);
        let same = |other: &Slo, slo: &Slo| {
            other.metric == slo.metric && other.scope == slo.scope && other.statistic == slo.statistic
        };
        if slo.is_some_and(|slo| slos.iter().flatten().any(|other| same(other, &slo))) {
            place.refuse::<()>("this objective is there twice", "keep the one with the lower target");
        }
        slos.push(slo);
    }
    slos.into_iter().collect()
}

fn one(mut table: Table<'_>) -> Option<Slo> {
    let metric = table
        .require("metric", "\"ttft\"")
        .and_then(|value| value.choice(&[("ttft", Metric::Ttft), ("tpot", Metric::Tpot), ("e2e", Metric::E2e)]));
    let statistic = match table.take("statistic") {
        Some(value) => statistic(&value),
        None => {
            table.put_in_force("statistic", defaults::STATISTIC.value.into(), defaults::STATISTIC.why);
            Some(Statistic::Mean)
        }
    };
    let scope = match table.take("scope") {
        Some(value) => value.choice(&[("workload", Scope::Workload), ("each-model", Scope::EachModel)]),
        None => {
            table.put_in_force("scope", defaults::SCOPE.value.into(), defaults::SCOPE.why);
            Some(Scope::Workload)
        }
    };
    let target = table
        .require("target", "\"400 ms\"")
        .and_then(|value| value.quantity(&TIME));
    table.finish();
    Some(Slo {
        metric: metric?,
        statistic: statistic?,
        scope: scope?,
        target: Seconds::new(target?).ok()?,
    })
}

/// `mean`, or a quantile as `p95`.
fn statistic(value: &Value<'_>) -> Option<Statistic> {
    let text = value.string()?;
    if text == "mean" {
        return Some(Statistic::Mean);
    }
    let percent = text.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
    match percent {
        Some(percent) if 0.0 < percent && percent < 100.0 => Some(Statistic::Quantile { q: percent / 100.0 }),
        _ => value.refuse(
            format!("`{text}` is no statistic"),
            "write \"mean\", or a percentile between 0 and 100 such as \"p95\"",
        ),
    }
}
