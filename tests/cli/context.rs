//! `hilberg context` and `hilberg optimum`: the shipped model on beginnings of the shipped texts.

use super::faults::{signal, wait_until};
use super::*;
use std::thread::sleep;
use std::time::Duration;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(name)
}

/// The first 16,000 bytes or so of four texts.
fn excerpts(folder: &Path) -> PathBuf {
    let to = folder.join("texts");
    fs::create_dir(&to).unwrap();
    for name in ["cranford", "dracula", "treasure-island", "frankenstein"] {
        let text = fs::read_to_string(shipped("texts").join(format!("{name}.txt"))).unwrap();
        fs::write(to.join(format!("{name}.txt")), text.chars().take(16_000).collect::<String>()).unwrap();
    }
    to
}

fn context(texts: &Path, out: &Path, more: &[&str]) -> Vec<OsString> {
    let common = ["--quiet", "--contexts", "4,8,16,32", "--length", "128", "--skip", "20", "--drop-last", "10", "--folds", "4", "--leading", "2,8"];
    args!["context", shipped("models/books-llama"), texts, "--out", out; [&common, more].concat()]
}

#[test]
fn a_measurement_with_its_files_that_grows() {
    let folder = TempDir::new().unwrap();
    let (texts, at) = (excerpts(folder.path()), |name: &str| folder.path().join(name));
    let result = told_json(context(&texts, &at("whole"), &["--chunks", "60", "--kernel-entropy", "--json"]));
    assert_eq!(names(&at("whole")), [".lock", "figure.png", "figure.svg", "plan.json", "record", "result.csv", "result.json", "run.json", "spectra.csv"]);
    let points = result["analysis"]["points"].as_array().unwrap();
    let contexts: Vec<u64> = points.iter().map(|p| p["context"].as_u64().unwrap()).collect();
    assert_eq!(contexts, [4, 8, 16, 32]);
    for p in points {
        assert_eq!((p["samples"].as_u64(), p["documents"].as_u64(), p["resolved"].as_u64()), (Some(60), Some(4), Some(59)));
        assert!(p["loss"]["lo"].as_f64() < p["loss"]["value"].as_f64() && p["kernel"]["value"].is_f64());
    }
    // More context, less loss, for a model that was trained on novels.
    let loss = |i: usize| points[i]["loss"]["value"].as_f64().unwrap();
    assert!(loss(0) > loss(3));
    assert_eq!(fs::read_to_string(at("whole").join("result.csv")).unwrap().lines().count(), 1 + 4 * (1 + 7 + 2 + 2 + 1));
    assert_eq!(fs::read_to_string(at("whole").join("spectra.csv")).unwrap().lines().count(), 1 + 4 * 192);

    // Begun with fewer chunks and in small waves on one thread, it is the same in the end.
    told(context(&texts, &at("grown"), &["--chunks", "25", "--kernel-entropy", "--wave-rows", "40", "--threads", "1"]));
    told(context(&texts, &at("grown"), &["--chunks", "60", "--kernel-entropy"]));
    for file in ["result.json", "result.csv", "spectra.csv", "figure.svg"] {
        assert!(fs::read(at("whole").join(file)).unwrap() == fs::read(at("grown").join(file)).unwrap(), "{file}");
    }
    fs::create_dir(at("other")).unwrap();
    fs::write(at("other/result.json"), r#"{"design": 1, "models": []}"#).unwrap();
    refused(args!["optimum", format!("{}=2e6", at("other").display())], &["other/result.json", "is not of hilberg context"]);
    refused(args!["estimate", at("whole")], &["plan.json", "not the plan of a measurement by `hilberg measure`"]);
    // What is complete feeds nothing more.
    let table = told(context(&texts, &at("grown"), &["--chunks", "60", "--kernel-entropy"]));
    assert!(table.contains("kernel entropy") && table.contains("4 documents, 60 chunks of 128 tokens"), "{table}");
    let runs: Vec<Value> = serde_json::from_slice(&fs::read(at("grown").join("run.json")).unwrap()).unwrap();
    assert_eq!(runs.iter().map(|r| r["tokens_fed"].as_u64().unwrap()).collect::<Vec<_>>(), [25 * 56, 35 * 56, 0]);

    // Another measurement does not go on with it; a damaged part is named.
    refused(context(&texts, &at("grown"), &["--chunks", "60"]), &["another --kernel-entropy", "choose another --out"]);
    refused(context(&texts, &at("grown"), &["--chunks", "59", "--kernel-entropy"]), &["60 chunks", "ask for as many or more"]);
    refused(context(&texts, &at("grown"), &["--chunks", "60", "--kernel-entropy", "--start", "0"]), &["another start token"]);
    let part = at("grown").join("record/c-000008-fold-001.safetensors");
    let mut bytes = fs::read(&part).unwrap();
    let n = bytes.len();
    bytes[n - 9] ^= 1;
    fs::write(&part, bytes).unwrap();
    refused(context(&texts, &at("grown"), &["--chunks", "60", "--kernel-entropy"]), &["c-000008-fold-001.safetensors", "damaged", "checksum"]);

    // The best context lengths of two such curves.
    let said = told(args!["optimum", format!("{}=2e6", at("whole").display()), format!("{}=4e6", at("whole").display()), "--out", at("best")]);
    assert!(said.contains("trained on") && names(&at("best")) == ["optimum.csv", "optimum.json", "optimum.png", "optimum.svg", "run.json"], "{said}");
    let rows = fs::read_to_string(at("best/optimum.csv")).unwrap();
    assert!(rows.starts_with("model,tokens,place,best,") && rows.lines().count() == 3 && rows.contains("books-llama,2000000,"), "{rows}");
    refused(args!["optimum", format!("{}=2e6", at("nowhere").display())], &["nowhere", "result.json"]);
}

/// Killed and interrupted at seeded moments, it ends with the bytes of one run, and what was recorded is not fed again.
#[test]
fn killed_anywhere_it_goes_on() {
    let folder = TempDir::new().unwrap();
    let (texts, at) = (excerpts(folder.path()), |name: &str| folder.path().join(name));
    let run = |out: &str| context(&texts, &at(out), &["--chunks", "60", "--wave-rows", "40", "--threads", "1"]);
    told(run("whole"));
    let record = at("broken/record");
    let parts = || fs::read_dir(&record).into_iter().flatten().map(|e| fs::read(e.unwrap().path()).map_or(0, |b| b.len())).filter(|&n| n > 0).count();
    let total = fs::read_dir(at("whole/record")).unwrap().count();
    assert!(total >= 12, "{total} parts are too few to be killed between");
    let mut rng = Rng::new(2026, 1);
    let mut interrupted = 0;
    for (n, moment) in [0, total / 4, total / 2, total * 3 / 4].into_iter().enumerate() {
        let mut child = command(run("broken")).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        assert!(wait_until(&mut child, || at("broken/plan.json").exists() && parts() >= moment), "it ended before part {moment} of {total}");
        sleep(Duration::from_micros(rng.below(5_000)));
        signal(&child, ["KILL", "TERM"][n % 2]);
        let ended = child.wait_with_output().unwrap();
        assert!(!at("broken/result.json").exists());
        // A signal that comes before the program has asked for it ends it like a kill.
        match ended.status.code() {
            None => {}
            code => {
                assert!(n % 2 == 1 && code == Some(130), "{code:?}");
                assert_eq!(String::from_utf8(ended.stderr).unwrap(), "error: interrupted; start the same command again to go on\n");
                interrupted += 1;
            }
        }
    }
    told(run("broken"));
    for file in ["result.json", "result.csv", "spectra.csv", "figure.svg"] {
        assert!(fs::read(at("whole").join(file)).unwrap() == fs::read(at("broken").join(file)).unwrap(), "{file}");
    }
    let runs: Vec<Value> = serde_json::from_slice(&fs::read(at("broken/run.json")).unwrap()).unwrap();
    let fed: Vec<u64> = runs.iter().map(|r| r["tokens_fed"].as_u64().unwrap()).collect();
    assert_eq!(fed.len(), interrupted + 1);
    assert!(fed.iter().sum::<u64>() <= 60 * 60 && *fed.last().unwrap() < 60 * 60, "{fed:?}");
}

#[test]
fn what_it_takes_and_what_is_refused() {
    let folder = TempDir::new().unwrap();
    let (texts, out) = (excerpts(folder.path()), folder.path().join("out"));
    let run = |more: &[&str]| context(&texts, &out, more);
    let dry = told_json(run(&["--chunks", "50", "--dry-run", "--json"]));
    assert_eq!((dry["chunks"].as_u64(), dry["tokens"].as_u64(), dry["documents"].as_u64()), (Some(50), Some(50 * 56), Some(4)));
    assert!(dry["disk_bytes"].as_f64() > Some(4.0 * 4.0 * 8.0 * 192.0 * 96.0) && dry["memory_bytes"].is_u64() && !out.exists());
    let by_positions = told_json(run(&["--samples", "positions", "--chunks", "50", "--dry-run", "--json"]));
    assert_eq!(by_positions["tokens"].as_u64(), Some(50 * 31));
    refused(run(&["--sigma", "1"]), &["--kernel-entropy"]);
    let plain = |more: &[&str]| args!["context", shipped("models/books-llama"), texts, "--quiet", "--out", out; more];
    refused(plain(&["--contexts", "64", "--length", "32"]), &["64 tokens", "--length"]);
    refused(plain(&["--contexts", "1200", "--length", "2000"]), &["1200", "1025", "books-llama"]);
    refused(plain(&["--contexts", "1,4"]), &["predicts nothing"]);
    refused(plain(&["--contexts", "8", "--thresholds", "1.5"]), &["--thresholds 1.5"]);
    refused(plain(&["--contexts", "8", "--length", "64", "--min-tokens", "1000000"]), &["two documents"]);
    refused(
        args!["context", shipped("models/books-llama"), texts.join("cranford.txt"), "--quiet", "--out", out, "--contexts", "8", "--length", "64"],
        &["two documents"],
    );
    fs::create_dir(&out).unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    refused(plain(&["--contexts", "8", "--length", "64"]), &["is not empty"]);
}
