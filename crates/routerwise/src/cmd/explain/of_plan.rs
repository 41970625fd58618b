//! A plan explained on a terminal.

use std::io::{self, Write};

use routerwise_types::answer::explanation::{Alternative, Difference, Held, PriceMeaning, RivalSetup};
use routerwise_types::answer::{BindingSlo, Explanation};
use routerwise_types::plan::Plan;
use routerwise_types::setup::Configuration;

use crate::render::{rate_limits, signed};
use crate::table::table;

/// Differences in quality that are not worth a word.
const EQUAL: f64 = 5e-5;

pub(super) fn print(plan: &Plan, answer: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nPrices of plan {}", plan.id.short())?;
    for meaning in &answer.prices {
        let mut policies = plan.policies.iter();
        let own = policies.find(|policy| {
            policy.level == meaning.level && meaning.route.as_ref().is_none_or(|route| *route == policy.route)
        });
        let name = own.and_then(|policy| plan.policy_name(policy));
        let name = name.map_or_else(String::new, |name| format!("{name}, "));
        writeln!(out, " {name}{}", in_words(meaning))?;
    }
    binding(plan, answer, out)?;
    values(answer, out)?;
    if let Some(alternative) = &answer.runner_up {
        runner_up(plan, alternative, out)?;
    }
    alternatives(plan, answer, out)?;
    if let Some(limits) = &answer.rate_limits {
        rate_limits(plan, limits, out)?;
    }
    Ok(())
}

fn in_words(meaning: &PriceMeaning) -> String {
    let (name, price) = (&meaning.model, meaning.price.value());
    if !meaning.runs {
        return format!("{name}: off; no prompt would want it at {price:.4} or more");
    }
    if price < EQUAL {
        return format!("{name}: free; one more prompt on it costs nobody anything that counts");
    }
    let cost = format!("{name}: {price:.4}; one more prompt on it costs everybody {price:.4} of quality");
    let latency = meaning.added_latency.map_or_else(String::new, |added| {
        format!("; one in a hundred more adds {added} to the mean latency")
    });
    let rule = if *name == meaning.cheapest {
        "nothing that runs is cheaper".to_owned()
    } else if meaning.above_cheapest < EQUAL {
        format!(
            "as much as on {}: it gets the prompts where it is the better one",
            meaning.cheapest
        )
    } else {
        format!(
            "it gets the prompts where it is better than {} by more than {:.4}",
            meaning.cheapest, meaning.above_cheapest
        )
    };
    format!("{cost}{latency}; {rule}")
}

fn binding(plan: &Plan, answer: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    for policy in &plan.policies {
        let level = plan
            .policy_name(policy)
            .map_or_else(String::new, |name| format!("{name}, "));
        for slo_ix in plan.slos_of(policy) {
            let own = |other: &&BindingSlo| {
                other.level == policy.level
                    && other.route.as_ref().is_none_or(|route| *route == policy.route)
                    && other.slo == plan.slos[slo_ix]
            };
            let found = answer.binding_slos.iter().find(own);
            let slo = plan.slo_words(slo_ix);
            match found {
                Some(found) => writeln!(
                    out,
                    " {level}{slo}: binds; a limit 1 % looser is worth about {:.5} of quality",
                    found.quality_per_percent
                )?,
                None => writeln!(out, " {level}{slo}: does not bind")?,
            }
        }
    }
    Ok(())
}

fn values(answer: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nWhat changes are worth, by the prices and planned again:")?;
    let rows = answer.values.iter().map(|value| {
        [
            value.change.clone(),
            value.first_order.map_or_else(|| "-".to_owned(), signed),
            match (value.gain, value.finished) {
                (Some(gain), true) => signed(gain),
                (None, true) => "no plan".to_owned(),
                (Some(gain), false) => format!("{} or more", signed(gain)),
                (None, false) => "not settled".to_owned(),
            },
        ]
    });
    writeln!(
        out,
        "{}",
        table(["change", "by the prices", "planned again"], "lrr", rows)
    )?;
    writeln!(
        out,
        " By the prices is first order: right for small changes. For a GPU it counts its shares and memory as if setups could be mixed."
    )
}

