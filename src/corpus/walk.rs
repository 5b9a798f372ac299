//! Folders and patterns to the files that they stand for.

use crate::error::{Error, Result};
use glob::{MatchOptions, Pattern};
use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// What a folder or pattern stands for.
pub(super) struct Found {
    /// The files, by the bytes of their paths; each real file once.
    pub files: Vec<PathBuf>,
    /// Links to files and folders that are among the others anyway.
    pub links: usize,
}

/// Files below `folder`, at any depth, hidden ones left out; `enter` and `take` say of paths relative to it which folders are looked into and which files are wanted.
///
/// Every real folder is walked once: those that lie there first, and then, in the order of their paths, those that a symbolic link leads to.
fn walk(folder: &Path, enter: impl Fn(&Path) -> bool, take: impl Fn(&Path) -> bool) -> Result<Found> {
    let (mut files, mut file_links, mut links) = (Vec::new(), Vec::new(), 0);
    let mut walked = BTreeSet::new();
    let mut queue = VecDeque::from([folder.to_path_buf()]);
    while let Some(root) = queue.pop_front() {
        let mut led_to = Vec::new();
        let mut stack = vec![root];
        while let Some(here) = stack.pop() {
            if !walked.insert(fs::canonicalize(&here).map_err(Error::io(&here))?) {
                links += 1;
                continue;
            }
            for entry in fs::read_dir(&here).map_err(Error::io(&here))? {
                let entry = entry.map_err(Error::io(&here))?;
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let path = entry.path();
                let is_link = entry.file_type().map_err(Error::io(&path))?.is_symlink();
                let meta = fs::metadata(&path).map_err(Error::io(&path))?;
                let below = path.strip_prefix(folder).unwrap_or(&path);
                if meta.is_dir() && enter(below) {
                    if is_link { led_to.push(path) } else { stack.push(path) }
                } else if meta.is_file() && take(below) {
                    if is_link { file_links.push(path) } else { files.push(path) }
                }
            }
        }
        sort(&mut led_to);
        queue.extend(led_to);
    }
    let mut real = BTreeSet::new();
    sort(&mut file_links);
    let mut unique = Vec::with_capacity(files.len());
    for path in files.into_iter().chain(file_links) {
        if real.insert(fs::canonicalize(&path).map_err(Error::io(&path))?) { unique.push(path) } else { links += 1 }
    }
    sort(&mut unique);
    Ok(Found { files: unique, links })
}

fn sort(paths: &mut [PathBuf]) {
    paths.sort_by(|a, b| a.as_os_str().as_encoded_bytes().cmp(b.as_os_str().as_encoded_bytes()));
}

/// All files below a folder.
pub(super) fn folder(path: &Path) -> Result<Found> {
    walk(path, |_| true, |_| true)
}

/// Whether an argument that names no file may be a pattern.
pub(super) fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().iter().any(|b| b"*?[".contains(b))
}

