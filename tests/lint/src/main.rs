//! `make lint`: prints every violation of the workspace's structure, and fails if there is one.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use kubedos_lint::{Structure, Workspace, violations};

fn main() -> ExitCode {
    match run() {
        Ok(found) if found.is_empty() => ExitCode::SUCCESS,
        Ok(found) => {
            found.iter().for_each(|violation| eprintln!("error: {violation}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: failed to check the structure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(&root)
        .output()?;
    if !metadata.status.success() {
        return Err(String::from_utf8_lossy(&metadata.stderr).into());
    }
    let structure = Structure::parse(&std::fs::read_to_string(root.join("tests/lint/structure.toml"))?)?;
    Ok(violations(&Workspace::read(&root, &metadata.stdout)?, &structure))
}