fn runner_up(plan: &Plan, alternative: &Alternative, out: &mut dyn Write) -> io::Result<()> {
    let Some(setup) = &alternative.setup else { return Ok(()) };
    let lost = plan.quality().value() - setup.quality.value();
    let against = if lost.abs() < EQUAL {
        "as good as the plan".to_owned()
    } else if lost > 0.0 {
        format!("{lost:.4} less than the plan")
    } else {
        format!("{:.4} more than the plan, within what the search tolerates", -lost)
    };
    writeln!(
        out,
        "\nRunner-up: {} (at most {:.4}), {against}{}",
        setup.quality,
        setup.upper_bound,
        if alternative.finished {
            ""
        } else {
            "; the search ran out of work"
        }
    )?;
    for difference in &setup.differences {
        writeln!(out, "   {}", in_place_of(difference))?;
    }
    writeln!(out, "   {}", why(plan, setup, lost))
}

fn in_place_of(difference: &Difference) -> String {
    format!(
        "{}: {} instead of {} ({} at this plan's prices)",
        difference.model,
        runs(difference.other.as_ref()),
        runs(difference.planned.as_ref()),
        signed(difference.worth)
    )
}

fn runs(configuration: Option<&Configuration>) -> String {
    configuration.map_or_else(|| "off".to_owned(), ToString::to_string)
}

/// Why it lost: what its changes are worth, and where its prompts go instead.
fn why(plan: &Plan, setup: &RivalSetup, lost: f64) -> String {
    let worth: f64 = setup.differences.iter().map(|difference| difference.worth).sum();
    if lost.abs() < EQUAL {
        return "It was not chosen because the plan's setup has as much quality at no more latency.".to_owned();
    }
    let bound = if worth < EQUAL {
        format!(
            "Why it lost: its changes are worth {} together at this plan's prices, which bounds what it can reach",
            signed(worth)
        )
    } else {
        format!(
            "Why it lost: this plan's prices would allow it {} more, but at prices of its own it reaches less",
            format_args!("{worth:.4}")
        )
    };
    let planned = |model_ix: usize| -> f64 {
        let policies = plan.policies.iter();
        policies
            .map(|policy| policy.weight.value() * policy.models[model_ix].fraction.value())
            .sum()
    };
    let moved = setup.fractions.iter().enumerate();
    let most = moved
        .map(|(model_ix, other)| (model_ix, other.value(), planned(model_ix)))
        .max_by(|a, b| (a.1 - a.2).abs().total_cmp(&(b.1 - b.2).abs()))
        .filter(|(_, other, here)| (other - here).abs() >= 5e-4);
    match most {
        Some((model_ix, other, here)) => format!(
            "{bound}. {:.1} % of the prompts go to {} there, {:.1} % here.",
            other * 100.0,
            plan.models[model_ix].name,
            here * 100.0
        ),
        None => format!("{bound}."),
    }
}

fn alternatives(plan: &Plan, answer: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nThe best setup with one model held otherwise, the others free:")?;
    let rows = answer.alternatives.iter().map(|alternative| {
        let planned = plan.models.iter().find(|model| model.name == alternative.model);
        let of_model = |setup: &RivalSetup| {
            let found = setup
                .differences
                .iter()
                .find(|difference| difference.model == alternative.model);
            found.map_or_else(|| "-".to_owned(), |difference| runs(difference.other.as_ref()))
        };
        let held = match alternative.held {
            Held::Otherwise => "otherwise",
            Held::On => "on",
            Held::Off => "off",
        };
        let (other, quality, lost) = match &alternative.setup {
            Some(setup) => (
                of_model(setup),
                setup.quality.to_string(),
                signed(setup.quality.value() - plan.quality().value()),
            ),
            None => ("-".to_owned(), "no plan".to_owned(), "-".to_owned()),
        };
        let settled = if alternative.finished {
            String::new()
        } else {
            " or more".to_owned()
        };
        [
            alternative.model.clone(),
            planned.map_or_else(String::new, |model| runs(model.configuration.as_ref())),
            held.to_owned(),
            other,
            quality,
            format!("{lost}{settled}"),
        ]
    });
    let header = [
        "model",
        "planned",
        "held",
        "then runs as",
        "quality",
        "against this plan",
    ];
    writeln!(out, "{}", table(header, "llllrr", rows))
}
