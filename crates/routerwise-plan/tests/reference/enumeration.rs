//! The slow and obvious planner: every setup, every placement, every convex piece of every flow, an LP each.

use microlp::{ComparisonOp, Error, LinearExpr, OptimizationDirection, Problem as Lp, SolveOutcome, Variable};
use routerwise_plan::flow::Flow;
use routerwise_plan::problem::{Candidate, Problem};

/// Best quality over all setups, or nothing when none meets its limits; rows read `Σ φ ≤ limit`.
pub(crate) fn best(problem: &Problem, limit: f64) -> Option<f64> {
    let mut best = None;
    let mut setup = Vec::new();
    visit(problem, limit, &mut setup, &mut best);
    best
}

fn visit<'a>(problem: &'a Problem, limit: f64, setup: &mut Vec<&'a Candidate>, best: &mut Option<f64>) {
    if setup.len() < problem.models.len() {
        for candidate in &problem.models[setup.len()].candidates {
            setup.push(candidate);
            visit(problem, limit, setup, best);
            setup.pop();
        }
        return;
    }
    let units: u32 = setup.iter().map(|candidate| candidate.units).sum();
    if problem.least_units <= units && units <= problem.all_units() && fits(problem, setup) {
        let levels = problem.traffic.weights.iter().enumerate();
        let of_level = |(level, weight): (usize, &f64)| Some(weight * at_level(problem, limit, setup, level)?);
        let found: Option<f64> = levels.map(of_level).sum();
        *best = best.iter().copied().chain(found).reduce(f64::max);
    }
}

/// All setups whose shards fit and which use enough.
pub(crate) fn packable_setups(problem: &Problem) -> Vec<Vec<&Candidate>> {
    let mut setups: Vec<Vec<&Candidate>> = vec![Vec::new()];
    for model in &problem.models {
        setups = setups
            .iter()
            .flat_map(|setup| {
                model.candidates.iter().map(move |candidate| {
                    let mut setup = setup.clone();
                    setup.push(candidate);
                    setup
                })
            })
            .collect();
    }
    setups.retain(|setup| {
        let units: u32 = setup.iter().map(|candidate| candidate.units).sum();
        problem.least_units <= units && units <= problem.all_units() && fits(problem, setup)
    });
    setups
}

/// Best quality of a setup at one load level.
fn at_level(problem: &Problem, limit: f64, setup: &[&Candidate], level: usize) -> Option<f64> {
    let own = |candidate: &&Candidate| Candidate {
        flow: candidate.flow_at(level).clone(),
        ..(*candidate).clone()
    };
    let setup: Vec<Candidate> = setup.iter().map(own).collect();
    let setup: Vec<&Candidate> = setup.iter().collect();
    let runs: Vec<Vec<(f64, f64)>> = setup.iter().map(|c| convex_runs(&c.flow, problem.rows.len())).collect();
    let mut best = None;
    pieces(problem, limit, &setup, &runs, &mut Vec::new(), &mut best);
    best
}

/// Every choice of one convex run per model.
fn pieces(
    problem: &Problem,
    limit: f64,
    setup: &[&Candidate],
    runs: &[Vec<(f64, f64)>],
    ranges: &mut Vec<(f64, f64)>,
    best: &mut Option<f64>,
) {
    let low: f64 = ranges.iter().map(|range| range.0).sum();
    if low > 1.0 {
        return;
    }
    if ranges.len() == setup.len() {
        let found = solve(problem, limit, setup, ranges);
        *best = best.iter().copied().chain(found).reduce(f64::max);
        return;
    }
    for run in &runs[ranges.len()] {
        ranges.push(*run);
        pieces(problem, limit, setup, runs, ranges, best);
        ranges.pop();
    }
}

/// Ranges of fractions on which the flow of every row is convex.
fn convex_runs(flow: &Flow, n_rows: usize) -> Vec<(f64, f64)> {
    let breaks = flow.breaks();
    let mut starts = vec![breaks[0]];
    for at in 1..breaks.len() - 1 {
        let falls = |row| {
            slope(flow, row, breaks[at - 1], breaks[at], breaks[at])
                > slope(flow, row, breaks[at], breaks[at + 1], breaks[at]) + 1e-9
        };
        if (0..n_rows).any(falls) {
            starts.push(breaks[at]);
        }
    }
    let ends = starts[1..].iter().copied().chain([flow.cap()]);
    starts.iter().copied().zip(ends).collect()
}

/// Slope of `φ` at `w` on the quadratic piece `from..to`, from three of its points.
fn slope(flow: &Flow, row: usize, from: f64, to: f64, w: f64) -> f64 {
    let width = to - from;
    if width < 1e-12 {
        return 0.0;
    }
    // `φ = w·(a + b·w)`: two interior points of `φ / w` give `a` and `b`.
    let (x, y) = (from + width / 3.0, from + 2.0 * width / 3.0);
    let (at_x, at_y) = (flow.at(row, x) / x, flow.at(row, y) / y);
    let b = (at_y - at_x) / (y - x);
    at_x + b * (2.0 * w - x)
}

/// `(value, slope)` of a supporting line of `φ` at `w` within a run.
fn tangent(flow: &Flow, row: usize, run: (f64, f64), w: f64) -> (f64, f64) {
    let piece = flow.breaks().windows(2).find(|ends| {
        let (low, high) = (ends[0].max(run.0), ends[1].min(run.1));
        high - low > 1e-12 && w <= high + 1e-15
    });
    let slope = piece.map_or(0.0, |ends| slope(flow, row, ends[0], ends[1], w));
    (flow.at(row, w), slope)
}

