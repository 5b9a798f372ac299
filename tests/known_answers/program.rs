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

/// Models of different memory on the same texts: the figure is drawn, and the Mamba's points are those of its two facts.
#[test]
fn condition() {
    let folder = tempfile::tempdir().unwrap();
    let facts = ["--process", "santa-fe", "--facts", "30"];
    let source = |head: &[&str], tail: &[&str]| hilberg(folder.path(), &[&["source"], head, &facts, tail, &["--json"]].concat());
    source(&["draw"], &["--documents", "120", "--length", "160", "--seed", "136", "--out", "texts.npy"]);
    source(&["plant"], &["--positions", "128", "--out", "llama"]);
    source(&["plant"], &["--state", "4", "--out", "mamba"]);
    let run = ["measure", "-m", "llama", "-m", "mamba", "texts.npy", "--chunks", "120", "--estimators", "direct", "--splits", "4,16,64", "--quiet", "--json"];
    let measured = hilberg(folder.path(), &run);
    let known = source(&["exact"], &["--state", "4", "--splits", "4,16,64", "--estimators", "direct"]);
    let points: Vec<Point> = serde_json::from_value(measured["models"][1]["analysis"]["points"].clone()).unwrap();
    let check = |(point, known): (Point, &serde_json::Value)| Check { point, want: known["direct"]["value"].as_f64().unwrap(), upper: false };
    let mut checks: Vec<Check> = points.into_iter().zip(known.as_array().unwrap()).map(check).collect();
    let full = checks.pop().unwrap();
    hold(&checks);
    // Both facts are in both parts of all texts, and what is left of an error is that of 64 predictions on either side, each within 1e-5 nats.
    assert!((full.point.value - full.want).abs() < 2.0 * 64.0 * 1e-5 && full.want > 1.999 * std::f64::consts::LN_2, "{:?}, not {}", full.point, full.want);
    let figure = |arguments: &[&str]| {
        let all = [&["source", "figure", "hilberg-out", "-m", "llama"], arguments].concat();
        Command::new(env!("CARGO_BIN_EXE_hilberg")).args(all).current_dir(folder.path()).output().unwrap()
    };
    assert!(figure(&["-m", "mamba", "--out", "condition.svg"]).status.success());
    let svg = std::fs::read_to_string(folder.path().join("condition.svg")).unwrap();
    assert!(svg.contains("S = 4 (2 facts): dim z = 10") && svg.contains("Llama: dim z = 128 t"), "{svg}");
    for (wrong, says) in [(&["--out", "condition.pdf"][..], "condition.pdf"), (&["-m", "texts.npy", "--out", "x.png"], "texts.npy")] {
        let refused = figure(wrong);
        assert!(refused.status.code() == Some(2) && String::from_utf8_lossy(&refused.stderr).contains(says));
    }
}
