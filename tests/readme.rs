//! The pages tell the truth about the command line: every command in README.md and docs/*.md parses, and the blocks that are marked
//! `<!-- test: run -->` run, from first to last, in a folder that has nothing but `assets`. `<!-- test: run with --chunks 8 -->` replaces
//! the values of the options it names, where a page's own numbers would take too long here.
#![cfg(unix)]

use clap::Parser;
use hilberg::cli::Cli;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|e| e.unwrap().path());
    let mut pages: Vec<_> = docs.filter(|p| p.extension().is_some_and(|e| e == "md")).collect();
    pages.sort();
    pages.insert(0, root().join("README.md"));
    pages
}

/// A block of shell lines, and what its page says of running it.
struct Block {
    lines: Vec<String>,
    /// `None`: only parsed. Otherwise the options whose values are replaced, empty for none.
    run: Option<Vec<String>>,
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let (mut blocks, mut run, mut inside): (Vec<Block>, _, _) = (Vec::new(), None, false);
    for line in text.lines() {
        if let Some(mark) = line.strip_prefix("<!-- test: run").and_then(|rest| rest.strip_suffix("-->")) {
            run = Some(words(mark.trim().strip_prefix("with").unwrap_or("")));
        } else if line == "```sh" {
            inside = true;
            blocks.push(Block { lines: Vec::new(), run: run.take() });
        } else if line.starts_with("```") {
            inside = false;
        } else if inside {
            blocks.last_mut().unwrap().lines.push(line.to_string());
        }
    }
    assert!(!inside && run.is_none(), "{}: a block without an end, or a mark without a block", page.display());
    blocks
}

/// A shell line's words: quotes, no expansions.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote): (Vec<String>, Option<String>, Option<char>) = (Vec::new(), None, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert!(quote.is_none(), "an open quote in {line}");
    words.extend(word);
    words
}

/// The arguments after the program's name and where its output goes, if the line calls this program.
fn arguments(line: &str) -> Option<(Vec<String>, Option<String>)> {
    let rest = line.strip_prefix("cargo run --release -- ").or_else(|| line.strip_prefix("hilberg "))?;
    let mut args = words(rest);
    let to = args.iter().position(|w| w == ">").map(|at| args.split_off(at)[1].clone());
    Some((args, to))
}

/// Gives each option named in `replacements` (name, value, …) the value that follows its name there; every one must be among `args`.
fn replace(args: &mut [String], replacements: &[String]) {
    for pair in replacements.chunks(2) {
        let at = args.iter().position(|a| *a == pair[0]).unwrap_or_else(|| panic!("no {} in {args:?}", pair[0]));
        args[at + 1] = pair[1].clone();
    }
}

#[test]
fn every_command_parses() {
    let mut seen = 0;
    for page in pages() {
        for line in blocks(&page).iter().flat_map(|b| &b.lines) {
            assert!(!line.ends_with('\\'), "{}: one command, one line: {line}", page.display());
            if let Some((args, _)) = arguments(line) {
                let parsed = Cli::try_parse_from(std::iter::once("hilberg".to_string()).chain(args));
                assert!(parsed.is_ok(), "{}: {line}\n{}", page.display(), parsed.unwrap_err());
                seen += 1;
            }
        }
    }
    assert!(seen > 15, "only {seen} commands were found: the pages are not read as they should be");
}

#[test]
fn marked_blocks_run() {
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("assets"), folder.path().join("assets")).unwrap();
    let mut ran = 0;
    for page in pages() {
        for block in blocks(&page) {
            let Some(replacements) = &block.run else { continue };
            for line in &block.lines {
                let (mut command, to) = match arguments(line) {
                    Some((mut args, to)) => {
                        replace(&mut args, replacements);
                        let mut command = Command::new(env!("CARGO_BIN_EXE_hilberg"));
                        command.args(args);
                        (command, to)
                    }
                    None => {
                        let mut shell = Command::new("sh");
                        shell.args(["-c", line]);
                        (shell, None)
                    }
                };
                let output = command.current_dir(folder.path()).output().unwrap();
                assert!(output.status.success(), "{}: {line}\n{}", page.display(), String::from_utf8_lossy(&output.stderr));
                if let Some(name) = to {
                    fs::write(folder.path().join(name), &output.stdout).unwrap();
                }
                ran += 1;
            }
        }
    }
    assert!(ran > 8, "only {ran} commands ran");
    for file in ["result.json", "result.csv", "figure.png", "figure.svg", "run.json", "plan.json"] {
        assert!(folder.path().join("hilberg-out").join(file).is_file(), "the main command wrote no {file}");
    }
    // The known answer that the page promises, at all three splits at once with more than 99.8 %: 1 − 3 · 2Φ(−3.5), the standard errors being
    // those of 200 groups.
    let result: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("markov-out/result.json")).unwrap()).unwrap();
    let points = result["models"][0]["analysis"]["points"].as_array().unwrap();
    for p in points.iter().filter(|p| p["estimator"] == "direct") {
        let (value, se) = (p["value"].as_f64().unwrap(), p["se"].as_f64().unwrap());
        assert!((value - 0.252991).abs() < 3.5 * se, "direct at {}: {value} ± {se}", p["split"]);
    }
}
