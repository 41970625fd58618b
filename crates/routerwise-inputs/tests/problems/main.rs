//! What users are told about wrong inputs: the tiny scenario with something broken in it, and the message as it is rendered.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

// One test binary, so that Parquet is linked once.
mod cluster;
mod damage;
mod files;
mod level;
mod models;
mod objective;
mod profiles;
mod route;
mod scores;
mod workload;

use std::fs;
use std::path::Path;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use routerwise_inputs::{Loaded, Paths, Problem, Problems, load};
use tempfile::TempDir;

/// A copy of the tiny scenario that a test may change.
struct Folder(TempDir);

impl Folder {
    fn tiny() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/tiny");
        for name in ["cluster.toml", "models.toml", "workload.toml", "scores.csv"] {
            fs::copy(tiny.join(name), folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    /// Writes a file of the scenario.
    fn with(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Replaces a part of a file of the scenario.
    fn edited(self, name: &str, from: &str, to: &str) -> Self {
        let text = fs::read_to_string(self.0.path().join(name)).unwrap();
        assert!(text.contains(from), "{name} does not contain {from}");
        self.with(name, text.replacen(from, to, 1))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self) -> Result<Loaded, Problems> {
        load(&Paths::in_folder(self.path()))
    }

    /// The errors that loading reports, as a person sees them.
    fn errors(&self) -> String {
        match self.load() {
            Ok(_) => "no problem".to_owned(),
            Err(problems) => self.rendered(&problems.0),
        }
    }

    /// The warnings that loading leaves.
    fn warnings(&self) -> String {
        match self.load() {
            Ok(loaded) => self.rendered(&loaded.warnings),
            Err(problems) => format!("errors\n{}", self.rendered(&problems.0)),
        }
    }

    fn rendered(&self, problems: &[Problem]) -> String {
        let mut text = String::new();
        // Too wide to wrap, because the temporary folder's name has another length on every machine.
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(1000);
        for problem in problems {
            handler.render_report(&mut text, problem as &dyn Diagnostic).unwrap();
        }
        let folder = format!("{}/", self.path().display());
        let text = text.replace(&folder, "");
        let text = text.replace(&self.path().display().to_string(), "folder");
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

#[test]
fn the_tiny_scenario_is_right() {
    let loaded = Folder::tiny().load().unwrap();
    assert_eq!(loaded.scenario.cluster.n_gpus(), 2);
    assert_eq!(loaded.scenario.scores.n_prompts(), 20);
    assert_eq!(loaded.scenario.models[1].tensor_parallel, [1, 2]);
    assert!(loaded.warnings.is_empty());
}

/// The examples of the reference, put together, are a scenario.
#[test]
fn the_reference_shows_right_files() {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/inputs.md");
    let text = fs::read_to_string(reference).unwrap();
    let example = |heading: &str, language: &str| {
        let (_, section) = text.split_once(&format!("\n## {heading}")).unwrap();
        let (_, block) = section.split_once(&format!("```{language}\n")).unwrap();
        block.split_once("```").unwrap().0.to_owned()
    };
    let folder = Folder::tiny()
        .with("cluster.toml", example("cluster.toml", "toml"))
        .with("models.toml", example("models.toml", "toml"))
        .with("workload.toml", example("workload.toml", "toml"))
        .with("scores.csv", example("scores.parquet", "csv"));
    assert_eq!(folder.warnings(), "");
    assert_eq!(folder.load().unwrap().scenario.cluster.n_gpus(), 14);
}

#[test]
fn problems_of_all_files_are_reported_at_once() {
    let folder = Folder::tiny()
        .edited("cluster.toml", "gpus = 2", "gpus = 0\nprize = 3")
        .edited("models.toml", "max-replicas = 2", "max-replicas = \"two\"")
        .edited("workload.toml", "200 ms", "fast");
    insta::assert_snapshot!(folder.errors(), @r#"
     × `gpus` of the node `node` is 0
      ╭─[cluster.toml:6:8]
    5 │ gpu = "a100-80gb-sxm"
    6 │ gpus = 0
      ·        ┬
      ·        ╰── declared here
    7 │ prize = 3
      ╰────
     help: write a whole number from 1 to 72
     × the node `node` has an unknown key `prize`
      ╭─[cluster.toml:7:1]
    6 │ gpus = 0
    7 │ prize = 3
      · ──┬──
      ·   ╰── unknown key
      ╰────
     help: known here: `count`, `gpu`, `gpu-price-per-hour`, `gpus`, `interconnect`, `name`
     × `max-replicas` of the model `small` is the text "two"
      ╭─[models.toml:5:16]
    4 │ share-step = "50 %"
    5 │ max-replicas = "two"
      ·                ──┬──
      ·                  ╰── declared here
    6 │
      ╰────
     help: write a whole number from 1 to 10000
     × `target` of the `slo` of the file is the text "fast"
      ╭─[workload.toml:6:10]
    5 │ metric = "ttft"
    6 │ target = "fast"
      ·          ───┬──
      ·             ╰── declared here
      ╰────
     help: write a time above 0, such as "250 ms" or "1.5 s" (with its unit)
    "#);
}
