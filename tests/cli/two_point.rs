//! `hilberg two-point`: what it counts, what it writes, what it refuses, and how it goes on.

#![cfg(unix)]

use super::faults::{signal, wait_until};
use super::*;
use std::thread::sleep;
use std::time::Duration;

const FILES: [&str; 4] = ["result.json", "result.csv", "figure.png", "figure.svg"];

/// Information of a distance by an estimator.
fn nats(result: &Value, distance: u64, estimator: &str) -> f64 {
    let point = result["points"].as_array().unwrap().iter().find(|p| p["distance"] == distance).unwrap();
    point["values"].as_array().unwrap().iter().find(|v| v["estimator"] == estimator).unwrap()["nats"].as_f64().unwrap()
}

#[test]
fn units_and_formats() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    // a b a b …: a symbol tells the next one, and is told by it.
    fs::write(at("letters.txt"), "ab".repeat(500)).unwrap();
    fs::write(at("bases.fa"), format!(">one\n{}\n>two\n{}\n", "AC".repeat(200), "CA".repeat(300))).unwrap();
    fs::write(
        at("words.jsonl"),
        format!("{}\n{}\n", serde_json::json!({"text": "be not ".repeat(300)}), serde_json::json!({"text": "not\u{a0}be\n".repeat(200)})),
    )
    .unwrap();
    let words_tokenizer = at("tokenizer.json");
    words(&words_tokenizer, 400);
    fs::write(at("tokens.jsonl"), serde_json::json!({"text": "w1 w2 ".repeat(300)}).to_string()).unwrap();
    let tokenizer = words_tokenizer.to_str().unwrap().to_string();
    let runs: [(&str, Vec<&str>); 4] = [
        ("letters.txt", vec!["--unit", "bytes"]),
        ("bases.fa", vec!["--unit", "bytes"]),
        ("words.jsonl", vec!["--unit", "words"]),
        ("tokens.jsonl", vec!["--tokenizer", &tokenizer]),
    ];
    for (file, options) in runs {
        let result = told_json(args!["two-point", "--quiet", "--json", at(file), "--distances", "1,2"; options]);
        // N − 1 pairs of two kinds as even as can be: the plug-in is ln 2 within (1/N)² of it.
        for d in [1, 2] {
            let got = nats(&result, d, "plug-in");
            assert!((got - std::f64::consts::LN_2).abs() < 1e-4, "{file} at {d}: {got}");
        }
        assert_eq!(result["distinct_tokens"], 2, "{file}");
        assert_eq!(
            result["unit"],
            if file == "words.jsonl" {
                "words"
            } else if file == "tokens.jsonl" {
                "tokens"
            } else {
                "bytes"
            }
        );
    }
    let table = told(args!["two-point", "--quiet", at("bases.fa"), "--unit", "bytes", "--distances", "1,2,4"]);
    assert!(table.starts_with("bases.fa: 2 documents in 2 folds, 1000 bytes, 2 different\n") && table.contains("too few documents"), "{table}");
    // Default distances end where documents do.
    let result = told_json(args!["two-point", "--quiet", "--json", at("bases.fa"), "--unit", "bytes", "--no-baseline"]);
    let distances: Vec<u64> = result["points"].as_array().unwrap().iter().map(|p| p["distance"].as_u64().unwrap()).collect();
    assert_eq!(distances, (0..10).map(|k| 1 << k).collect::<Vec<_>>());
    assert!(result["points"][0]["values"][0]["shuffled"].is_null());
    let said = hilberg(args!["two-point", "--json", at("letters.txt"), "--unit", "bytes", "--distances", "3,5000,1000"]);
    assert_eq!(said.status, Some(0));
    assert!(said.err.contains("note: no document is longer than 1000 bytes"), "{}", said.err);
}

