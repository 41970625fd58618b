#!/usr/bin/env python3
"""Makes docs/predictors.md: what predictors are worth on sets of scores that the user has."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("ROUTERWISE", ROOT / "target/release/routerwise"))
PUBLISHER = BINARY.parent / "examples/published_scores"
PAGE = ROOT / "docs/predictors.md"
TRIAL = ROOT / "scenarios/study-modern"

# Three sizes of each set, or two where it has no more: columns of scores for models of the trial scenario.
SIZES = {
    "mmlupro-cot": {
        "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
        "mixtral-8x7b": "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "llama-3.1-70b": "meta-llama/Llama-3.1-70B-Instruct",
    },
    "openllm-v2": {
        "llama-3.1-8b": "google/gemma-2-9b-it",
        "mixtral-8x7b": "mistralai/Mixtral-8x7B-Instruct-v0.1",
        "llama-3.1-70b": "meta-llama/Meta-Llama-3.1-70B-Instruct",
    },
    "hwrouter": {
        "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
        "mixtral-8x7b": "mistralai/Mistral-7B-Instruct-v0.3",
        "llama-3.1-70b": "Qwen/Qwen2.5-14B-Instruct",
    },
    "zeroeval": {
        "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
        "llama-3.1-70b": "meta-llama/Llama-3.1-70B-Instruct",
    },
    "routerbench-part": {
        "llama-3.1-8b": "mistralai/mistral-7b-chat",
        "mixtral-8x7b": "mistralai/mixtral-8x7b-chat",
        "llama-3.1-70b": "meta/llama-2-70b-chat",
    },
}
# Predictions that come with a set, for one without texts.
PUBLISHED = {"hwrouter": "irt"}
RATE = "40"


def run(*arguments, binary=BINARY):
    done = subprocess.run([str(binary), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode > 1:
        sys.exit(f"{binary.name} {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def percent(interval):
    return f"{100 * interval['value']:.1f} % ({100 * interval['low']:.1f} to {100 * interval['high']:.1f})"


def points(interval):
    return f"{100 * interval['value']:+.1f} ({100 * interval['low']:+.1f} to {100 * interval['high']:+.1f})"


BY = {"prompt": "prompt", "source": "source", "given": "as published"}


def evaluated(scores, name, options):
    """Rows of the table of one set, how near `default` comes to the best, and what was left out."""
    # Predictions that come with a set are few enough.
    more = [] if name in PUBLISHED else ["--sample", options.sample, "--folds", 5]
    if options.embeddings:
        more += ["--embeddings", options.embeddings, "--embeddings-tokens", options.tokens]
    if options.cache:
        more += ["--embeddings-cache", options.cache]
    found = json.loads(run("evaluate", scores, "--format", "json", *more))
    rows = []
    for test in found["tests"]:
        models = test["models"]
        aucs = [model["auc"] for model in models if model["auc"] is not None]
        promised = [mix["predicted"] - mix["quality"] for mix in test["mixes"]]
        cells = [
            name,
            f"{len(models)}",
            f"`{test['predictor']}`",
            BY[test["split"]],
            f"{test['n_test']}",
            percent(test["lift"]),
            points(test["versus"]["lift"]) if test.get("versus") else "",
            f"{test['gain']['value']:+.4f}",
            percent(test["deferral"]["area"]),
            f"{sum(aucs) / max(len(aucs), 1):.3f}",
            f"{sum(model['ece'] for model in models) / len(models):.3f}",
            f"{sum(promised) / len(promised):+.4f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows, nearest(found["tests"], name), [f"- {name}: {note}." for note in found["left_out"]]


def nearest(tests, name):
    """For each way to hold out: the best of ours, and by how much `default` is behind it."""
    rows = []
    for split in ("prompt", "source"):
        of_split = {test["predictor"]: test for test in tests if test["split"] == split}
        lift = {predictor: 100 * test["lift"]["value"] for predictor, test in of_split.items()}
        if "default" in lift:
            best = max(lift, key=lift.get)
            behind = lift[best] - lift["default"]
            # The first of its split, so that all others are compared with it.
            interval = points(of_split[best]["versus"]["lift"]) if best != "default" else "-"
            met = "yes" if behind <= 1.0 else "no"
            cells = [name, split, f"`{best}`", f"{lift[best]:.1f} %", f"{lift['default']:.1f} %", interval, met]
            rows.append("| " + " | ".join(cells) + " |")
    return rows


def models_file(columns):
    """The trial scenario's models, those of the set alone, with the set's columns."""
    blocks = (TRIAL / "models.toml").read_text().split("[[model]]")
    kept = []
    for block in blocks[1:]:
        lines = block.splitlines()
        name = next(line.split('"')[1] for line in lines if line.startswith("name"))
        if name in columns:
            lines = [f'scores = "{columns[name]}"' if line.startswith("scores") else line for line in lines]
            kept.append("[[model]]" + "\n".join(lines))
    return "\n".join(kept) + "\n"


def planned(data, name, folder):
    """Plans of one set on true, cross-fitted and in-sample scores."""
    columns = SIZES[name]
    scenario = folder / name
    scenario.mkdir()
    (scenario / "models.toml").write_text(models_file(columns))
    shutil.copy(TRIAL / "cluster.toml", scenario)
    text = (TRIAL / "workload.toml").read_text().replace("../demo/", f"{ROOT}/scenarios/demo/")
    (scenario / "workload.toml").write_text(text)
    scores = data / name / "scores.parquet"
    only = [part for column in columns.values() for part in ("--model", column)]
    fitted, sample = scenario / "fitted.parquet", scenario / "sample.parquet"
    if name in PUBLISHED:
        # Plans on true scores are for the same prompts, those that have predictions.
        all_scores, scores = scores, scenario / "measured.parquet"
        run(all_scores, PUBLISHED[name], fitted, scores, binary=PUBLISHER)
    else:
        run("train", scores, *only, "-o", scenario / "p.rwp", "--cross-fitted", fitted)
        run("score", scenario / "p.rwp", "--prompts", scores, "--out", sample)
    run("profile", "--simulate", scenario, "--scores", scores)

    def plan(table, *more):
        arguments = ["--scores", table, "--rate", RATE, "--out", scenario / "plan.json", "--format", "json", *more]
        return json.loads(run("plan", scenario, *arguments))

    true = plan(scores)["certificate"]["quality"]
    honest = plan(fitted)["realised"][0]
    if name in PUBLISHED:
        by, flattered = f"{PUBLISHED[name]} (published)", ["-", "-"]
    else:
        judged = plan(sample, "--judge-on", fitted)["realised"]
        by, flattered = "default", [f"{judged[0]['predicted']:.4f}", f"{judged[1]['realised']:.4f}"]
    cells = [
        name,
        f"{len(columns)}",
        f"`{by}`",
        f"{true:.4f}",
        f"{honest['predicted']:.4f}",
        f"{honest['realised']:.4f}",
        f"{honest['static_mix']:.4f}",
        f"{true - honest['realised']:.4f}",
        *flattered,
    ]
    return "| " + " | ".join(cells) + " |"


def put(name, text):
    """Replaces what stands between two markers of the page."""
    page = PAGE.read_text()
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = page.split(start)
    PAGE.write_text(before + start + text + rest[rest.index(end) :])


TESTS = """\
| set | models | predictor | held out by | prompts | lift (95 % interval) | points above the first | gain | deferral area | AUC | calibration error | promised too much |
|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""
NEAREST = """\
| set | held out by | best of ours | its lift | lift of `default` | points behind (95 % interval) | within one point |
|---|---|---|---:|---:|---:|---|
"""
PLANS = """\
| set | models | predictor | plan on true scores | on predictions: promised | really | by chance, same fractions | lost | on in-sample predictions: promised | really |
|---|---:|---|---:|---:|---:|---:|---:|---:|---:|
"""


