//! `scores.csv` and `scores.parquet`.

use crate::Folder;

fn csv(content: &str) -> Folder {
    Folder::tiny().with("scores.csv", content)
}

#[test]
fn a_model_without_scores() {
    insta::assert_snapshot!(csv("prompt_id,score:small,score:larg\n1,0.5,1\n").errors(), @r#"
    × scores.csv: has no column `score:large`, so model `large` has no scores
    help: did you mean `larg`? add the column, or name another for this model in models.toml: `scores = "…"`; there are `small`, `larg`
    "#);
}

#[test]
fn scores_outside_0_to_1() {
    insta::assert_snapshot!(csv("prompt_id,score:small,score:large\n1,0.5,1\n2,1.5,-1\n3,7,NaN\n").errors(), @r"
    × scores.csv: has 2 scores outside 0 to 1 in column `score:small`, the first in row 2: 1.5
    help: scale scores to lie between 0 (useless) and 1 (perfect)
    × scores.csv: has 2 scores outside 0 to 1 in column `score:large`, the first in row 2: -1
    help: scale scores to lie between 0 (useless) and 1 (perfect)
    ");
}

#[test]
fn scores_that_are_no_numbers() {
    insta::assert_snapshot!(csv("prompt_id,score:small,score:large\n1,0.5,1\n2,good,1\n").errors(), @r"
    × scores.csv: has `good` in column `score:small`, row 2
    help: this column holds numbers
    ");
}

#[test]
fn missing_scores_are_refused_or_left_out() {
    let gaps = "prompt_id,score:small,score:large\n1,0.5,1\n2,,1\n3,,\n";
    insta::assert_snapshot!(csv(gaps).errors(), @r"
    × scores.csv: lacks 2 scores in column `score:small`, the first in row 2
    help: fill them in, or leave such prompts out with `drop-null-rows = true` in models.toml
    × scores.csv: lacks 1 scores in column `score:large`, the first in row 3
    help: fill them in, or leave such prompts out with `drop-null-rows = true` in models.toml
    ");
    let dropping = csv(gaps).edited("models.toml", "[[model]]", "drop-null-rows = true\n\n[[model]]");
    let loaded = dropping.load().unwrap();
    assert_eq!((loaded.scenario.scores.n_prompts(), loaded.n_prompts_dropped), (1, 2));
    let nothing = dropping.with("scores.csv", "prompt_id,score:small,score:large\n1,,1\n");
    insta::assert_snapshot!(nothing.errors(), @r"
    × scores.csv: has no prompt that every model has a score for
    help: leave out the model with the most missing scores
    ");
}

#[test]
fn no_prompts() {
    insta::assert_snapshot!(csv("prompt_id,score:small,score:large\n").errors(), @r"
    × scores.csv: holds no prompts
    help: add at least one row below the header
    ");
    insta::assert_snapshot!(csv("").errors(), @r"
    × scores.csv: holds no prompts
    help: add at least one row below the header
    ");
}

#[test]
fn prompts_without_a_name_of_their_own() {
    insta::assert_snapshot!(csv("score:small,score:large\n0,1\n").errors(), @r"
    × scores.csv: has no column `prompt_id`
    help: add one: a text or number that names each prompt once
    ");
    insta::assert_snapshot!(csv("prompt_id,score:small,score:large\n1,0,1\n1,1,1\n").errors(), @r"
    × scores.csv: has the `prompt_id` `1` twice, the second time in row 2
    help: name every prompt once; to ask one more often, use a column `weight`
    ");
    insta::assert_snapshot!(csv("prompt_id,score:small,score:large\n,0,1\n").errors(), @r"
    × scores.csv: has no `prompt_id` in row 1
    help: name every prompt
    ");
}

#[test]
fn weights_and_token_counts_that_are_none() {
    let scores =
        "prompt_id,score:small,score:large,weight,prompt_tokens,output_tokens:large\n1,0,1,0,-1,3\n2,0,1,-1,5,1e10\n";
    insta::assert_snapshot!(csv(scores).errors(), @r"
    × scores.csv: has 2 weights that are no positive number, the first in row 1: 0
    help: write how often each prompt is asked, relative to the others; leave the column out to weigh all alike
    × scores.csv: has -1 in column `prompt_tokens`, row 1
    help: token counts are whole numbers of at least 0
    × scores.csv: has 10000000000 in column `output_tokens:large`, row 2
    help: token counts are whole numbers of at least 0
    ");
}

#[test]
fn a_column_that_is_there_twice_and_a_row_that_is_too_short() {
    insta::assert_snapshot!(csv("prompt_id,score:small,score:large,score:small\n1,0,1,1\n").errors(), @r"
    × scores.csv: has two columns named `score:small`
    help: remove or rename one of them
    ");
    insta::assert_snapshot!(csv("prompt_id,score:small,score:large\n1,0\n").errors(), @r"
    × scores.csv: is no valid CSV: CSV error: record 1 (line: 2, byte: 34): found record with 2 fields, but the previous record has 3 fields
    help: check quotes and commas there
    ");
}

#[test]
fn the_demo_reads_parquet_by_column_names() {
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/demo");
    let loaded = routerwise_inputs::load(&routerwise_inputs::Paths::in_folder(&demo)).unwrap();
    let scores = &loaded.scenario.scores;
    assert_eq!(scores.n_prompts(), 9650);
    assert!(scores.prompts[0].text.is_some() && scores.prompts[0].tokens.is_some());
    assert!(scores.output_tokens.iter().all(Option::is_some));
    // Published in the data's table of models: 0.6258 over all rows; these are the rows that may be used.
    assert!((scores.mean(4).value() - 0.6221).abs() < 1e-3);
}
