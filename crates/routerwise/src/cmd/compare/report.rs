//! A comparison for people, and as CSV.

use std::fmt::Write as _;
use std::io::{self, Write};

use routerwise_types::Seconds;
use routerwise_types::comparison::{
    AllocationRule, CacheRule, ComparedAllocation, ComparedLevel, ComparedRow, Comparison, Judged, RoutingRule, Tuning,
};

use crate::table::table;

/// Qualities closer than this are called the same: about what chance does to the mean of some thousand labels.
const SAME_QUALITY: f64 = 0.002;

pub(super) fn table_for_people(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    write!(
        out,
        "Setups made and parameters chosen on {} prompts, judged on the {} others",
        comparison.n_training_prompts, comparison.n_test_prompts
    )?;
    match comparison.simulation {
        Some(simulation) => writeln!(
            out,
            ": by curves -> simulated ({} requests for each row, seed {})",
            simulation.n_requests, simulation.seed
        )?,
        None => writeln!(out, " by curves")?,
    }
    if comparison.tuning == Tuning::OurQuality {
        writeln!(
            out,
            "Parameters give the lowest latency within 0.01 of the quality of joint planning."
        )?;
    }
    if comparison
        .simulation
        .is_some_and(|simulation| simulation.cache == CacheRule::Shared)
    {
        writeln!(
            out,
            "Memory that is left over goes to KV caches, which the profiles did not have: what curves call late or overloaded may hold."
        )?;
    }
    for level in &comparison.levels {
        let slos: Vec<String> = level.slos.iter().map(ToString::to_string).collect();
        writeln!(out, "\nLoad {}: {}, {}\n", level.load, level.rate, slos.join(", "))?;
        let header = [
            "",
            "allocation",
            "routing",
            "quality",
            "mean TTFT",
            "P95 TTFT",
            "within target",
            "objectives",
        ];
        writeln!(out, "{}", table(header, "lllrrrrr", level.rows.iter().map(row)))?;
        allocations(level, out)?;
        writeln!(out)?;
        for line in verdict(level) {
            writeln!(out, " {line}")?;
        }
    }
    Ok(())
}

fn row(row: &ComparedRow) -> [String; 8] {
    let both = |show: &dyn Fn(&Judged) -> String| match &row.simulated {
        Some(simulated) => format!("{} -> {}", show(&row.by_curves), show(simulated)),
        None => show(&row.by_curves),
    };
    [
        if row.is_ours() { ">".into() } else { String::new() },
        row.allocation.to_string(),
        row.routing.to_string(),
        both(&|judged| format!("{:.4}", judged.quality)),
        both(&|judged| seconds(judged.ttft_mean)),
        both(&|judged| seconds(judged.ttft_p95)),
        both(&|judged| {
            judged
                .within
                .map_or_else(|| "-".into(), |part| format!("{:.1} %", 100.0 * part))
        }),
        both(&objectives),
    ]
}

