"""A planning problem as a mixed-integer linear program for HiGHS."""

import highspy
import numpy as np

from flows import Flow, points


# HiGHS leaves out smaller coefficients, with a warning.
ZERO = 1e-9


class Rows:
    """Columns and rows in the order in which they are made; handed to HiGHS in one go."""

    def __init__(self):
        self.cost, self.upper, self.integer = [], [], []
        self.low, self.high, self.start, self.index, self.value = [], [], [0], [], []

    def column(self, upper, cost=0.0, integer=False):
        self.cost.append(cost)
        self.upper.append(upper)
        self.integer.append(integer)
        return len(self.cost) - 1

    def row(self, low, high, terms):
        for column, value in terms:
            if abs(value) > ZERO:
                self.index.append(column)
                self.value.append(value)
        self.start.append(len(self.index))
        self.low.append(low)
        self.high.append(high)

    def solver(self):
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.cost), len(self.low)
        lp.sense_ = highspy.ObjSense.kMaximize
        lp.col_cost_, lp.col_lower_ = np.array(self.cost), np.zeros(len(self.cost))
        lp.col_upper_ = np.array(self.upper, dtype=float)
        lp.row_lower_, lp.row_upper_ = np.array(self.low, dtype=float), np.array(self.high, dtype=float)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_ = np.array(self.start), np.array(self.index)
        lp.a_matrix_.value_ = np.array(self.value)
        kinds = [highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger]
        lp.integrality_ = [kinds[integer] for integer in self.integer]
        highs = highspy.Highs()
        highs.setOptionValue("output_flag", False)
        highs.passModel(lp)
        return highs


def build(problem, error, relaxed, fixed=None):
    """Maximise quality over setups, placements and routings. With `fixed`, one candidate per model is given."""
    rows = Rows()
    used = [{} for _ in problem["models"]]
    for i, model in enumerate(problem["models"]):
        for c, candidate in enumerate(model["candidates"]):
            if fixed is None or fixed[i] == c:
                used[i][c] = rows.column(1.0, integer=True)
        rows.row(1.0, 1.0, [(column, 1.0) for column in used[i].values()])
    place(rows, problem, used)
    for level, weight in enumerate(problem["level_weights"]):
        route(rows, problem, used, level, weight, error, relaxed)
    return rows.solver()


def route(rows, problem, used, level, weight, error, relaxed):
    """One load level: prompts shared out, fractions and flows as mixtures of points of the candidate that runs."""
    models = problem["models"]
    limits = [[] for _ in range(problem["n_rows"])]
    fractions = []
    for i, model in enumerate(models):
        fraction = []
        for c, column in used[i].items():
            if model["candidates"][c] is None:
                continue
            chosen = [(column, -1.0)]
            for run in Flow(model["candidates"][c]["flows"][level]).runs():
                run_used = [(rows.column(1.0, integer=True), -1.0)]
                chosen.append((run_used[0][0], 1.0))
                for w, flow in points(run, error, relaxed):
                    mixed = rows.column(1.0)
                    run_used.append((mixed, 1.0))
                    fraction.append((mixed, w))
                    for limit, phi in zip(limits, flow):
                        limit.append((mixed, phi))
                rows.row(0.0, 0.0, run_used)
            rows.row(0.0, 0.0, chosen)
        fractions.append(fraction)
    for limit in limits:
        rows.row(-highspy.kHighsInf, 1.0, limit)
    scores, sizes = alike(problem)
    routed = [[] for _ in models]
    for score, size in zip(scores, sizes):
        # What part of all prompts are of this kind and go to model i.
        columns = [rows.column(size, cost=weight * s) for s in score]
        rows.row(size, size, [(column, 1.0) for column in columns])
        for i, column in enumerate(columns):
            routed[i].append((column, 1.0))
    for fraction, columns in zip(fractions, routed):
        rows.row(0.0, 0.0, columns + [(column, -w) for column, w in fraction])


def alike(problem):
    """Prompts with the same scores are one prompt of their joint weight."""
    scores = np.array([model["scores"] for model in problem["models"]]).T
    kinds, which = np.unique(scores, axis=0, return_inverse=True)
    return kinds.tolist(), np.bincount(which.ravel(), weights=problem["weights"]).tolist()


def place(rows, problem, used):
    """Shards onto GPUs: replicas per linked group, shards per GPU.

    Of `r` replicas with `t` shards each in one group, a GPU may hold at most `r` shards; as long as the shards are `r t` in all, dealing
    them out round the group puts those of one replica on distinct GPUs. So counts are enough, and exact.
    """
    nodes, first = problem["nodes"], 0
    gpus = []
    for node in nodes:
        gpus.append(range(first, first + node["n_gpus"]))
        first += node["n_gpus"]
    share, memory = [[] for _ in range(first)], [[] for _ in range(first)]
    all_units = []
    for i, model in enumerate(problem["models"]):
        kinds = {}
        for c, column in used[i].items():
            candidate = model["candidates"][c]
            if candidate is None:
                continue
            kind = tuple(candidate[key] for key in ("gpu_type_ix", "tensor_parallel", "shard_units", "shard_memory"))
            kinds.setdefault(kind, []).append((column, candidate["n_replicas"]))
            all_units.append((column, candidate["n_replicas"] * kind[1] * kind[2]))
        for (gpu_type, degree, units, size), wanted in kinds.items():
            most = max(n for _, n in wanted)
            placed = [(column, -float(n)) for column, n in wanted]
            for group in linked(nodes, gpus, gpu_type, degree):
                replicas = rows.column(most, integer=True)
                placed.append((replicas, 1.0))
                shards = [(rows.column(most, integer=True), g) for g in group]
                rows.row(0.0, 0.0, [(column, 1.0) for column, _ in shards] + [(replicas, -float(degree))])
                for column, g in shards:
                    if degree > 1:
                        rows.row(-highspy.kHighsInf, 0.0, [(column, 1.0), (replicas, -1.0)])
                    share[g].append((column, float(units)))
                    memory[g].append((column, float(size)))
            rows.row(0.0, 0.0, placed)
    if problem["least_units"] > 0:
        rows.row(problem["least_units"], highspy.kHighsInf, all_units)
    for node, ids in zip(nodes, gpus):
        for g in ids:
            rows.row(-highspy.kHighsInf, problem["units_per_gpu"], share[g])
            # In parts of a GPU's memory, so that the numbers are of one size.
            rows.row(-highspy.kHighsInf, 1.0, [(column, size / node["memory"]) for column, size in memory[g]])
        tell_apart(rows, node, ids, share)


def linked(nodes, gpus, gpu_type, degree):
    """Sets of GPUs within which a replica's shards may lie."""
    for node, ids in zip(nodes, gpus):
        if node["gpu_type_ix"] != gpu_type:
            continue
        width = 2 if node["links"] == "nvlink-pairs" and degree == 2 else len(ids)
        for start in range(0, len(ids), width):
            group = ids[start : start + width]
            if len(group) >= degree:
                yield group


def tell_apart(rows, node, ids, share):
    """GPUs of a node are alike: the earlier one holds at least as much share. Of bridged pairs only the two within a pair are."""
    step = 2 if node["links"] == "nvlink-pairs" else 1
    for g in list(ids)[: len(ids) - 1 : step]:
        rows.row(0.0, highspy.kHighsInf, share[g] + [(column, -units) for column, units in share[g + 1]])
