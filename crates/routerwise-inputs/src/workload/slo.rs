//! `[[slo]]`: latency objectives.

use routerwise_types::Seconds;
use routerwise_types::workload::{Metric, Scope, Slo, Statistic};

use crate::defaults;
use crate::quantity::TIME;
use crate::text::{Table, Value};

/// All objectives; at least one, unless routes have their own.
pub(super) fn read(root: &mut Table<'_>) -> Option<Vec<Slo>> {
    if root.has("route") && !root.has("slo") {
        return Some(Vec::new());
    }
    let entries = root
        .require("slo", "[{ metric = \"ttft\", target = \"400 ms\" }]")
        .and_then(Value::list)?;
    list(entries, &[])
}

/// The objectives of a route alone, beside those for all.
pub(super) fn read_own(table: &mut Table<'_>, route: Option<&str>, for_all: &[Slo]) -> Option<Vec<Slo>> {
    let Some(value) = table.take("slo") else {
        return Some(Vec::new());
    };
    let mut slos = list(value.list()?, for_all)?;
    for slo in &mut slos {
        slo.route = Some(route?.to_owned());
    }
    Some(slos)
}

fn list(entries: Vec<Value<'_>>, for_all: &[Slo]) -> Option<Vec<Slo>> {
    let mut slos: Vec<Option<Slo>> = Vec::new();
    for value in entries {
        let place = value.place();
        let slo = value.table().and_then(one);
        let is_same = |other: &Slo| {
            let same =
                |slo: &Slo| other.metric == slo.metric && other.scope == slo.scope && other.statistic == slo.statistic;
            slo.as_ref().is_some_and(same)
        };
        if slos.iter().flatten().any(is_same) {
            place.refuse::<()>("this objective is there twice", "keep the one with the lower target");
        }
        if for_all.iter().any(is_same) {
            place.refuse::<()>(
                "this objective is there for all routes too, and both would hold",
                "give each route its own, and leave out the one for all",
            );
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
        route: None,
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