/// What is printed, what is written and what another reading of the counts gives agree.
#[test]
fn results_in_a_folder() {
    let (folder, corpus) = small();
    let out = folder.path().join("out");
    let run = |more: &[&str]| args!["two-point", "--quiet", corpus, "--out", out; more];
    let printed = told(run(&["--json"]));
    assert_eq!(printed, fs::read_to_string(out.join("result.json")).unwrap());
    let result: Value = serde_json::from_str(&printed).unwrap();
    let csv = fs::read_to_string(out.join("result.csv")).unwrap();
    assert!(csv.starts_with("distance,unit,estimator,nats,se,lo,hi,level,shuffled,pairs,distinct,folds,documents\n"));
    assert_eq!(csv.lines().count(), 1 + 4 * result["points"].as_array().unwrap().len());
    let row = csv.lines().find(|l| l.starts_with("2,tokens,grassberger,")).unwrap();
    assert_eq!(row.split(',').nth(3).unwrap().parse::<f64>().unwrap(), nats(&result, 2, "grassberger"));
    assert_eq!(names(&out), [".lock", "counts", "figure.png", "figure.svg", "plan.json", "result.csv", "result.json", "run.json"]);
    // Nothing is counted again: the counts stay as they are, and are read another way.
    let counts = out.join("counts");
    let of = |names: &[String]| names.iter().map(|n| fs::read(counts.join(n)).unwrap()).collect::<Vec<_>>();
    let (files, before) = (names(&counts), of(&names(&counts)));
    let singles: Value = serde_json::from_str(&told(run(&["--json", "--marginals", "singles"]))).unwrap();
    assert_eq!((names(&counts), of(&files)), (files.clone(), before));
    assert_eq!(singles["marginals"], "singles");
    assert_ne!(nats(&singles, 64, "plug-in"), nats(&result, 64, "plug-in"));
    let runs: Vec<Value> = serde_json::from_slice(&fs::read(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(runs.iter().map(|r| r["finished"].as_bool().unwrap()).collect::<Vec<_>>(), [true, true]);
    // Independent tokens: what is estimated is bias, and so is what shuffled pairs show. Of 1,896 pairs in 329² cells some 17 come twice, each of which lowers the joint entropy by
    // 2 ln 2/1896: a standard deviation of 0.003 nats of about four.
    let value = &result["points"][0]["values"][3];
    let (got, shuffled) = (value["nats"].as_f64().unwrap(), value["shuffled"].as_f64().unwrap());
    assert!((got - shuffled).abs() < 0.05 * shuffled && shuffled > 0.5, "{got} and {shuffled}");
}

#[test]
fn killed_anywhere_it_goes_on() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let corpus = at("texts.npy");
    tokens(&corpus, 400, 6000, 3000, 17);
    let count = |out: &Path, memory: &str, threads: &str| {
        let mut c = command(args!["two-point", "--quiet", corpus, "--out", out, "--distances", "1,16,256", "--memory", memory, "--threads", threads]);
        c.stdout(Stdio::null()).stderr(Stdio::piped());
        c
    };
    let (whole, broken) = (at("whole"), at("broken"));
    assert!(count(&whole, "1G", "2").status().unwrap().success());
    let runs = || -> Vec<(String, Vec<u8>)> {
        let counts = broken.join("counts");
        let all = if counts.is_dir() { names(&counts) } else { Vec::new() };
        all.into_iter().filter(|n| n.starts_with("run-")).map(|n| (n.clone(), fs::read(counts.join(n)).unwrap())).collect()
    };
    let mut rng = Rng::new(2026, 1);
    let mut seen = Vec::new();
    for (n, moment) in [0, 1, 2, 3, 4, 5].into_iter().enumerate() {
        let mut child = count(&broken, "32M", if n == 1 { "1" } else { "2" }).spawn().unwrap();
        assert!(wait_until(&mut child, || broken.join("plan.json").exists() && runs().len() >= moment), "it ended before run {moment}");
        sleep(Duration::from_micros(rng.below(20_000)));
        signal(&child, if n == 3 { "TERM" } else { "KILL" });
        let ended = child.wait_with_output().unwrap();
        // A signal that comes before the program has asked for it ends it like a kill.
        if n == 3 && ended.status.code().is_some() {
            assert_eq!(
                (ended.status.code(), String::from_utf8(ended.stderr).unwrap().as_str()),
                (Some(130), "error: interrupted; start the same command again to go on\n")
            );
        }
        assert!(!broken.join("result.json").exists());
        // What was counted stays as it is, and is not counted again.
        let now = runs();
        assert!(now.starts_with(&seen));
        seen = now;
    }
    assert!(count(&broken, "40M", "2").status().unwrap().success());
    for file in FILES {
        assert!(fs::read(whole.join(file)).unwrap() == fs::read(broken.join(file)).unwrap(), "{file}");
    }
    assert_eq!(names(&whole.join("counts")), names(&broken.join("counts")));
    for file in names(&whole.join("counts")) {
        assert!(fs::read(whole.join("counts").join(&file)).unwrap() == fs::read(broken.join("counts").join(&file)).unwrap(), "{file}");
    }
    refused(args!["two-point", corpus, "--out", broken, "--distances", "1,2"], &["broken", "another --distances (recorded: 1,16,256; now: 1,2)", "--out"]);
    tokens(&corpus, 400, 6000, 3000, 18);
    refused(args!["two-point", corpus, "--out", broken, "--distances", "1,16,256"], &["broken", "another corpus or tokenizer", "--out"]);
}

#[test]
fn what_cannot_be_is_refused() {
    let (folder, corpus) = small();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text.txt"), "some text of no great length").unwrap();
    fs::write(at("full"), "").unwrap();
    fs::create_dir(at("other")).unwrap();
    fs::write(at("other/notes.md"), "mine").unwrap();
    let refuse = |corpus: &Path, more: &[&str], parts: &[&str]| refused(args!["two-point", corpus; more], parts);
    refuse(&at("text.txt"), &[], &["--tokenizer FILE|MODEL", "--unit bytes"]);
    refuse(&at("text.txt"), &["--unit", "bytes", "--tokenizer", "x"], &["x: is not needed", "leave --tokenizer out"]);
    refuse(&corpus, &["--tokenizer", "x"], &["x: is not needed"]);
    refuse(&at("text.txt"), &["--tokenizer", at("other").to_str().unwrap()], &["has no tokenizer.json"]);
    refuse(&corpus, &["--unit", "words"], &["texts.npy[0]", "--unit words"]);
    refuse(&corpus, &["--group-by", "folder"], &["--group-by"]);
    refuse(&corpus, &["--distances", "2,1,2"], &["--distances names 2 twice"]);
    refuse(&corpus, &["--distances", "80"], &["no document has two tokens at a distance of 80"]);
    refuse(&corpus, &["--memory", "20M"], &["--memory more"]);
    refuse(&corpus, &["--out", at("full").to_str().unwrap()], &["full: is a file"]);
    refuse(&corpus, &["--out", at("other").to_str().unwrap()], &["other: is not empty"]);
    refuse(&at("gone"), &[], &["gone"]);
    assert_eq!(names(&at("other")), ["notes.md"]);
    for more in [["--distances", "0"], ["--unit", "letters"], ["--marginals", "none"], ["--threads", "0"]] {
        let said = hilberg(args!["two-point", corpus; more]);
        assert!(said.status == Some(2) && said.err.lines().count() == 1 && said.err.contains(more[0]), "{}", said.err);
    }
}

/// Where only one document of thirteen is long enough, there is no error, no I of the first documents, and a sentence.
#[test]
fn distances_with_few_documents_say_so() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let lines: Vec<String> = (0..13u64).map(|i| serde_json::json!({"text": text(if i == 12 { 200 } else { 12 }, i)}).to_string()).collect();
    let texts = folder.path().join("texts.jsonl");
    fs::write(&texts, lines.join("\n")).unwrap();
    let table = told(args!["two-point", texts, "--unit", "bytes", "--quiet", "--distances", "1,4,400", "--out", out]);
    assert!(table.contains("too few documents are long enough at d = 400: errors there are not to be trusted"), "{table}");
    let result: Value = serde_json::from_slice(&fs::read(out.join("result.json")).unwrap()).unwrap();
    let (near, far) = (&result["points"][0], &result["points"][2]);
    assert_eq!((near["folds"].as_u64(), far["folds"].as_u64()), (Some(13), Some(1)));
    assert!(near["values"][0]["se"].is_f64() && far["values"][0]["se"].is_null());
    let growth = |point: &Value| point["values"][0]["growth"].as_array().unwrap().iter().map(|g| g.is_f64()).collect::<Vec<_>>();
    assert_eq!((growth(near), growth(far)), (vec![true; 3], vec![false; 3]));
}
