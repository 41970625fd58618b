//! `objective`: what to make best, and within which budget.

use routerwise_types::Score;
use routerwise_types::workload::{Aim, Budget, Metric, Objective};

use crate::defaults;
use crate::quantity::{FRACTION, PRICE};
use crate::text::{Table, Value};

/// What can be made small.
#[derive(Clone, Copy)]
enum Small {
    Gpus,
    Cost,
    Latency(Metric),
}

/// `"maximise-quality"`, or a table.
pub(super) fn read(root: &mut Table<'_>) -> Option<Objective> {
    match root.take("objective") {
        Some(value) if value.is_table() => value.table().and_then(table),
        Some(value) => value.choice(&[("maximise-quality", Objective::BEST_QUALITY)]),
        None => {
            root.put_in_force("objective", defaults::OBJECTIVE.value.into(), defaults::OBJECTIVE.why);
            Some(Objective::BEST_QUALITY)
        }
    }
}

fn table(mut table: Table<'_>) -> Option<Objective> {
    let maximise = table.take("maximise");
    let minimise = table.take("minimise");
    let both = maximise.is_some() && minimise.is_some();
    let maximises = maximise.is_none_or(|value| value.choice(&[("quality", ())]).is_some());
    let small = minimise.as_ref().map(|value| {
        value.choice(&[
            ("gpus", Small::Gpus),
            ("cost", Small::Cost),
            ("ttft", Small::Latency(Metric::Ttft)),
            ("tpot", Small::Latency(Metric::Tpot)),
            ("e2e", Small::Latency(Metric::E2e)),
        ])
    });
    let floor = if small.is_some() {
        table.require("quality-floor", "0.7")
    } else {
        table.take("quality-floor")
    };
    if let (Some(floor), None) = (&floor, &small) {
        let help = "say what to `minimise`: \"gpus\", \"cost\", \"ttft\", \"tpot\" or \"e2e\"; or leave the floor out";
        floor.refuse::<()>("a `quality-floor` makes no difference where quality is maximised", help);
    }
    let quality_floor = floor.and_then(|value| score(&value));
    let max_gpus = table.optional("max-gpus", |value| value.integer(1..=1_000_000));
    let max_cost_per_hour = table.optional("max-cost", |value| value.quantity(&PRICE));
    if both {
        let problem = table.problem("the objective both maximises and minimises");
        table.note(problem.help("keep one: `minimise` something above a `quality-floor`, or `maximise = \"quality\"`"));
    }
    table.finish();
    let budget = Budget {
        max_gpus: max_gpus?,
        max_cost_per_hour: max_cost_per_hour?,
    };
    let aim = match small {
        None => maximises.then_some(Aim::MaximiseQuality)?,
        Some(small) => aim(small?, quality_floor?),
    };
    Some(Objective { aim, budget })
}

fn score(value: &Value<'_>) -> Option<Score> {
    Score::new(value.quantity(&FRACTION)?).ok()
}

fn aim(small: Small, quality_floor: Score) -> Aim {
    match small {
        Small::Gpus => Aim::MinimiseGpus { quality_floor },
        Small::Cost => Aim::MinimiseCost { quality_floor },
        Small::Latency(metric) => Aim::MinimiseLatency { metric, quality_floor },
    }
}
