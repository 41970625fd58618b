#!/usr/bin/env python3
"""Makes docs/predictors.md: what predictors are worth on sets of scores that the user has."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("ROUTERWISE", ROOT / "target/release/routerwise"))
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
RATE = "40"
# Bytes from which `--quick` holds out by prompt only.
LARGE = 1_000_000


def run(*arguments):
    done = subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode > 1:
        sys.exit(f"routerwise {' '.join(map(str, arguments))}\n{done.stderr}")
    return done.stdout


def percent(interval):
    return f"{100 * interval['value']:.1f} % ({100 * interval['low']:.1f} to {100 * interval['high']:.1f})"


def evaluated(data, name, quick):
    """Rows of the table of one set, and what was left out."""
    scores = data / name / "scores.parquet"
    is_large = quick and scores.stat().st_size > LARGE
    more = ["--by", "prompt"] if is_large else []
    found = json.loads(run("evaluate", scores, "--format", "json", *more))
    if is_large:
        found["left_out"].append("by source, for want of time")
    rows = []
    for test in found["tests"]:
        models = test["models"]
        aucs = [model["auc"] for model in models if model["auc"] is not None]
        promised = [mix["predicted"] - mix["quality"] for mix in test["mixes"]]
        by = {"prompt": "prompt", "source": "source", "given": "as published"}[test["split"]]
        cells = [
            name,
            f"{len(models)}",
            f"`{test['predictor']}`",
            by,
            f"{test['n_test']}",
            percent(test["lift"]),
            f"{test['gain']['value']:+.4f}",
            percent(test["deferral"]["area"]),
            f"{sum(aucs) / max(len(aucs), 1):.3f}",
            f"{sum(model['ece'] for model in models) / len(models):.3f}",
            f"{sum(promised) / len(promised):+.4f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows, [f"- {name}: {note}." for note in found["left_out"]]


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
    run("train", scores, *only, "-o", scenario / "p.rwp", "--cross-fitted", fitted)
    run("score", scenario / "p.rwp", "--prompts", scores, "--out", sample)
    run("profile", "--simulate", scenario, "--scores", scores)

    def plan(table, *more):
        arguments = ["--scores", table, "--rate", RATE, "--out", scenario / "plan.json", "--format", "json", *more]
        return json.loads(run("plan", scenario, *arguments))

    true = plan(scores)["certificate"]["quality"]
    honest = plan(fitted)["realised"][0]
    flattered = plan(sample, "--judge-on", fitted)["realised"]
    cells = [
        name,
        f"{len(columns)}",
        f"{true:.4f}",
        f"{honest['predicted']:.4f}",
        f"{honest['realised']:.4f}",
        f"{honest['static_mix']:.4f}",
        f"{true - honest['realised']:.4f}",
        f"{flattered[0]['predicted']:.4f}",
        f"{flattered[1]['realised']:.4f}",
    ]
    return "| " + " | ".join(cells) + " |"


def put(name, text):
    """Replaces what stands between two markers of the page."""
    page = PAGE.read_text()
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = page.split(start)
    PAGE.write_text(before + start + text + rest[rest.index(end) :])


TESTS = """\
| set | models | predictor | held out by | prompts | lift (95 % interval) | gain | deferral area | AUC | calibration error | promised too much |
|---|---:|---|---|---:|---:|---:|---:|---:|---:|---:|
"""
PLANS = """\
| set | models | plan on true scores | on predictions: promised | really | by chance, same fractions | lost | on in-sample predictions: promised | really |
|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--quick"]
    if len(arguments) != 1:
        sys.exit(__doc__ + "\nusage: table.py [--quick] <folder with one folder per set>")
    data = pathlib.Path(arguments[0])
    found = sorted((path.stat().st_size, path.parent.name) for path in data.glob("*/scores.parquet"))
    sets = [name for _, name in found]
    rows, notes, lines = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in sets:
            print(f"judging predictors on {name}", file=sys.stderr)
            of_set = evaluated(data, name, "--quick" in sys.argv)
            rows += of_set[0]
            notes += of_set[1]
            # Written after every set, so that an interrupted run leaves what it found.
            put("tests", TESTS + "\n".join(rows) + "\n\nLeft out:\n\n" + "\n".join(notes) + "\n")
            if name in SIZES:
                print(f"planning on {name}", file=sys.stderr)
                lines.append(planned(data, name, pathlib.Path(folder)))
                put("plans", PLANS + "\n".join(lines) + "\n")


main()
