//! What a run has to tell.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;

use routerwise_label::Run;
use routerwise_label::cost::Load;
use routerwise_label::labels::Labels;
use routerwise_label::score::{Remark, Scorer};
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::labelling::{JudgeReport, LabelledModel, Labelling, TroubleCount};
use routerwise_types::labels::Endpoint;
use serde_json::json;

use crate::cli::Format;
use crate::table::{print_json, table};

/// What is still to be asked for, before it is.
pub(super) fn loads(loads: &[Load]) -> String {
    let rows = loads.iter().filter(|load| load.n_requests > 0).map(|load| {
        let cost = load
            .cost_max
            .map_or("no price given".to_owned(), |cost| format!("{cost:.2}"));
        let tokens = |tokens: f64| format!("{tokens:.0}");
        [
            load.name.clone(),
            load.n_requests.to_string(),
            tokens(load.input_tokens),
            tokens(load.output_tokens_max),
            cost,
        ]
    });
    let header = [
        "still to ask",
        "requests",
        "prompt tokens, about",
        "answer tokens, at most",
        "cost, at most",
    ];
    let known: Vec<f64> = loads.iter().filter_map(|load| load.cost_max).collect();
    let mut text = format!("{}\n", table(header, "lrrrr", rows));
    if !known.is_empty() {
        let _ = writeln!(text, "at most {:.2} in all", known.iter().sum::<f64>());
    }
    text
}

/// Puts together what is printed.
pub(super) fn report(run: &Run, labels: &Labels, models: &[Endpoint], n_prompts: usize, path: &Path) -> Labelling {
    let of_model = |(tally, endpoint): (&routerwise_label::labels::ModelTally, &Endpoint)| LabelledModel {
        name: tally.name.clone(),
        n_answered: tally.n_answered,
        n_cut_off: tally.n_cut_off,
        n_empty: tally.n_empty,
        n_scored: tally.n_scored,
        mean_score: tally.mean_score,
        input_tokens: tally.input_tokens,
        output_tokens: tally.output_tokens,
        cost: endpoint.price.map(|price| {
            #[expect(clippy::cast_precision_loss, reason = "token counts stay below 2^53")]
            price.of(tally.input_tokens as f64, tally.output_tokens as f64)
        }),
        remarks: tally
            .remarks
            .iter()
            .map(|(remark, n)| (remark.to_string(), *n))
            .collect(),
    };
    let unreadable =
        |tally: &routerwise_label::labels::ModelTally| tally.remarks.get(&Remark::VerdictUnreadable).copied();
    let judge = match run.scorer() {
        Scorer::Judge(judge) => Some(JudgeReport {
            name: judge.endpoint.name.clone(),
            n_unreadable: labels.models.iter().filter_map(unreadable).sum(),
            n_both_orders: labels.orders.map(|(asked, _)| asked),
            n_order_mattered: labels.orders.map(|(_, mattered)| mattered),
        }),
        _ => None,
    };
    let troubles = run
        .troubles()
        .into_iter()
        .map(|((endpoint, kind), (count, said))| TroubleCount {
            endpoint,
            kind: kind.to_string(),
            count,
            said,
        });
    Labelling {
        schema: ANSWER_SCHEMA,
        scores: path.display().to_string(),
        n_prompts,
        n_sampled: labels.table.rows.len(),
        scored_by: run.scorer().name().to_owned(),
        complete: labels.n_unanswered() == 0 && labels.n_unscored() == 0,
        models: labels.models.iter().zip(models).map(of_model).collect(),
        judge,
        troubles: troubles.collect(),
        n_retried: run.n_retried(),
    }
}

pub(super) fn print(
    report: &Labelling,
    run: &Run,
    journal: &Path,
    format: Format,
    out: &mut dyn Write,
) -> io::Result<()> {
    if format == Format::Json {
        return print_json(report, out);
    }
    let n = report.n_sampled;
    writeln!(
        out,
        "{n} of {} prompts, answers scored by {}\n",
        report.n_prompts, report.scored_by
    )?;
    let rows = report.models.iter().map(|model| {
        let mean = model.mean_score.map_or("-".to_owned(), |mean| format!("{mean:.4}"));
        let tokens = if model.n_answered == 0 {
            0
        } else {
            model.output_tokens / model.n_answered as u64
        };
        let cost = model.cost.map_or("-".to_owned(), |cost| format!("{cost:.2}"));
        let of = |count: usize| format!("{count} of {n}");
        [
            model.name.clone(),
            of(model.n_answered),
            of(model.n_scored),
            mean,
            tokens.to_string(),
            model.n_cut_off.to_string(),
            cost,
        ]
    });
    let header = ["model", "answered", "scored", "mean score", "tokens", "cut off", "cost"];
    writeln!(out, "{}", table(header, "lrrrrrr", rows))?;
    for model in &report.models {
        for (remark, count) in &model.remarks {
            writeln!(out, " `{}`: {remark}: {count}", model.name)?;
        }
        if model.n_empty > 0 {
            writeln!(out, " `{}`: empty answers: {}", model.name, model.n_empty)?;
        }
    }
    if let Some(judge) = &report.judge {
        writeln!(
            out,
            " judge `{}`: {} verdicts could not be read",
            judge.name, judge.n_unreadable
        )?;
        if let (Some(asked), Some(mattered)) = (judge.n_both_orders, judge.n_order_mattered) {
            writeln!(
                out,
                " judge `{}`: {mattered} of {asked} verdicts changed with the order of the texts",
                judge.name
            )?;
        }
    }
    for trouble in &report.troubles {
        let TroubleCount {
            endpoint,
            kind,
            count,
            said,
        } = trouble;
        let first = if said.is_empty() {
            String::new()
        } else {
            format!(" (first: {said})")
        };
        writeln!(out, " `{endpoint}`: {kind}: {count}{first}")?;
    }
    if let Some(said) = run.command_said() {
        writeln!(out, " the command: {said}")?;
    }
    if report.n_retried > 0 {
        writeln!(out, " sent again: {}", report.n_retried)?;
    }
    writeln!(out, "\nwrote `{}`", report.scores)?;
    if !report.complete {
        writeln!(
            out,
            "not all is done; the same command goes on from `{}`, and asks only what is missing",
            journal.display()
        )?;
    }
    Ok(())
}

/// One line per answer.
pub(super) fn answers(labels: &Labels) -> String {
    let mut text = String::new();
    for (row, answers) in labels.table.rows.iter().zip(&labels.answers) {
        for (ix, answer) in answers.iter().enumerate() {
            if let Some(answer) = answer {
                let line = json!({
                    "prompt_id": row.id,
                    "model": labels.table.models[ix],
                    "answer": answer,
                    "score": row.scores[ix],
                });
                text.push_str(&line.to_string());
                text.push('\n');
            }
        }
    }
    text
}
