//! Who may know whom, how long a file may be, and what may end the process: read off the source.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that everyone may know, and the crate's re-exports of them.
const EVERYONE: &[&str] = &["activation", "error", "files", "tensor", "rng", "Error", "Result"];

/// Plain types that are named where their module may not be known.
const PLAIN: &[(&str, &str)] = &[("forest", "TokenId"), ("corpus", "Fingerprint"), ("corpus", "Unit"), ("model", "HistoryState"), ("model", "StoredState")];

/// Who may know whom. A part of the house that is not listed may know nobody.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("cli", &["backend", "bench", "context", "corpus", "engine", "estimate", "forest", "measure", "model", "pairs", "report", "score", "source"]),
    ("report", &["context", "estimate", "measure", "source"]),
    ("source", &["engine", "model", "estimate", "forest"]),
    ("measure", &["engine", "forest", "corpus", "estimate"]),
    // Journal, pace and progress are a measurement's.
    ("context", &["engine", "forest", "corpus", "estimate", "measure"]),
    ("score", &["engine", "forest", "corpus", "estimate"]),
    // Counts of pairs are what two-point estimates are made of.
    ("pairs", &["estimate"]),
    ("engine", &["forest", "model", "backend"]),
    ("bench", &["backend", "forest", "model"]),
    ("backend", &["forest"]),
];

/// Twins behind the backend's trait, which never know each other.
const TWINS: &[&str] = &["cpu", "reference", "cuda"];

const LONGEST: usize = 500;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below a folder with one of the endings, in name order.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() { walk(&path, out) } else { out.push(path) }
        }
    }
    let mut out = Vec::new();
    walk(&root().join(folder), &mut out);
    out.retain(|p| p.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e)));
    out.sort();
    out
}

fn said(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// A source file: its module's path, and its lines without comments and without unit tests, numbered from 1.
struct Source {
    name: String,
    module: Vec<String>,
    lines: Vec<(usize, String)>,
}

/// The crate's own code. Files that only tests are made of are left out, as are the tests at the end of the others.
fn sources() -> Vec<Source> {
    let all = files("src", &["rs"]);
    let mut of_tests = Vec::new();
    let mut sources = Vec::new();
    for path in &all {
        let text = fs::read_to_string(path).unwrap();
        let mut module: Vec<String> = path.strip_prefix(root().join("src")).unwrap().with_extension("").iter().map(|c| c.to_str().unwrap().into()).collect();
        if ["mod", "lib", "main"].contains(&module.last().unwrap().as_str()) {
            module.pop();
        }
        let mut lines = Vec::new();
        let mut test_next = false;
        for (n, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap().trim();
            if test_next && code.starts_with("mod ") {
                if code.ends_with('{') {
                    break;
                }
                of_tests.push([&module[..], &[code["mod ".len()..].trim_end_matches(';').to_string()]].concat());
                test_next = false;
                continue;
            }
            test_next = code == "#[cfg(test)]";
            lines.push((n + 1, code.to_string()));
        }
        sources.push(Source { name: said(path), module, lines });
    }
    sources.retain(|s| !of_tests.iter().any(|t| s.module.starts_with(t)));
    sources
}

/// The paths that a line of code names from the crate's root on, at most three steps of each: `crate::a::b::c` and what `super` leads to.
fn paths(module: &[String], code: &str) -> Vec<Vec<String>> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            // A `super` after another is part of that one's path.
            if before.is_some_and(|c| word(c) || c == ':' || c == '$') {
                continue;
            }
            let mut rest = &code[at..];
            let mut path: Vec<String> = if start == "crate::" { Vec::new() } else { module.to_vec() };
            rest = rest.strip_prefix("crate::").unwrap_or(rest);
            while let Some(r) = rest.strip_prefix("super::") {
                path.pop();
                rest = r;
            }
            // A braced list is one path an entry.
            let heads: Vec<&str> = match rest.strip_prefix('{') {
                Some(list) => {
                    assert!(list.contains('}'), "a list that goes on in the next line is not read: {code}");
                    list.split('}').next().unwrap().split(',').map(str::trim).collect()
                }
                None => vec![rest],
            };
            for head in heads {
                let head = head.split(|c| !word(c) && c != ':').next().unwrap_or_default();
                let steps = head.split("::").filter(|s| !s.is_empty()).take(3);
                out.push(path.iter().cloned().chain(steps.map(String::from)).collect());
            }
        }
    }
    out
}