struct Cuts<'a> {
    setup: &'a [&'a Candidate],
    ranges: &'a [(f64, f64)],
    fractions: Vec<Variable>,
    /// `flows[row][model]`.
    flows: Vec<Vec<Variable>>,
}

impl Cuts<'_> {
    fn add(&self, lp: &mut Lp, row: usize, model: usize, w: f64) {
        let (value, slope) = tangent(&self.setup[model].flow, row, self.ranges[model], w);
        let mut line = LinearExpr::empty();
        line.add(self.flows[row][model], 1.0);
        // The LP solver refuses coefficients that are mere rounding.
        if slope.abs() > 1e-9 {
            line.add(self.fractions[model], -slope);
        }
        lp.add_constraint(line, ComparisonOp::Ge, value - slope * w);
    }
}

/// One LP: prompts shared out among models, fractions within their runs, flows above tangents that are refined where they are cut
/// short (Kelley).
fn solve(problem: &Problem, limit: f64, setup: &[&Candidate], ranges: &[(f64, f64)]) -> Option<f64> {
    let table = problem.table();
    let mut lp = Lp::new(OptimizationDirection::Maximize);
    let fractions: Vec<Variable> = ranges.iter().map(|range| lp.add_var(0.0, *range)).collect();
    let mut sums: Vec<LinearExpr> = fractions
        .iter()
        .map(|w| {
            let mut sum = LinearExpr::empty();
            sum.add(*w, -1.0);
            sum
        })
        .collect();
    for prompt in 0..table.n_rows() {
        let mut whole = LinearExpr::empty();
        for (model, sum) in sums.iter_mut().enumerate() {
            let part = lp.add_var(table.weight(prompt) * table.score(model, prompt), (0.0, 1.0));
            whole.add(part, 1.0);
            sum.add(part, table.weight(prompt));
        }
        lp.add_constraint(whole, ComparisonOp::Eq, 1.0);
    }
    for sum in sums {
        lp.add_constraint(sum, ComparisonOp::Eq, 0.0);
    }
    let mut flows = Vec::new();
    for _ in &problem.rows {
        let row: Vec<Variable> = setup.iter().map(|_| lp.add_var(0.0, (0.0, f64::INFINITY))).collect();
        let mut sum = LinearExpr::empty();
        row.iter().for_each(|flow| sum.add(*flow, 1.0));
        lp.add_constraint(sum, ComparisonOp::Le, limit);
        flows.push(row);
    }
    let cuts = Cuts {
        setup,
        ranges,
        fractions,
        flows,
    };
    for row in 0..problem.rows.len() {
        for (model, range) in ranges.iter().enumerate() {
            for w in [range.0, 0.5 * (range.0 + range.1), range.1] {
                cuts.add(&mut lp, row, model, w);
            }
        }
    }
    for _ in 0..200 {
        let solution = match lp.solve() {
            Ok(SolveOutcome::Solution(solution)) => solution,
            Ok(SolveOutcome::Interrupted(_)) => panic!("no limit was set"),
            Err(Error::Infeasible) => return None,
            Err(error) => panic!("the reference LP failed: {error}"),
        };
        let mut refined = false;
        for row in 0..problem.rows.len() {
            for (model, candidate) in setup.iter().enumerate() {
                let w = solution
                    .var_value(cuts.fractions[model])
                    .clamp(ranges[model].0, ranges[model].1);
                if candidate.flow.at(row, w) > solution.var_value(cuts.flows[row][model]) + 1e-7 {
                    cuts.add(&mut lp, row, model, w);
                    refined = true;
                }
            }
        }
        if !refined {
            return Some(solution.objective());
        }
    }
    panic!("200 rounds of tangents are plenty")
}

/// Whether the shards of all replicas fit, trying every set of GPUs for every replica.
fn fits(problem: &Problem, setup: &[&Candidate]) -> bool {
    let mut replicas = Vec::new();
    for candidate in setup {
        if let Some(c) = candidate.configuration {
            replicas.extend(std::iter::repeat_n(
                (
                    c.gpu_type_ix,
                    c.tensor_parallel as usize,
                    candidate.shard_units,
                    candidate.shard_memory.0,
                ),
                c.n_replicas as usize,
            ));
        }
    }
    let gpus = problem.cluster.gpus();
    let mut room: Vec<(u32, u64)> = gpus
        .map(|gpu| {
            (
                problem.units_per_gpu,
                problem.cluster.gpu_types[gpu.gpu_type_ix].usable_memory.0,
            )
        })
        .collect();
    place(problem, &replicas, &mut room)
}

fn place(problem: &Problem, replicas: &[(usize, usize, u32, u64)], room: &mut Vec<(u32, u64)>) -> bool {
    let Some((&(gpu_type_ix, n_shards, units, memory), rest)) = replicas.split_first() else {
        return true;
    };
    for group in problem.cluster.linked_groups(gpu_type_ix, n_shards) {
        for mask in 0u32..1 << group.len() {
            let gpus: Vec<usize> = (0..group.len())
                .filter(|bit| mask >> bit & 1 == 1)
                .map(|bit| group[bit])
                .collect();
            if gpus.len() != n_shards || gpus.iter().any(|gpu| room[*gpu].0 < units || room[*gpu].1 < memory) {
                continue;
            }
            let before = room.clone();
            gpus.iter()
                .for_each(|gpu| room[*gpu] = (room[*gpu].0 - units, room[*gpu].1 - memory));
            let placed = place(problem, rest, room);
            *room = before;
            if placed {
                return true;
            }
        }
    }
    false
}
