//! Tests of predictors, for people.

use std::io::{self, Write};

use routerwise_types::answer::predictors::{
    Evaluation, Interval, ModelTest, PredictorTest, SourceTest, SplitBy, Verdict,
};

use routerwise_types::plan::Plan;

use crate::table::table;

/// All tests: a line each, and in full where that is asked for.
pub(crate) fn evaluation(evaluation: &Evaluation, details: bool, out: &mut dyn Write) -> io::Result<()> {
    let rows = evaluation.tests.iter().map(|test| {
        let mean = |of: &dyn Fn(&ModelTest) -> Option<f64>| {
            let known: Vec<f64> = test.models.iter().filter_map(of).collect();
            known.iter().sum::<f64>() / known.len().max(1) as f64
        };
        let promised: f64 = test.mixes.iter().map(|mix| mix.predicted - mix.quality).sum();
        [
            test.predictor.clone(),
            match test.split {
                SplitBy::Prompt => "prompt".to_owned(),
                SplitBy::Source => "source".to_owned(),
                SplitBy::Given => "all given".to_owned(),
            },
            test.n_test.to_string(),
            percent(test.lift),
            test.versus
                .as_ref()
                .map_or_else(|| "-".to_owned(), |versus| points(versus.lift)),
            format!("{:+.4}", test.gain.value),
            percent(test.deferral.area),
            format!("{:.3}", mean(&|model| model.auc)),
            format!("{:.3}", mean(&|model| Some(model.ece))),
            format!("{:+.4}", promised / test.mixes.len().max(1) as f64),
        ]
    });
    let header = [
        "predictor",
        "held out by",
        "prompts",
        "lift (95 % interval)",
        "points above the first",
        "gain",
        "deferral area",
        "AUC",
        "calibration error",
        "promised too much",
    ];
    writeln!(out, "{}\n", table(header, "llrrrrrrrr", rows))?;
    for note in &evaluation.left_out {
        writeln!(out, " Left out: {note}.")?;
    }
    for test in evaluation.tests.iter().filter(|test| test.verdict != Verdict::Better) {
        writeln!(out, " `{}`: {}", test.predictor, verdict(test))?;
    }
    if details {
        for test in &evaluation.tests {
            writeln!(out)?;
            self::test(test, out)?;
        }
    }
    Ok(())
}

/// One test in full.
pub(crate) fn test(test: &PredictorTest, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}\n", headline(test))?;
    let mixes = test.mixes.iter().map(|mix| {
        [
            mix.mix.clone(),
            format!("{:.4}", mix.static_mix),
            format!("{:.4}", mix.quality),
            format!("{:.4}", mix.oracle),
            percent(mix.lift),
            format!("{:+.4}", mix.predicted - mix.quality),
        ]
    });
    let header = [
        "fractions",
        "static mix",
        "routed",
        "oracle",
        "lift (95 % interval)",
        "promised too much",
    ];
    writeln!(out, "{}\n", table(header, "lrrrrr", mixes))?;
    let models = test.models.iter().map(|model| {
        [
            model.model.clone(),
            format!("{:.4}", model.mean),
            format!("{:.4}", model.predicted),
            model.auc.map_or_else(|| "-".to_owned(), |auc| format!("{auc:.3}")),
            format!("{:.3}", model.ece),
        ]
    });
    let header = ["model", "mean score", "predicted", "AUC", "calibration error"];
    writeln!(out, "{}\n", table(header, "lrrrr", models))?;
    let deferral = &test.deferral;
    writeln!(
        out,
        " From {} to {}: the deferral curve has {} of the area that knowing the answers would have.",
        deferral.weak,
        deferral.strong,
        percent(deferral.area)
    )?;
    if test.sources.len() > 1 {
        let mut sources: Vec<_> = test.sources.iter().collect();
        // What is lost there in all, so that a single odd prompt does not come first.
        let lost = |source: &SourceTest| source.n as f64 * source.regret;
        sources.sort_by(|a, b| lost(b).total_cmp(&lost(a)));
        let rows = sources.iter().take(8).map(|source| {
            [
                source.source.clone(),
                source.n.to_string(),
                format!("{:.4}", source.static_mix),
                format!("{:.4}", source.quality),
                format!("{:.4}", source.oracle),
                format!("{:.4}", source.regret),
            ]
        });
        let header = ["source", "prompts", "static mix", "routed", "oracle", "regret"];
        writeln!(out, "\n{}", table(header, "lrrrrr", rows))?;
    }
    writeln!(out, "\n {}", verdict(test))
}

/// What a plan on predictions really scores.
pub(super) fn realised(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    for realised in &plan.realised {
        let promised = realised.predicted - realised.realised;
        writeln!(
            out,
            " Scores are predictions: on the {} prompts of {} they say {:.4}, and the answers measured {:.4} (promised {:+.4}; by chance in the same fractions {:.4}).",
            realised.n_prompts, realised.on, realised.predicted, realised.realised, promised, realised.static_mix
        )?;
        if realised.realised <= realised.static_mix {
            writeln!(
                out,
                " Warning: routing by these predictions is no better than chance in the same fractions; see `routerwise evaluate`."
            )?;
        }
    }
    Ok(())
}

fn headline(test: &PredictorTest) -> String {
    let learned = if test.n_train > 0 {
        format!(", learned from {} others", test.n_train)
    } else {
        String::new()
    };
    let split = match test.split {
        SplitBy::Prompt => "held-out prompts",
        SplitBy::Source => "prompts of held-out sources",
        SplitBy::Given => "prompts",
    };
    format!(
        "Predictor `{}` on {} {split}{learned}: lift {}, best single model {} {:.4}",
        test.predictor,
        test.n_test,
        percent(test.lift),
        test.best_single.model,
        test.best_single.quality
    )
}

/// What the figures say, in a sentence.
pub(crate) fn verdict(test: &PredictorTest) -> String {
    let gain = test.gain;
    let on = match test.split {
        SplitBy::Source => ", on prompts of sources that it has not seen,",
        SplitBy::Prompt | SplitBy::Given => "",
    };
    let shown = format!("{:+.4} ({:+.4} to {:+.4})", gain.value, gain.low, gain.high);
    match test.verdict {
        Verdict::Better => format!("Routing by it{on} beats a static mix at the same fractions by {shown} of score."),
        Verdict::Unclear => {
            format!("Routing by it{on} may be no better than a static mix at the same fractions: {shown} of score.")
        }
        Verdict::NotBetter => {
            format!(
                "Warning: routing by it{on} is no better than a static mix at the same fractions: {shown} of score."
            )
        }
    }
}

/// `12.3 % (10.1 to 14.6)`.
/// A difference of lifts, in points.
fn points(interval: Interval) -> String {
    let [value, low, high] = [interval.value, interval.low, interval.high].map(|value| 100.0 * value);
    format!("{value:+.1} ({low:+.1} to {high:+.1})")
}

pub(crate) fn percent(interval: Interval) -> String {
    let [value, low, high] = [interval.value, interval.low, interval.high].map(|value| 100.0 * value);
    format!("{value:.1} % ({low:.1} to {high:.1})")
}