/// The files that a pattern of the shell's kind matches, and those below the folders that it matches: `*`, `?`, `[a-z]` within a name, `**` for any number of
/// folders. Also the folder that the pattern's fixed beginning names, which takes the part of an argument.
///
/// # Errors
/// No pattern; a folder that is not there.
pub(super) fn pattern(path: &Path) -> Result<(PathBuf, Found)> {
    let no = |what: String| Error::file(path, what);
    let (mut base, mut steps) = (PathBuf::new(), Vec::new());
    for part in path.components() {
        if steps.is_empty() && !is_pattern(part.as_os_str().as_ref()) {
            base.push(part);
            continue;
        }
        let name = match part {
            Component::Normal(name) => name.to_str().ok_or_else(|| no("is not UTF-8, which patterns must be".into()))?,
            _ => return Err(no("has .. behind a pattern".into())),
        };
        let step = Pattern::new(name).map_err(|e| no(format!("is no pattern: {}", e.msg)))?;
        steps.push((name == "**", step));
    }
    let root = if base.as_os_str().is_empty() { Path::new(".") } else { &base };
    // As in the shell, a separator or a leading dot is only matched by itself.
    let options = MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let names = |below: &Path| below.iter().map(|n| n.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let enter = |below: &Path| {
        let names = names(below);
        let fixed = steps.iter().zip(&names).take_while(|((any, _), _)| !any);
        fixed.into_iter().all(|((_, step), name)| step.matches_with(name, options))
    };
    let take = |below: &Path| {
        let names = names(below);
        // A folder that matches stands for all that is in it.
        (1..=names.len()).any(|n| matches(&steps, &names[..n], options))
    };
    let found = walk(root, enter, take)?;
    // The folder's own name is no part of what the paths start with where none was given.
    let files = found.files.into_iter().map(|f| f.strip_prefix("./").map(Path::to_path_buf).unwrap_or(f)).collect();
    Ok((base, Found { files, ..found }))
}

/// Whether the names match step by step; a `**` (first of a pair) takes any number of names.
fn matches(steps: &[(bool, Pattern)], names: &[String], options: MatchOptions) -> bool {
    match steps.split_first() {
        None => names.is_empty(),
        Some(((true, _), rest)) => (0..=names.len()).any(|n| matches(rest, &names[n..], options)),
        Some(((false, step), rest)) => names.split_first().is_some_and(|(name, more)| step.matches_with(name, options) && matches(rest, more, options)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join("d").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        dir
    }

    fn names(dir: &tempfile::TempDir, found: Found) -> Vec<String> {
        found.files.iter().map(|f| f.strip_prefix(dir.path().join("d")).unwrap().to_str().unwrap().to_string()).collect()
    }

    #[test]
    fn patterns_are_those_of_the_shell() {
        let dir = tree(&["a.txt", "b.txt", "b.md", ".h.txt", "x/a.txt", "x/y/a.txt", "x/y/z/c.txt", "z/.g/a.txt"]);
        let say = |p: &str| {
            let (base, found) = pattern(&dir.path().join("d").join(p)).unwrap();
            assert_eq!(
                base,
                dir.path().join("d").join(p.split_inclusive('/').take_while(|s| !is_pattern(s.as_ref())).collect::<String>().trim_end_matches('/'))
            );
            names(&dir, found)
        };
        assert_eq!(say("*.txt"), ["a.txt", "b.txt"]);
        assert_eq!(say("[b-c].*"), ["b.md", "b.txt"]);
        assert_eq!(say("**/a.txt"), ["a.txt", "x/a.txt", "x/y/a.txt"]);
        assert_eq!(say("*/a.txt"), ["x/a.txt"]);
        assert_eq!(say("x/?"), ["x/y/a.txt", "x/y/z/c.txt"]);
        assert_eq!(say("x/**/c*"), ["x/y/z/c.txt"]);
        assert_eq!(say("**"), ["a.txt", "b.md", "b.txt", "x/a.txt", "x/y/a.txt", "x/y/z/c.txt"]);
        assert_eq!(say("*.jsonl"), [] as [&str; 0]);
        assert!(pattern("x/[a".as_ref()).err().unwrap().to_string().contains("x/[a: is no pattern"));
        assert!(pattern("*/../a".as_ref()).is_err() && pattern("nowhere/*.txt".as_ref()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn links_are_walked_once() {
        use std::os::unix::fs::symlink;
        let dir = tree(&["a/x.txt", "b/y.txt"]);
        let d = dir.path().join("d");
        // Every folder links to every other and to the top, a file to a file: paths without end, and factorially many without a repetition.
        for from in ["a", "b"] {
            for (name, to) in [("1", "a"), ("2", "b"), ("3", "")] {
                symlink(d.join(to), d.join(from).join(name)).unwrap();
            }
        }
        symlink(d.join("a/x.txt"), d.join("0.txt")).unwrap();
        let outside = tree(&["o.txt"]);
        symlink(outside.path().join("d"), d.join("out")).unwrap();
        let found = folder(&d).unwrap();
        assert_eq!(found.links, 7);
        assert_eq!(names(&dir, found), ["a/x.txt", "b/y.txt", "out/o.txt"]);
        symlink(d.join("gone"), d.join("broken")).unwrap();
        assert!(folder(&d).err().unwrap().to_string().contains("broken: "));
    }
}
