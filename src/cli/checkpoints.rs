//! Folders of checkpoints: `-m run` for `-m run/step-1000 -m run/step-2000 …`.

use crate::error::{Error, Result};
use crate::report::compare::step_of;
use std::fs;
use std::path::{Path, PathBuf};

/// Model folders as they were named, and in place of a folder that is no model but holds some these, by the steps in their names, then by name.
///
/// # Errors
/// What the system refuses.
pub fn expanded(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut out = Vec::with_capacity(given.len());
    for folder in given {
        let within = if folder.is_dir() && !is_model(folder) { models_in(folder)? } else { Vec::new() };
        // A folder that holds none is refused where it is opened, with what it lacks.
        if within.is_empty() { out.push(folder.clone()) } else { out.extend(within) }
    }
    Ok(out)
}

fn is_model(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

fn models_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if is_model(&path) {
            let name = path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
            found.push((step_of(&name).unwrap_or(u64::MAX), name, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, _, path)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_taken_by_step() {
        let root = tempfile::tempdir().unwrap();
        let model = |name: &str| {
            let folder = root.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("config.json"), "{}").unwrap();
            folder
        };
        let single = model("single");
        let steps = ["run/step-1000", "run/step-200", "run/final", "run/step-90"].map(model);
        fs::create_dir(root.path().join("run/logs")).unwrap();
        let [thousand, two_hundred, end, ninety] = steps;
        let run = root.path().join("run");
        assert_eq!(expanded(&[single.clone(), run]).unwrap(), [single, ninety, two_hundred, thousand, end]);
        let none = [root.path().join("run/logs"), root.path().join("absent")];
        assert_eq!(expanded(&none).unwrap(), none);
    }
}
