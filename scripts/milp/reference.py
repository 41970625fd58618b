#!/usr/bin/env python3
"""Compares RouterWise with HiGHS, a general solver, on the same planning problems.

    cargo run --release -p routerwise --example export -- 3-on-4 3-on-4.json
    python3 scripts/milp/reference.py 3-on-4.json

Each problem is solved twice: with flows never above the true ones (relaxed) and never below (restricted). The true optimum lies between
what HiGHS finds for the restricted problem and what it proves for the relaxed one. Exit code 1: the two disagree; 2: a file is wrong.
"""

import argparse
import json
import math
import sys
import time

import highspy

from model import build

SCHEMA = 1
# What HiGHS may overstep its rows by (1e-7 each, with prices of a few) and what rounding adds.
SLACK = 2e-6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="JSON that the export example wrote")
    parser.add_argument("--error", type=float, default=1e-4, help="most that a flow is off, relative to its limit (1e-4)")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for each of the two solves (120)")
    parser.add_argument("--threads", type=int, default=1, help="threads for HiGHS (1, as RouterWise)")
    parser.add_argument("--fixed", action="store_true", help="fix RouterWise's setup: to see where a difference comes from")
    options = parser.parse_args()
    agreed = True
    # HiGHS introduces itself once, whatever its options: before the table.
    settle(highspy.Highs(), options).run()
    print("| case | size | HiGHS: optimum within | width | time | RouterWise: quality to bound | gap | time | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for file in options.files:
        agreed &= compare(read(file), options)
    return 0 if agreed else 1


def read(file):
    try:
        with open(file, encoding="utf-8") as opened:
            problem = json.load(opened)
    except (OSError, ValueError) as error:
        fail(f"{file}: {error}")
    if problem.get("schema") != SCHEMA:
        fail(f"{file}: schema {problem.get('schema')}, this script reads {SCHEMA}: export it anew")
    return problem


def fail(message):
    print(message, file=sys.stderr)
    sys.exit(2)


def compare(problem, options):
    plan = problem["routerwise"]["plan"]
    fixed = plan["candidates"] if options.fixed and plan else None
    restricted = solve(build(problem, options.error, relaxed=False, fixed=fixed), options)
    relaxed = solve(build(problem, options.error, relaxed=True, fixed=fixed), options)
    low, high = restricted["found"], relaxed["proven"]
    verdict = judge(plan, low, high, fixed is not None)
    seconds = restricted["seconds"] + relaxed["seconds"]
    open_ = "" if restricted["closed"] and relaxed["closed"] else " (time limit)"
    ours = f"{plan['quality']:.6f} to {plan['bound']:.6f} | {plan['gap']:.1e}" if plan else "no plan | "
    # Narrower than HiGHS keeps its rows, the two ends may come out in the wrong order.
    bracket = f"{low:.6f} to {high:.6f} | {max(high - low, 0.0):.1e}"
    size = f"{relaxed['columns']} columns, {relaxed['integers']} integer"
    print(
        f"| {problem['name']} | {size} | {bracket} | {seconds:.1f} s{open_} | {ours} | "
        f"{problem['routerwise']['seconds']:.3f} s | {verdict} |",
        flush=True,
    )
    return verdict in ("same optimum", "overlap")


def judge(plan, low, high, fixed):
    """What the two intervals say of each other."""
    if plan is None:
        return "**RouterWise has no plan**" if low > -math.inf else "overlap"
    if plan["quality"] > high + SLACK:
        return "**RouterWise's quality lies above HiGHS's bound**"
    if not fixed and plan["bound"] < low - SLACK:
        return "**RouterWise's bound lies below HiGHS's plan**"
    # Each proves the other's plan best, as far as either can tell.
    near = max(high - low, 0.0) + plan["gap"] <= 1e-3
    return "same optimum" if near else "overlap"


def settle(highs, options):
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", options.threads)
    highs.setOptionValue("time_limit", options.time_limit)
    highs.setOptionValue("mip_rel_gap", 1e-6)
    highs.setOptionValue("mip_abs_gap", 1e-7)
    highs.setOptionValue("primal_feasibility_tolerance", 1e-7)
    highs.setOptionValue("mip_feasibility_tolerance", 1e-7)
    return highs


def solve(highs, options):
    settle(highs, options)
    start = time.monotonic()
    if highs.run() == highspy.HighsStatus.kError:
        fail("HiGHS ended with an error")
    seconds = time.monotonic() - start
    status, info = highs.getModelStatus(), highs.getInfo()
    infeasible = status in (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible)
    has_solution = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    lp = highs.getLp()
    return {
        "seconds": seconds,
        "closed": infeasible or status == highspy.HighsModelStatus.kOptimal,
        "found": info.objective_function_value if has_solution else -math.inf,
        "proven": -math.inf if infeasible else min(info.mip_dual_bound, 1.0),
        "columns": lp.num_col_,
        "integers": sum(kind == highspy.HighsVarType.kInteger for kind in lp.integrality_),
    }


if __name__ == "__main__":
    sys.exit(main())
