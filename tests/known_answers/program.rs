//! From `hilberg source` to `hilberg measure`, as a person would type it.

use super::*;
use std::path::Path;
use std::process::Command;

/// Runs the program in a folder and reads the JSON that it prints.
fn hilberg(folder: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_hilberg")).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn draw_plant_measure() {
    for process in [vec!["--process", "santa-fe", "--facts", "30"], vec!["--process", "markov", "--matrix", "0.9,0.1;0.4,0.6"]] {
        let folder = tempfile::tempdir().unwrap();
        let of = |head: &[&str], tail: &[&str]| hilberg(folder.path(), &[head, &process, tail, &["--json"]].concat());
        let splits = ["--splits", "4,8,16,32,64"];
        of(&["source", "draw"], &["--documents", "200", "--length", "160", "--seed", "111", "--out", "texts.npy"]);
        of(&["source", "plant"], &["--positions", "128", "--out", "planted"]);
        let known = of(&["source", "exact"], &splits);
        let measured = hilberg(
            folder.path(),
            &[&["measure", "-m", "planted", "texts.npy", "--chunks", "200", "--estimators", "direct,vclub", "--out", "out", "--quiet", "--json"], &splits[..]]
                .concat(),
        );
        assert!(folder.path().join("out/figure.svg").exists() && folder.path().join("out/result.csv").exists());
        let analysis = &measured["models"][0]["analysis"];
        assert_eq!(analysis["groups"], 100);
        let checks: Vec<Check> = analysis["points"]
            .as_array()
            .unwrap()
            .iter()
            .map(|point| {
                let point: Point = serde_json::from_value(point.clone()).unwrap();
                let known = known.as_array().unwrap().iter().find(|k| k["split"] == point.split && k["ratio"] == point.ratio).unwrap();
                Check { want: known[point.estimator.name()]["value"].as_f64().unwrap(), upper: false, point }
            })
            .collect();
        assert_eq!(checks.len(), 10);
        hold(&checks);
    }
}