def asked():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=pathlib.Path, help="folder with one folder per set, each with scores.parquet")
    parser.add_argument("--sample", type=int, default=1_000_000, help="tests use at most so many prompts of a set")
    parser.add_argument("--embeddings", help="also judge heads on these embeddings: a folder or the URL of an endpoint")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a prompt that are embedded")
    parser.add_argument("--cache", help="file that keeps embeddings")
    parser.add_argument("--only", choices=["tests", "plans"], help="make one of the two parts")
    return parser.parse_args()


def main():
    options = asked()
    found = sorted((path.stat().st_size, path.parent.name) for path in options.data.glob("*/scores.parquet"))
    rows, behind, notes, lines = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _, name in found:
            # Written after every set, so that an interrupted run leaves what it found.
            if options.only != "plans":
                print(f"judging predictors on {name}", file=sys.stderr)
                of_set = evaluated(options.data / name / "scores.parquet", name, options)
                rows += of_set[0]
                behind += of_set[1]
                notes += of_set[2]
                put("tests", TESTS + "\n".join(rows) + "\n\nLeft out:\n\n" + "\n".join(notes) + "\n")
                put("nearest", NEAREST + "\n".join(behind) + "\n")
            if options.only != "tests" and name in SIZES:
                print(f"planning on {name}", file=sys.stderr)
                lines.append(planned(options.data, name, pathlib.Path(folder)))
                put("plans", PLANS + "\n".join(lines) + "\n")


main()