fn seconds(value: Option<f64>) -> String {
    let value = value.and_then(|value| Seconds::new(value).ok());
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Whether the objectives are met, and if not by how much they are missed.
fn objectives(judged: &Judged) -> String {
    let violation = judged.violation();
    match judged.utilisation.filter(|load| *load > 1.0) {
        _ if judged.met => "met".into(),
        Some(load) => format!("load {:.0} %", 100.0 * load),
        None if violation < 9.0 => format!("+{:.0} %", (100.0 * violation).ceil()),
        None => format!("x{:.0}", 1.0 + violation),
    }
}

fn allocations(level: &ComparedLevel, out: &mut dyn Write) -> io::Result<()> {
    let rows = level.allocations.iter().map(|allocation| {
        [
            format!(" {}", title(allocation)),
            allocation.n_gpus.to_string(),
            format!("{:.0} %", 100.0 * allocation.compute),
            setup(allocation),
        ]
    });
    writeln!(
        out,
        "\n{}",
        table([" allocation", "GPUs", "compute", "runs"], "lrrl", rows)
    )?;
    for allocation in &level.allocations {
        for note in &allocation.notes {
            writeln!(out, " {}: {note}", title(allocation))?;
        }
    }
    for absent in &level.absent {
        writeln!(out, " {} is left out: {}", absent.rule, absent.why)?;
    }
    Ok(())
}

fn title(allocation: &ComparedAllocation) -> String {
    match allocation.for_routing {
        Some(routing) => format!("{}, {routing}", allocation.rule),
        None => allocation.rule.to_string(),
    }
}

fn setup(allocation: &ComparedAllocation) -> String {
    let running = allocation.models.iter().filter_map(|model| {
        let configuration = model.configuration?;
        Some(format!("{} {configuration}", model.name))
    });
    running.collect::<Vec<_>>().join(", ")
}

/// Where joint planning wins and where it does not, in words.
pub(super) fn verdict(level: &ComparedLevel) -> Vec<String> {
    let Some(ours) = level.rows.iter().find(|row| row.is_ours()) else {
        return vec!["There is no joint plan to compare at this load.".into()];
    };
    let mut lines = vec![against_today(level, ours)];
    if ours.judged().met {
        lines.extend(of_which(level, ours, "Our prices on the next best allocation", |row| {
            row.routing == RoutingRule::OurPrices && row.allocation != AllocationRule::Joint
        }));
        lines.extend(of_which(level, ours, "The next best routing on our setup", |row| {
            row.allocation == AllocationRule::Joint
                && !matches!(row.routing, RoutingRule::OurPrices | RoutingRule::Oracle)
        }));
    }
    lines
}

fn named(row: &ComparedRow) -> String {
    match row.routing {
        RoutingRule::OneModel => row.allocation.to_string(),
        routing => format!("{} with {routing}", row.allocation),
    }
}

fn against_today(level: &ComparedLevel, ours: &ComparedRow) -> String {
    let quality = ours.judged().quality;
    // Rows are best first.
    let today = level.rows.iter().find(|row| row.is_todays());
    let Some(today) = today else {
        return "There is nothing of today's to compare with.".into();
    };
    let theirs = today.judged();
    let name = named(today);
    match (ours.judged().met, theirs.met) {
        (true, false) => format!(
            "Joint planning meets the objectives with quality {quality:.4}; nothing of today's does: the nearest, {name}, misses them ({}).",
            objectives(theirs)
        ),
        (false, true) => format!(
            "Joint planning does not win here: it misses the objectives ({}), and {name} meets them with quality {:.4}.",
            objectives(ours.judged()),
            theirs.quality
        ),
        (false, false) => format!(
            "Nothing meets the objectives here. Joint planning misses them by {} with quality {quality:.4}, {name} by {} with {:.4}.",
            objectives(ours.judged()),
            objectives(theirs),
            theirs.quality
        ),
        (true, true) if (quality - theirs.quality).abs() <= SAME_QUALITY => format!(
            "Joint planning does not win here: {name} gets {:.4} against {quality:.4}, the same within {SAME_QUALITY}.",
            theirs.quality
        ),
        (true, true) if quality < theirs.quality => format!(
            "Joint planning does not win here: {name} gets {:.4} against {quality:.4}.",
            theirs.quality
        ),
        (true, true) => format!(
            "Joint planning wins: quality {quality:.4} against {:.4} of the best of today's, {name} ({:+.4}); both meet the objectives.",
            theirs.quality,
            quality - theirs.quality
        ),
    }
}

/// What is missing without one of the two halves of joint planning.
fn of_which(
    level: &ComparedLevel,
    ours: &ComparedRow,
    what: &str,
    belongs: impl Fn(&ComparedRow) -> bool,
) -> Option<String> {
    let other = level.rows.iter().find(|row| belongs(row))?;
    let judged = other.judged();
    let name = named(other);
    Some(if judged.met {
        let less = judged.quality - ours.judged().quality;
        format!("{what}: {name} gets {:.4} ({less:+.4}).", judged.quality)
    } else {
        format!("{what}: {name} misses the objectives ({}).", objectives(judged))
    })
}

const CSV_HEADER: &str = "load,rate,allocation,routing,ours,gpus,compute,parameters,\
training_quality,training_ttft_mean,training_utilisation,training_met,\
curves_quality,curves_ttft_mean,curves_ttft_p95,curves_within,curves_utilisation,curves_met,\
simulated_quality,simulated_ttft_mean,simulated_ttft_mean_ci95,simulated_ttft_p95,simulated_within,simulated_met";

/// One line per row; times in seconds, absent figures empty.
pub(super) fn csv(comparison: &Comparison) -> String {
    let mut text = format!("{CSV_HEADER}\n");
    for level in &comparison.levels {
        for row in &level.rows {
            let allocation = level
                .allocations
                .iter()
                .find(|allocation| allocation.rule == row.allocation);
            let (gpus, compute) = allocation.map_or((0, 0.0), |allocation| (allocation.n_gpus, allocation.compute));
            let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.6}"));
            let (training, curves) = (&row.training, &row.by_curves);
            let simulated = row.simulated.as_ref();
            let of = |read: &dyn Fn(&Judged) -> Option<f64>| number(simulated.and_then(read));
            let fields = [
                level.load.to_string(),
                number(Some(level.rate.value())),
                row.allocation.to_string(),
                quoted(&row.routing.to_string()),
                row.is_ours().to_string(),
                gpus.to_string(),
                number(Some(compute)),
                quoted(&row.parameters),
                number(Some(training.quality)),
                number(training.ttft_mean),
                number(training.utilisation),
                training.met.to_string(),
                number(Some(curves.quality)),
                number(curves.ttft_mean),
                number(curves.ttft_p95),
                number(curves.within),
                number(curves.utilisation),
                curves.met.to_string(),
                of(&|judged| Some(judged.quality)),
                of(&|judged| judged.ttft_mean),
                of(&|judged| judged.ttft_mean_ci95),
                of(&|judged| judged.ttft_p95),
                of(&|judged| judged.within),
                simulated.map_or_else(String::new, |judged| judged.met.to_string()),
            ];
            writeln!(text, "{}", fields.join(",")).expect("writing to a string");
        }
    }
    text
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use routerwise_types::RequestsPerSecond;

    fn judged(quality: f64, part: f64) -> Judged {
        Judged {
            quality,
            visits: vec![1.0],
            ttft_mean: Some(0.1),
            ttft_mean_ci95: None,
            ttft_p95: Some(0.3),
            within: Some(0.97),
            slo_parts: vec![Some(part)],
            utilisation: Some(0.5),
            met: part <= 1.0,
        }
    }

    fn compared(allocation: AllocationRule, routing: RoutingRule, quality: f64, part: f64) -> ComparedRow {
        ComparedRow {
            allocation,
            allocation_ix: 0,
            routing,
            parameters: "a, b".into(),
            training: judged(quality, part),
            by_curves: judged(quality, part),
            simulated: None,
        }
    }

    fn level(rows: Vec<ComparedRow>) -> ComparedLevel {
        ComparedLevel {
            load: 1.0,
            rate: RequestsPerSecond::new(2.0).expect("positive"),
            slos: Vec::new(),
            allocations: Vec::new(),
            absent: Vec::new(),
            rows,
        }
    }

    #[test]
    fn the_closing_line_says_where_joint_planning_wins_and_where_not() {
        let ours = || compared(AllocationRule::Joint, RoutingRule::OurPrices, 0.70, 0.9);
        let theirs = |quality, part| compared(AllocationRule::EqualSplit, RoutingRule::Threshold, quality, part);
        let line = |rows| verdict(&level(rows)).remove(0);
        assert!(
            line(vec![ours(), theirs(0.65, 1.0)]).starts_with("Joint planning wins: quality 0.7000 against 0.6500")
        );
        assert!(
            line(vec![theirs(0.72, 1.0), ours()])
                .starts_with("Joint planning does not win here: equal split with threshold gets 0.7200")
        );
        assert!(line(vec![ours(), theirs(0.699, 1.0)]).contains("the same within"));
        assert!(line(vec![ours(), theirs(0.9, 1.5)]).contains("nothing of today's does"));
    }

    #[test]
    fn csv_has_a_field_for_every_column_and_quotes_commas() {
        let comparison = Comparison {
            schema: 1,
            n_training_prompts: 1,
            n_test_prompts: 1,
            tuning: Tuning::Objectives,
            simulation: None,
            levels: vec![level(vec![compared(
                AllocationRule::Joint,
                RoutingRule::OurPrices,
                0.7,
                0.9,
            )])],
        };
        let text = csv(&comparison);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("\"a, b\""), "{}", lines[1]);
        let n_fields = lines[1].replace("\"a, b\"", "ab").split(',').count();
        assert_eq!(n_fields, lines[0].split(',').count());
    }
}
