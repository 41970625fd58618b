//! `routerwise train`, `score` and `evaluate`, from the outside.

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use common::routerwise;
use tempfile::TempDir;

/// Prompts of two kinds: one model knows statutes, the other algebra, a third neither better nor worse.
fn scores(folder: &Path, shuffled: bool) {
    let mut text = "prompt_id,prompt,source,score:jurist,score:geometer,score:dice\n".to_owned();
    for i in 0..300_usize {
        let kind = i % 2;
        // Labels that have nothing to do with the text.
        let right = if shuffled { i * 7919 % 1009 % 2 } else { kind };
        let noise = i * 31 % 7 % 2;
        let word = ["statute", "algebra"][kind];
        writeln!(
            text,
            "p{i},\"What does {word} {} say about case {}?\",{word},{},{},{noise}",
            i * 13 % 29,
            i,
            1 - right,
            right
        )
        .expect("texts grow");
    }
    fs::write(folder.join("scores.csv"), text).expect("a folder of our own");
}

fn trained() -> TempDir {
    let folder = TempDir::new().expect("a folder of our own");
    scores(folder.path(), false);
    let (code, out, err) = routerwise(folder.path(), &["train", "scores.csv", "--cross-fitted", "fitted.csv"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("Learned from 300 prompts x 3 models"), "{out}");
    assert!(out.contains("beats a static mix"), "{out}");
    folder
}

#[test]
fn a_predictor_is_learned_and_scores_prompts() {
    let folder = trained();
    let prompt = "What does algebra 77 say about case 7?";
    let arguments = ["score", "predictor.rwp", "--format", "json", "--prompt", prompt];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    let score = |at: usize| answer["scores"][at]["score"].as_f64().unwrap();
    assert_eq!(answer["scores"][1]["model"], "geometer");
    assert!(score(1) > 0.8 && score(0) < 0.2, "{out}");
    assert_eq!(answer["learned_from"], false);
    let known = [
        "score",
        "predictor.rwp",
        "--prompt",
        "what does STATUTE 0 say about case 0",
    ];
    let (_, out, _) = routerwise(folder.path(), &known);
    assert!(out.contains("learned from this very prompt"), "{out}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folder = trained();
    let first = fs::read(folder.path().join("predictor.rwp")).unwrap();
    let (code, ..) = routerwise(folder.path(), &["train", "scores.csv", "--jobs", "1"]);
    assert_eq!(code, 0);
    assert!(first == fs::read(folder.path().join("predictor.rwp")).unwrap());
}

#[test]
fn files_of_prompts_are_scored_in_the_layout_of_scenarios() {
    let folder = trained();
    let arguments = [
        "score",
        "predictor.rwp",
        "--prompts",
        "scores.csv",
        "--out",
        "scored.csv",
    ];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Warning: 300 of them were learned from"), "{out}");
    let head = |name: &str| {
        let text = fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(text.lines().count(), 301);
        text.lines().next().unwrap().to_owned()
    };
    for name in ["scored.csv", "fitted.csv"] {
        let head = head(name);
        assert!(head.contains("label:jurist") && head.contains("score:jurist"), "{head}");
    }
}

#[test]
fn files_that_are_no_predictor_are_refused_with_one_message() {
    let folder = trained();
    let path = folder.path().join("predictor.rwp");
    let bytes = fs::read(&path).unwrap();
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    for (content, message) in [
        (&b"PAR1"[..], "is no predictor file"),
        (&bytes[..bytes.len() - 100], "incomplete"),
        (&damaged[..], "is damaged"),
    ] {
        fs::write(&path, content).unwrap();
        let (code, out, err) = routerwise(folder.path(), &["score", "predictor.rwp", "--prompt", "x"]);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains(message) && err.contains("routerwise train"), "{err}");
    }
}

#[test]
fn tables_that_teach_nothing_are_refused() {
    let folder = TempDir::new().unwrap();
    for (table, message) in [
        ("prompt,score:a\n", "holds no prompts"),
        ("prompt_id,score:a\n1,0.5\n", "has no texts"),
        ("prompt,quality\nhello,1\n", "score:<model>"),
        ("prompt,score:a\nhello,1.5\n", "0 (useless)"),
        ("prompt,score:a\nhello,1\nHello!,0\n", "no prompt is left for the test"),
    ] {
        fs::write(folder.path().join("t.csv"), table).unwrap();
        let (code, _, err) = routerwise(folder.path(), &["train", "t.csv"]);
        assert_eq!(code, 2, "{table}: {err}");
        assert!(err.contains(message), "{table}: {err}");
        assert!(!folder.path().join("predictor.rwp").exists());
    }
}

/// Two sources in which the same word means the opposite: whoever has seen one is wrong about the other.
fn contrary(folder: &Path, n: usize) {
    let mut text = "prompt_id,prompt,source,score:small,score:large\n".to_owned();
    for i in 0..n {
        let (source, word) = (i % 2, i / 2 % 2);
        let right = source ^ word;
        writeln!(
            text,
            "p{i},{} {} question {i}?,{source},{right},{}",
            ["alpha", "beta"][source],
            ["short", "long"][word],
            1 - right
        )
        .expect("texts grow");
    }
    fs::write(folder.join("contrary.csv"), text).expect("a folder of our own");
}

#[test]
fn what_a_predictor_is_worth_elsewhere_is_said_wherever_it_is_used() {
    let folder = common::tiny();
    contrary(folder.path(), 400);
    let target = folder.path().join("tiny/scores.csv");
    let arguments = ["train", "contrary.csv", "--cross-fitted", target.to_str().unwrap()];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Routing by it beats a static mix"), "{out}");
    assert!(
        out.contains("Warning: routing by it, on prompts of sources that it has not seen, is no better"),
        "{out}"
    );
    let (code, out, err) = routerwise(folder.path(), &["plan", "tiny"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("better than a static mix on held-out prompts, no better than a static mix on held-out sources"),
        "{out}"
    );
    let arguments = [
        "serve",
        "tiny/plan.json",
        "--predictor",
        "predictor.rwp",
        "--upstream",
        "small=http://127.0.0.1:1",
        "--upstream",
        "large=http://127.0.0.1:1",
        "--check",
    ];
    let (code, _, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert!(
        err.contains("no better than a static mix on prompts of sources"),
        "{err}"
    );
    fs::write(folder.path().join("new.txt"), "alpha long question?\nbeta long one?\n").unwrap();
    let arguments = ["score", "predictor.rwp", "--prompts", "new.txt", "--out", "new.csv"];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("no better than a static mix on prompts of sources that it had not seen"),
        "{out}"
    );
    let scored = fs::read_to_string(folder.path().join("new.csv")).unwrap();
    assert!(
        scored.contains("no better than a static mix on held-out sources"),
        "{scored}"
    );
}

#[test]
fn chats_are_scored_by_what_a_served_request_is_read_for() {
    let folder = trained();
    let chat = r#"{"id": "a", "messages": [{"role": "system", "content": "statute statute"}, {"role": "user", "content": "What does algebra 77 say about case 7, my dear friend?"}]}"#;
    fs::write(folder.path().join("chats.jsonl"), format!("{chat}\n")).unwrap();
    let arguments = [
        "score",
        "predictor.rwp",
        "--prompts",
        "chats.jsonl",
        "--out",
        "chats.csv",
    ];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Scored 1 prompts for 3 models"), "{out}");
    let scored = fs::read_to_string(folder.path().join("chats.csv")).unwrap();
    assert!(
        scored.contains("algebra 77") && !scored.contains("statute statute"),
        "{scored}"
    );
    fs::write(folder.path().join("chats.jsonl"), "{\"messages\": 3}\n").unwrap();
    let (code, _, err) = routerwise(folder.path(), &arguments);
    assert!(code == 2 && err.contains("no chat"), "{err}");
}

#[test]
fn prompts_that_weigh_more_teach_more() {
    let folder = TempDir::new().unwrap();
    // One model is right on nine prompts of ten, and those that it is wrong on are asked a hundred times as often.
    let table = |weigh: bool| {
        let mut text = "prompt,weight,score:a,score:b\n".to_owned();
        for i in 0..200 {
            let right = usize::from(i % 10 > 0);
            let weight = if weigh && right == 0 { 100 } else { 1 };
            writeln!(text, "question number {i},{weight},{right},0.5").unwrap();
        }
        text
    };
    let mean = |weigh: bool| {
        fs::write(folder.path().join("t.csv"), table(weigh)).unwrap();
        let (code, _, err) = routerwise(folder.path(), &["train", "t.csv"]);
        assert_eq!(code, 0, "{err}");
        let arguments = [
            "score",
            "predictor.rwp",
            "--format",
            "json",
            "--prompt",
            "something else",
        ];
        let answer: serde_json::Value = serde_json::from_str(&routerwise(folder.path(), &arguments).1).unwrap();
        answer["scores"][0]["score"].as_f64().unwrap()
    };
    assert!(mean(false) > 0.8 && mean(true) < 0.2);
    fs::write(folder.path().join("t.csv"), table(false).replace(",1,1,", ",-1,1,")).unwrap();
    let (code, _, err) = routerwise(folder.path(), &["train", "t.csv"]);
    assert!(
        code == 2 && err.contains("has the weight -1 in column `weight`"),
        "{err}"
    );
}

#[test]
fn a_scenario_is_judged_by_its_names_of_the_models() {
    let folder = common::tiny();
    let (_, _, err) = routerwise(folder.path(), &["evaluate", "tiny", "--model", "medium"]);
    assert!(err.contains("has no model `medium`"), "{err}");
}

fn evaluation(folder: &Path, more: &[&str]) -> (i32, serde_json::Value) {
    let arguments = [&["evaluate", "scores.csv", "--format", "json"], more].concat();
    let (code, out, err) = routerwise(folder, &arguments);
    assert!(code < 2, "{err}");
    (code, serde_json::from_str(&out).expect("JSON"))
}

#[test]
fn predictors_are_judged_on_prompts_they_have_not_seen() {
    let folder = TempDir::new().unwrap();
    scores(folder.path(), false);
    let (code, found) = evaluation(folder.path(), &["--by", "prompt", "--svg", "p.svg"]);
    assert_eq!(code, 0);
    let tests = found["tests"].as_array().unwrap();
    assert_eq!(
        tests.iter().map(|test| &test["predictor"]).collect::<Vec<_>>(),
        ["default", "static"]
    );
    for test in tests {
        assert!(test["lift"]["low"].as_f64().unwrap() > 0.5, "{}", test["lift"]);
        assert_eq!(test["verdict"], "better");
        assert_eq!(test["models"][0]["bins"].as_array().unwrap().len(), 10);
    }
    assert!(
        fs::read_to_string(folder.path().join("p.svg"))
            .unwrap()
            .contains("Reliability")
    );
    let (_, found) = evaluation(folder.path(), &["--kind", "default", "--by", "source"]);
    assert_eq!(found["tests"][0]["split"], "source");
    let (_, found) = evaluation(
        folder.path(),
        &[
            "--kind",
            "default",
            "--by",
            "prompt",
            "--fractions",
            "jurist=1,geometer=1",
        ],
    );
    assert_eq!(found["tests"][0]["mixes"][3]["mix"], "given");
}

#[test]
fn held_out_in_turn_every_prompt_is_tested_and_predictors_are_compared() {
    let folder = TempDir::new().unwrap();
    scores(folder.path(), false);
    let (code, found) = evaluation(folder.path(), &["--by", "prompt", "--folds", "2"]);
    assert_eq!(code, 0);
    let [first, second] = &found["tests"].as_array().unwrap()[..] else {
        panic!("{found}");
    };
    for test in [first, second] {
        assert_eq!(test["n_test"], 300);
        assert_eq!(test["n_train"], 150);
        assert!(test["lift"]["low"].as_f64().unwrap() > 0.5, "{}", test["lift"]);
    }
    assert!(first["versus"].is_null());
    assert_eq!(second["versus"]["predictor"], "default");
    let of = |figure: &serde_json::Value| figure["value"].as_f64().unwrap();
    let difference = of(&second["lift"]) - of(&first["lift"]);
    assert!((of(&second["versus"]["lift"]) - difference).abs() < 1e-9);
    let (_, out, _) = routerwise(
        folder.path(),
        &["evaluate", "scores.csv", "--by", "prompt", "--folds", "4"],
    );
    assert!(out.contains("points above the first"), "{out}");

    let both = ["evaluate", "scores.csv", "--folds", "4", "--held-out", "30"];
    let (code, _, err) = routerwise(folder.path(), &both);
    assert!(code == 2 && err.contains("--held-out"), "{err}");
    let by_source = ["evaluate", "scores.csv", "--folds", "4", "--by", "source"];
    let (code, _, err) = routerwise(folder.path(), &by_source);
    assert!(code == 2 && err.contains("`--by source` holds out sources"), "{err}");
}

#[test]
fn labels_by_chance_have_no_lift() {
    let folder = TempDir::new().unwrap();
    scores(folder.path(), true);
    let (_, found) = evaluation(folder.path(), &["--by", "prompt"]);
    for test in found["tests"].as_array().unwrap() {
        let bound = |end: &str| test["lift"][end].as_f64().unwrap();
        assert!(bound("low") <= 0.0 && bound("value") < 0.1, "{}", test["lift"]);
        assert_ne!(test["verdict"], "better");
    }
}

#[test]
fn a_predictor_is_not_judged_on_what_it_was_learned_from() {
    let folder = trained();
    let arguments = ["evaluate", "scores.csv", "--predictor", "predictor.rwp"];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("was learned from 300 of the 300 prompts"), "{err}");
    // The same prompts in other capitals are the same prompts; new ones are judged.
    let text = fs::read_to_string(folder.path().join("scores.csv")).unwrap();
    let lines: Vec<String> = text
        .lines()
        .enumerate()
        .map(|(i, line)| match i {
            0 => line.to_owned(),
            i if i < 100 => line.replace("about case", "about new case"),
            _ => line.replace("What does", "WHAT does"),
        })
        .collect();
    fs::write(folder.path().join("new.csv"), lines.join("\n")).unwrap();
    let arguments = ["evaluate", "new.csv", "--predictor", "predictor.rwp"];
    let (code, _, err) = routerwise(folder.path(), &arguments);
    assert!(code == 2 && err.contains("201 of the 300"), "{err}");
    let (code, out, _) = routerwise(folder.path(), &[&arguments[..], &["--drop-known"]].concat());
    assert!(code == 0 && out.contains("99"), "{out}");
}

#[test]
fn plans_on_predictions_say_what_they_really_score() {
    let folder = common::tiny();
    let scenario = folder.path().join("tiny");
    // Questions of two kinds for the models of the scenario; which model is right, the text says.
    let mut text = "prompt_id,prompt,score:small,score:large\n".to_owned();
    for i in 0..240_usize {
        let word = ["statute", "algebra"][i % 2];
        let noise = usize::from(i * 31 % 5 == 0);
        writeln!(
            text,
            "p{i},What does {word} say about case {i}?,{},{}",
            (i % 2) ^ noise,
            (i + 1) % 2
        )
        .unwrap();
    }
    fs::write(folder.path().join("measured.csv"), text).unwrap();
    let target = scenario.join("scores.csv");
    let arguments = ["train", "measured.csv", "--cross-fitted", target.to_str().unwrap()];
    let (code, _, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = routerwise(folder.path(), &["plan", "tiny", "--judge-on", "tiny/scores.csv"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        out.matches("Scores are predictions: on the 240 prompts").count(),
        2,
        "{out}"
    );
    let plan: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(scenario.join("plan.json")).unwrap()).unwrap();
    let figure = |name: &str| plan["realised"][0][name].as_f64().unwrap();
    let quality = plan["certificate"]["quality"].as_f64().unwrap();
    assert!(
        (figure("predicted") - quality).abs() < 0.01,
        "{quality} {}",
        figure("predicted")
    );
    assert!(figure("realised") > figure("static_mix"), "{}", plan["realised"]);
    let (code, _, err) = routerwise(folder.path(), &["verify", "tiny/plan.json"]);
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = routerwise(folder.path(), &["plan", "tiny", "--judge-on", "measured.csv"]);
    assert!(code == 2 && err.contains("predicted and measured"), "{err}");
}
