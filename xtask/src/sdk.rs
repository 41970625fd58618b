//! The OpenAI packages for Python and Node, for the tests that run them against the gateway: pinned, checked by hash, in `target/sdk`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, root, run, succeeds};

/// The variable that tells the tests where the packages are.
pub(crate) const VARIABLE: &str = "ROUTERWISE_SDK";

/// Gets the packages unless those that are pinned are there.
pub(crate) fn prepare() -> Result<PathBuf, Failure> {
    let pins = root().join("tests/sdk");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = target.join("sdk");
    let pinned = read(&pins.join("requirements.txt"))? + &read(&pins.join("package-lock.json"))?;
    let stamp = folder.join("pinned");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == pinned) {
        return Ok(folder);
    }
    let node = folder.join("node");
    let _ = fs::remove_dir_all(&folder);
    make(&node)?;
    python(&folder, &pins)?;
    for name in ["package.json", "package-lock.json"] {
        let copied = fs::copy(pins.join(name), node.join(name));
        copied.map_err(|error| Failure::Environment(format!("cannot copy {name}: {error}")))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    needs(npm.current_dir(&node), "nodejs and npm")?;
    fs::write(&stamp, pinned)
        .map_err(|error| Failure::Environment(format!("cannot write {}: {error}", stamp.display())))?;
    Ok(folder)
}

fn python(folder: &Path, pins: &Path) -> Result<(), Failure> {
    let venv = folder.join("venv");
    needs(Command::new("python3").args(["-m", "venv"]).arg(&venv), "python3-venv")?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--require-hashes",
        "--requirement",
    ]);
    needs(
        pip.arg(pins.join("requirements.txt")),
        "python3-venv, and a way to the package index",
    )
}

fn needs(command: &mut Command, packages: &str) -> Result<(), Failure> {
    let program = command.get_program().to_owned();
    let mut taken = Command::new(&program);
    taken.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        taken.current_dir(folder);
    }
    let mut version = Command::new(&program);
    version.arg("--version");
    if !succeeds(version) {
        let name = Path::new(&program)
            .file_name()
            .unwrap_or(&program)
            .display()
            .to_string();
        return Err(Failure::Environment(format!(
            "`{name}` does not start: the tests need {packages}"
        )));
    }
    run(taken).map_err(|failure| Failure::Environment(format!("{failure}: the tests need {packages}")))
}

fn make(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| Failure::Environment(format!("cannot make {}: {error}", folder.display())))
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::Environment(format!("cannot read {}: {error}", path.display())))
}
