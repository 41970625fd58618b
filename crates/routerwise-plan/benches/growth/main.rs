//! How time, gap and memory of a plan grow with models, GPUs, prompts and configurations, one at a time around a middle.
//!
//! `cargo bench -p routerwise-plan --bench growth [-- [case] [--svg <file>]]` prints a table and draws it (`target/growth.svg`). Each case
//! runs in a process of its own, so that its peak memory is its own. Fails where a gap is wider than it was.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a table of results, with the clock and the memory of each process"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

mod cases;
mod drawing;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use cases::{Case, Factor};
use routerwise_plan::problem::Problem;

/// Makes this process run one case and print its numbers.
const ONE: &str = "--one";

/// What one case took and found.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) n_candidates: f64,
    /// User time of the process over building the problem and planning.
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    /// Peak of the process, and what the scenario by itself needed.
    pub(crate) megabytes: f64,
    pub(crate) scenario_megabytes: f64,
    pub(crate) found: Option<Found>,
}

#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) quality: f64,
    pub(crate) gap: f64,
    pub(crate) n_solved: f64,
    pub(crate) n_packed: f64,
    pub(crate) n_evaluations: f64,
}

impl Found {
    /// The gap as a part of the quality.
    pub(crate) fn part(&self) -> f64 {
        self.gap / self.quality
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [ONE, name] => {
            println!("{}", run(&find(name)));
            ExitCode::SUCCESS
        }
        ["--svg", file] => all("", Path::new(file)),
        [wanted, "--svg", file] | ["--svg", file, wanted] => all(wanted, Path::new(file)),
        [] => all("", Path::new("target/growth.svg")),
        [wanted] => all(wanted, Path::new("target/growth.svg")),
        _ => panic!("usage: growth [case] [--svg <file>]"),
    }
}

fn find(name: &str) -> Case {
    let mut all = cases::all().into_iter();
    all.find(|case| case.name() == name).expect("the parent names a case")
}

fn all(wanted: &str, svg: &Path) -> ExitCode {
    println!(
        "| case | candidates | CPU s | wall s | MB (scenario) | quality | gap | of quality | solved | packed | evaluations |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut results: Vec<(Case, Measured)> = Vec::new();
    let mut wrong = Vec::new();
    for case in cases::all().into_iter().filter(|case| case.name().contains(wanted)) {
        // The middle is a point of every series; it is measured once.
        let known = results.iter().find(|(other, _)| other.same_fleet(&case));
        let measured = known.map_or_else(|| in_a_process(&case.name()), |(_, measured)| measured.clone());
        println!("{}", line(&case, &measured));
        wrong.extend(complaint(&case, &measured));
        results.push((case, measured));
    }
    let file = workspace().join(svg);
    drawing::write(&results, &file).expect("the folder of the drawing exists and can be written");
    println!("\ndrawn to {}", svg.display());
    for complaint in &wrong {
        println!("FAILED {complaint}");
    }
    if wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Benchmarks run in the folder of their crate; the person who started them stands in the workspace.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn line(case: &Case, measured: &Measured) -> String {
    let Measured {
        n_candidates,
        cpu_seconds,
        wall_seconds,
        megabytes,
        scenario_megabytes,
        found,
    } = measured;
    let costs = format!(
        "| {} | {n_candidates} | {cpu_seconds:.2} | {wall_seconds:.2} | {megabytes:.0} ({scenario_megabytes:.0})",
        case.name()
    );
    let Some(found) = found else {
        return format!("{costs} | no plan | | | | | |");
    };
    format!(
        "{costs} | {:.4} | {:.1e} | {:.2} % | {} | {} | {} |",
        found.quality,
        found.gap,
        100.0 * found.part(),
        found.n_solved,
        found.n_packed,
        found.n_evaluations
    )
}

fn complaint(case: &Case, measured: &Measured) -> Option<String> {
    let name = case.name();
    match (&measured.found, case.widest) {
        (None, None) => None,
        (None, Some(_)) => Some(format!("{name}: no plan")),
        (Some(found), widest) => {
            let part = found.part();
            (part > widest.unwrap_or(f64::INFINITY)).then(|| format!("{name}: a gap of {:.3} %", 100.0 * part))
        }
    }
}

fn in_a_process(name: &str) -> Measured {
    let own = std::env::current_exe().expect("a running program has a file");
    let done = Command::new(own)
        .args([ONE, name])
        .output()
        .expect("it was started before");
    assert!(
        done.status.success(),
        "{name} failed: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    let text = String::from_utf8(done.stdout).expect("numbers");
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(|word| word.parse().expect("a number"))
        .collect();
    let found = |rest: &[f64]| Found {
        quality: rest[0],
        gap: rest[1],
        n_solved: rest[2],
        n_packed: rest[3],
        n_evaluations: rest[4],
    };
    Measured {
        n_candidates: numbers[0],
        cpu_seconds: numbers[1],
        wall_seconds: numbers[2],
        megabytes: numbers[3],
        scenario_megabytes: numbers[4],
        found: (numbers.len() == 10).then(|| found(&numbers[5..])),
    }
}

/// The numbers of [`Measured`], in its order.
fn run(case: &Case) -> String {
    let scenario = case.fleet().scenario();
    let scenario_megabytes = peak_megabytes();
    let (start, cpu) = (Instant::now(), user_seconds());
    let problem = Problem::new(&scenario).expect("the synthetic scenario is complete");
    let plan = routerwise_plan::solve(&scenario, &problem, None);
    let (wall_seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), user_seconds() - cpu);
    let n_candidates: usize = problem.models.iter().map(|model| model.candidates.len()).sum();
    let costs = format!(
        "{n_candidates} {cpu_seconds} {wall_seconds} {} {scenario_megabytes}",
        peak_megabytes()
    );
    plan.map_or(costs.clone(), |plan| {
        let c = &plan.certificate;
        format!(
            "{costs} {} {} {} {} {}",
            c.quality.value(),
            c.gap,
            c.setups_solved,
            c.setups_packed,
            c.evaluations
        )
    })
}

/// Most memory that this process has held, in MB.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok())
        .map_or(f64::NAN, |kb| kb / 1024.0)
}

/// User time of this process in seconds: other work on the machine does not count. In steps of 10 ms.
fn user_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name, in brackets, may hold blanks; `utime` is the twelfth field after it.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after
        .split_whitespace()
        .nth(11)
        .and_then(|field| field.parse::<f64>().ok());
    ticks.map_or(f64::NAN, |ticks| ticks / TICKS_PER_SECOND)
}

/// The series that a case belongs to, and where on it.
pub(crate) fn place(case: &Case, measured: &Measured) -> (Factor, f64) {
    match case.factor {
        Factor::Candidates => (case.factor, measured.n_candidates),
        Factor::Models | Factor::Gpus | Factor::Prompts => (case.factor, support::as_f64(case.value())),
    }
}
