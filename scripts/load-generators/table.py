"""Both load generators' requests in one table: python3 table.py FOLDER"""

import json
import pathlib
import statistics
import sys

STUDENT = 2.093  # 97.5 % quantile with 19 degrees of freedom


def mean_and_interval(values):
    """Mean and half width of its 95 % interval by the means of 20 batches, as `routerwise bench` has it."""
    n = len(values)
    batches = [statistics.fmean(values[n * i // 20 : n * (i + 1) // 20]) for i in range(20)]
    return statistics.fmean(values), STUDENT * statistics.stdev(batches) / 20**0.5


def ours(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    lines.sort(key=lambda line: line["arrival_s"])
    for line in lines:
        if line["error"] is None:
            sent = line["sent_s"]
            yield sent, sent - line["arrival_s"], line["first_token_s"] - sent, line["end_s"] - sent, line["input_tokens"]


def aiperfs(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines.sort(key=lambda line: line["metadata"]["request_start_ns"])
    for line in lines:
        if not line.get("error"):
            metrics = line["metrics"]
            value = lambda name: metrics[name]["value"]
            sent = line["metadata"]["request_start_ns"] * 1e-9
            yield (
                sent,
                sent - line["metadata"]["credit_issued_ns"] * 1e-9,
                value("time_to_first_token") * 1e-3,
                value("request_latency") * 1e-3,
                value("input_sequence_length"),
            )


def row(name, requests):
    starts, lags, ttfts, e2es, tokens = zip(*requests)
    rate = (len(starts) - 1) / (starts[-1] - starts[0])
    ttft, e2e = mean_and_interval(ttfts), mean_and_interval(e2es)
    return (
        f"| {name} | {len(starts)} | {rate:.3f} | {1e3 * statistics.fmean(lags):.1f} ms | {1e3 * ttft[0]:.1f} ± {1e3 * ttft[1]:.1f} ms "
        f"| {1e3 * e2e[0]:.0f} ± {1e3 * e2e[1]:.0f} ms | {statistics.fmean(tokens):.0f} |"
    )


folder = pathlib.Path(sys.argv[1])
print("| rate, round | load generator | requests | requests/s | sent late by | mean TTFT from sending | mean E2E from sending | tokens in |")
print("|---|---|---|---|---|---|---|---|")
for path in sorted(folder.glob("*-routerwise.jsonl")):
    run = path.name.removesuffix("-routerwise.jsonl")
    print(f"| {run.replace('-', ' /s, ')} " + row("routerwise bench", ours(path)))
    print(f"| {run.replace('-', ' /s, ')} " + row("aiperf", aiperfs(folder / f"{run}-aiperf" / "profile_export.jsonl")))
