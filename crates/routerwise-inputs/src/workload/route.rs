//! `[[route]]`: classes of traffic, each with prompts and objectives of its own.

use routerwise_types::workload::{MOST_POLICIES, MOST_ROUTES, PromptFilter, Route, Slo};

use super::slo;
use crate::defaults;
use crate::quantity::{FACTOR, RATE, SHARE};
use crate::text::{Table, Value};

/// Parts that sum to 1 within this do; the rest is rounding of what people write.
const ROUNDING: f64 = 2e-3;

/// All routes, their objectives, and the rate that they make up together where each says its own.
#[derive(Default)]
pub(super) struct Routes {
    pub(super) list: Vec<Route>,
    pub(super) slos: Vec<Slo>,
    pub(super) rate: Option<f64>,
}

/// How much a route gets.
#[derive(Clone, Copy)]
enum Amount {
    Part(f64),
    Rate(f64),
}

struct Entry {
    route: Route,
    amount: Amount,
    weight: Option<f64>,
    slos: Vec<Slo>,
}

/// All routes; none where none are listed. `rate` says whether the file has one for all traffic.
pub(super) fn read(root: &mut Table<'_>, n_levels: usize, for_all: &[Slo], has_rate: bool) -> Option<Routes> {
    let Some(value) = root.take("route") else {
        return Some(Routes::default());
    };
    let place = value.place();
    let entries = value.list()?;
    let n = entries.len();
    if n > MOST_ROUTES {
        return place.refuse(
            format!("there are {n} routes"),
            format!("list {MOST_ROUTES} at most: prompts of like objectives can share one"),
        );
    }
    if n * n_levels > MOST_POLICIES {
        return place.refuse(
            format!("{n} routes at {n_levels} load levels make {} policies", n * n_levels),
            format!("keep routes times levels to {MOST_POLICIES}"),
        );
    }
    let mut found: Vec<Option<Entry>> = Vec::new();
    for value in entries {
        let place = value.place();
        let entry = value.table().and_then(|table| one(table, for_all));
        if let Some(entry) = &entry {
            let name = &entry.route.name;
            if found.iter().flatten().any(|other| other.route.name == *name) {
                place.refuse::<()>(
                    format!("the route `{name}` is there twice"),
                    "give each a name of its own",
                );
            }
        }
        found.push(entry);
    }
    together(&place, found.into_iter().collect::<Option<_>>()?, has_rate)
}

fn together(place: &Value<'_>, mut entries: Vec<Entry>, has_rate: bool) -> Option<Routes> {
    let rates = entries
        .iter()
        .filter(|entry| matches!(entry.amount, Amount::Rate(_)))
        .count();
    if rates != 0 && rates != entries.len() {
        return place.refuse(
            "some routes have a `rate` and some a `part`",
            "give every route a rate of its own, or every route its part of `rate`",
        );
    }
    if rates != 0 && has_rate {
        return place.refuse(
            "the routes have rates of their own, and the workload has one too",
            "leave the workload's `rate` out: it is the sum of theirs; or give the routes `part`s of it",
        );
    }
    let amount = |entry: &Entry| match entry.amount {
        Amount::Part(amount) | Amount::Rate(amount) => amount,
    };
    let all: f64 = entries.iter().map(amount).sum();
    if rates == 0 && (all - 1.0).abs() > ROUNDING {
        return place.refuse(
            format!("the parts of the routes sum to {:.1} %", 100.0 * all),
            "let them sum to 100 %",
        );
    }
    for entry in &mut entries {
        entry.route.part = amount(entry) / all;
    }
    let weight = |entry: &Entry| entry.weight.unwrap_or(entry.route.part);
    let weights: f64 = entries.iter().map(weight).sum();
    let n_weighted = entries.iter().filter(|entry| entry.weight.is_some()).count();
    if n_weighted != 0 && n_weighted != entries.len() {
        return place.refuse(
            "some routes have a `weight` and some have none",
            "give every route one, or none: then each counts for its part of the requests",
        );
    }
    for entry in &mut entries {
        entry.route.weight = weight(entry) / weights;
    }
    Some(Routes {
        slos: entries.iter().flat_map(|entry| entry.slos.clone()).collect(),
        list: entries.into_iter().map(|entry| entry.route).collect(),
        rate: (rates != 0).then_some(all),
    })
}

fn one(mut table: Table<'_>, for_all: &[Slo]) -> Option<Entry> {
    let name = table.name("route");
    let part = table.optional("part", |value| value.quantity(&SHARE));
    let rate = table.optional("rate", |value| value.quantity(&RATE));
    let weight = match table.take("weight") {
        Some(value) => value.quantity(&FACTOR).map(Some),
        None => {
            table.put_in_force(
                "weight",
                defaults::ROUTE_WEIGHT.value.into(),
                defaults::ROUTE_WEIGHT.why,
            );
            Some(None)
        }
    };
    let prompts = match table.take("prompts") {
        Some(value) => filter(value),
        None => {
            table.put_in_force(
                "prompts",
                defaults::ROUTE_PROMPTS.value.into(),
                defaults::ROUTE_PROMPTS.why,
            );
            name.clone().map(|name| PromptFilter::Column {
                column: "route".to_owned(),
                values: vec![name],
            })
        }
    };
    let models = match table.take("models") {
        Some(value) => names(value).map(Some),
        None => Some(None),
    };
    let slos = slo::read_own(&mut table, name.as_deref(), for_all);
    if for_all.is_empty() && slos.as_ref().is_some_and(Vec::is_empty) {
        let problem = table.problem(format!("{} has no latency objective", table.what()));
        table.note(problem.help("add `[[route.slo]]` with `metric` and `target`, or `[[slo]]` for all routes"));
    }
    let amount = match (part, rate) {
        (Some(Some(part)), Some(None)) => Some(Amount::Part(part)),
        (Some(None), Some(Some(rate))) => Some(Amount::Rate(rate)),
        (Some(_), Some(_)) => {
            let problem = table.problem(format!("{} has both a `part` and a `rate`, or neither", table.what()));
            table.note(problem.help("say how much of all requests it is: `part = \"40 %\"`, or `rate = \"6 /s\"`"));
            None
        }
        _ => None,
    };
    table.finish();
    Some(Entry {
        route: Route {
            name: name?,
            part: 0.0,
            weight: 0.0,
            prompts: prompts?,
            models: models?,
        },
        amount: amount?,
        weight: weight?,
        slos: slos?,
    })
}

/// `"all"`, or a column of the scores file and the values in it.
fn filter(value: Value<'_>) -> Option<PromptFilter> {
    if !value.is_table() {
        return value.choice(&[("all", ())]).map(|()| PromptFilter::All);
    }
    let mut table = value.table()?;
    let column = table.require("column", "\"category\"").and_then(|value| value.string());
    let values = table.require("values", "[\"math\", \"law\"]").and_then(names);
    table.finish();
    Some(PromptFilter::Column {
        column: column?,
        values: values?,
    })
}

/// A list of texts, or one.
fn names(value: Value<'_>) -> Option<Vec<String>> {
    if value.text().is_some() {
        return value.string().map(|name| vec![name]);
    }
    let names: Vec<Option<String>> = value.list()?.iter().map(Value::string).collect();
    names.into_iter().collect()
}