fn allowed(from: &[String], to: &[String]) -> bool {
    let step = |path: &[String], n: usize| path.get(n).cloned().unwrap_or_default();
    let (here, there) = (step(from, 0), step(to, 0));
    if EVERYONE.contains(&there.as_str()) || PLAIN.contains(&(there.as_str(), step(to, 1).as_str())) {
        return true;
    }
    if here == "backend" && there == "backend" {
        let twin = |path: &[String]| TWINS.iter().find(|t| **t == step(path, 1)).copied();
        return twin(to).is_none() || twin(from) == twin(to);
    }
    if here == there {
        return true;
    }
    // The front page and the front door.
    if here.is_empty() {
        return true;
    }
    MAY_KNOW.iter().any(|(who, whom)| *who == here && whom.contains(&there.as_str()))
}

#[test]
fn everyone_knows_only_whom_it_may() {
    let mut wrong = Vec::new();
    let mut arrows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources() {
        for (n, code) in &source.lines {
            for path in paths(&source.module, code) {
                if path.is_empty() {
                    continue;
                }
                if !allowed(&source.module, &path) {
                    wrong.push(format!("{}:{n}: {}", source.name, path.join("::")));
                }
                let here = source.module.first().cloned().unwrap_or_default();
                if here != path[0] && !EVERYONE.contains(&path[0].as_str()) {
                    let known = arrows.entry(here).or_default();
                    if !known.contains(&path[0]) {
                        known.push(path[0].clone());
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that the design does not have:\n{}", wrong.join("\n"));
    // The reading itself works: these arrows are there.
    for (from, to) in [("cli", "measure"), ("measure", "engine"), ("engine", "backend"), ("backend", "forest"), ("report", "estimate")] {
        assert!(arrows[from].iter().any(|t| t == to), "{from} -> {to} was not found in {arrows:?}");
    }
}

#[test]
fn paths_are_read() {
    let module = |m: &str| m.split("::").map(String::from).collect::<Vec<_>>();
    let read = |m: &str, code: &str| paths(&module(m), code).into_iter().map(|p| p.join("::")).collect::<Vec<_>>();
    assert_eq!(read("a::b", "use crate::c::{D, e};"), ["c"]);
    assert_eq!(read("a::b", "use crate::{c::D, e};"), ["c::D", "e"]);
    assert_eq!(read("a::b", "use super::c::D; x(super::super::e::f(1))"), ["a::c::D", "e::f"]);
    assert_eq!(read("a", "use super::*;"), [""]);
    let not = |from: &str, to: &str| !allowed(&module(from), &module(to));
    assert!(not("backend::cpu::gemm", "backend::reference::Mat") && not("backend::cpu", "model::Rope") && not("forest", "corpus"));
    assert!(not("model::families::llama", "engine::Engine") && not("estimate", "measure") && not("engine", "corpus::Chunk"));
    assert!(allowed(&module("backend::cpu::gemm"), &module("backend::cpu::Mat")) && allowed(&module("backend::reference"), &module("backend::GemmOp")));
}

#[test]
fn files_are_short() {
    let all = ["src", "tests", "benches", "tools", "kernels"].into_iter().flat_map(|folder| files(folder, &["rs", "py", "sh", "cu", "cuh", "cpp", "h"]));
    let long: Vec<String> = all
        .map(|p| (said(&p), fs::read_to_string(&p).unwrap().lines().count()))
        .filter(|(_, n)| *n > LONGEST)
        .map(|(p, n)| format!("{p}: {n} lines"))
        .collect();
    assert!(long.is_empty(), "files past {LONGEST} lines; split them by concept:\n{}", long.join("\n"));
}

#[test]
fn nothing_ends_the_process_but_a_broken_invariant() {
    let (mut wrong, mut stated) = (Vec::new(), Vec::new());
    for source in sources() {
        for (n, code) in &source.lines {
            let place = format!("{}:{n}: {code}", source.name);
            // A signal's last word is that file's business.
            let signals = source.name == "src/cli/signals.rs" && code.contains("process::exit");
            if !signals && [".unwrap()", "panic!", "todo!", "unimplemented!", "unreachable!()", "process::exit"].iter().any(|w| code.contains(w)) {
                wrong.push(place);
            } else if code.contains(".expect(\"") || code.contains("unreachable!(\"") {
                stated.push(place);
            } else if code.match_indices(".expect(").any(|(at, w)| !code[at + w.len()..].starts_with('\'')) {
                // A parser's own `expect` takes a character.
                wrong.push(place);
            }
        }
    }
    println!("invariants that the code states:\n{}", stated.join("\n"));
    assert!(wrong.is_empty(), "an error must be a sentence, not the end of the process:\n{}", wrong.join("\n"));
}
