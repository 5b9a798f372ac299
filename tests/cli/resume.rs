//! A measurement that is killed anywhere goes on where it was, and another model's or corpus' record is left alone.

use super::faults::{signal, wait_until};
use super::*;
use hilberg::measure::{Project, Text};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use std::thread::sleep;
use std::time::Duration;

const DOCUMENTS: usize = 400;
const WAVE: usize = 2500;

/// Starts a measurement of 400 groups in waves of at most 2,500 rows.
fn measure(corpus: &Path, out: &Path) -> Command {
    let mut c = command(args!["measure", "-m", fixture("llama"), corpus, "--out", out, "--length", "128", "--estimators", "direct,vclub,l1out", "--quiet"]);
    c.args(["--chunks", "800", "--wave-rows", &WAVE.to_string()]).stdout(Stdio::null()).stderr(Stdio::piped());
    c
}

fn record(out: &Path) -> PathBuf {
    out.join("model-0-llama/record")
}

/// Finished parts, in order.
fn parts(out: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(record(out)).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    all.retain(|p| p.extension().is_some_and(|e| e == "parquet"));
    all.sort();
    all
}

/// The (group, member) of a part's rows.
fn trees(part: &Path) -> Vec<(u32, u32)> {
    let reader = SerializedFileReader::new(fs::File::open(part).unwrap()).unwrap();
    let row = |r: parquet::errors::Result<parquet::record::Row>| r.map(|r| (r.get_int(0).unwrap() as u32, r.get_int(1).unwrap() as u32)).unwrap();
    reader.get_row_iter(None).unwrap().map(row).collect()
}

/// How often the measurement is killed or interrupted.
fn kills() -> u64 {
    std::env::var("HILBERG_KILLS").map_or(12, |n| n.parse().expect("HILBERG_KILLS is a number"))
}

/// Signals in turn at seeded random moments; `HILBERG_KILLS=100` makes it a hundred of them.
#[test]
fn killed_and_interrupted_at_random_moments() {
    let folder = TempDir::new().unwrap();
    let corpus = folder.path().join("texts.npy");
    tokens(&corpus, DOCUMENTS, 256, 503, 11);
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    assert!(measure(&corpus, &whole).status().unwrap().success());
    let total = parts(&whole).len() as u64;
    assert!(total >= 60, "{total} parts are too few to be killed between");
    let plan = Project::read(&whole).unwrap().plan;
    let text = Text { tokens: vec![0; plan.design.length as usize], ..Text::default() };
    let rows = plan.design.rows_of(&vec![text; plan.design.members()]).unwrap();
    let fed = |trees: &[(u32, u32)]| trees.iter().map(|t| rows[t.1 as usize]).sum::<usize>();

    // Where to kill, in parts, and how long after: up to some waves.
    let mut rng = Rng::new(2026, 0);
    let mut moments: Vec<u64> = (0..kills()).map(|_| rng.below(total * 4 / 5)).collect();
    moments.sort();
    let (mut seen, mut counted, mut interrupted): (Vec<(PathBuf, Vec<u8>)>, usize, usize) = (Vec::new(), 0, 0);
    for (n, &moment) in moments.iter().enumerate() {
        let mut child = measure(&corpus, &broken).spawn().unwrap();
        assert!(wait_until(&mut child, || broken.join("plan.json").exists() && parts(&broken).len() as u64 >= moment), "it ended at part {moment} of {total}");
        sleep(Duration::from_micros(rng.below(20_000)));
        let name = match n % 6 {
            2 => "TERM",
            5 => "INT",
            _ => "KILL",
        };
        signal(&child, name);
        let ended = child.wait_with_output().unwrap();
        assert!(!broken.join("result.json").exists());
        let now = parts(&broken);
        let new = &now[seen.len()..];
        // A signal that comes before the program has asked for it ends it like a kill.
        if name == "KILL" || (ended.status.code().is_none() && new.is_empty()) {
            assert_eq!(ended.status.code(), None);
            // A killed process cannot tell what it fed; a wave is recorded before the next begins, so it is this and at most one wave.
            counted += new.iter().map(|p| fed(&trees(p))).sum::<usize>();
        } else {
            interrupted += 1;
            assert_eq!(ended.status.code(), Some(130));
            assert_eq!(String::from_utf8(ended.stderr).unwrap(), "error: interrupted; start the same command again to go on\n");
        }
        // What was recorded stays as it is.
        assert!(seen.iter().all(|(path, bytes)| fs::read(path).unwrap() == *bytes));
        seen.extend(new.iter().map(|p| (p.clone(), fs::read(p).unwrap())));
    }
    assert!(measure(&corpus, &broken).status().unwrap().success());
    assert_eq!(fs::read(whole.join("result.json")).unwrap(), fs::read(broken.join("result.json")).unwrap());
    assert_eq!(fs::read(whole.join("result.csv")).unwrap(), fs::read(broken.join("result.csv")).unwrap());

    // The parts hold every tree once, in order, in waves of the size asked for: so nothing recorded was fed again.
    let recorded: Vec<Vec<(u32, u32)>> = parts(&broken).iter().map(|p| trees(p)).collect();
    let order: Vec<(u32, u32)> = (0..plan.groups).flat_map(|g| (0..plan.design.members() as u32).map(move |m| (g, m))).collect();
    assert_eq!(recorded.concat(), order);
    assert!(recorded.iter().all(|wave| fed(wave) <= WAVE));
    // What the runs that ended by themselves say they fed, and what the killed ones recorded, is all that there was to feed.
    let runs: Vec<Value> = serde_json::from_slice(&fs::read(broken.join("run.json")).unwrap()).unwrap();
    let finished: Vec<bool> = runs.iter().map(|r| r["finished"].as_bool().unwrap()).collect();
    assert_eq!(finished, [vec![false; interrupted], vec![true]].concat());
    let told: u64 = runs.iter().map(|r| r["models"][0]["tokens_fed"].as_u64().unwrap()).sum();
    assert_eq!(told as usize + counted, fed(&order));
    assert_eq!(names(&record(&broken)).len(), recorded.len());

    // A measurement that is complete feeds nothing more, and estimates need no model.
    fs::remove_file(broken.join("result.json")).unwrap();
    told_estimate(&broken, &whole);
    assert!(measure(&corpus, &broken).status().unwrap().success());
    let runs: Vec<Value> = serde_json::from_slice(&fs::read(broken.join("run.json")).unwrap()).unwrap();
    assert_eq!(runs[interrupted + 1]["models"][0]["tokens_fed"], 0);
}

/// `estimate` writes the files that `measure` wrote, byte for byte, and prints the same.
fn told_estimate(out: &Path, like: &Path) {
    let want = fs::read_to_string(like.join("result.json")).unwrap();
    assert_eq!(told(args!["estimate", out, "--json"]), want);
    for file in ["result.json", "result.csv", "figure.svg", "figure.png"] {
        assert!(fs::read(out.join(file)).unwrap() == fs::read(like.join(file)).unwrap(), "{file}");
    }
    assert!(told(args!["estimate", out]).contains("llama"));
}

#[test]
fn a_measurement_until_an_error_stops_at_the_same_group_however_it_is_run() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let corpus = at("texts.npy");
    tokens(&corpus, 240, 64, 331, 7);
    let run = |out: &str, more: &[&str]| {
        let models = args!["measure", "--quiet", "-m", fixture("llama"), "-m", fixture("mamba2"), corpus, "--out", at(out)];
        let mut c = command([models, args!["--length", "64", "--estimators", "direct"; more]].concat());
        c.stdout(Stdio::null()).stderr(Stdio::null());
        c
    };
    let ended = |out: &str, more: &[&str]| assert!(run(out, more).status().unwrap().success());
    let json = |out: &str| -> Value { serde_json::from_slice(&fs::read(at(out).join("result.json")).unwrap()).unwrap() };
    let last = |model: &Value| model["analysis"]["points"].as_array().unwrap().last().unwrap()["se"].as_f64().unwrap();
    ended("whole", &["--chunks", "240"]);
    // Every chunk is a group by itself. An error that the first model has after about half of them.
    let target = (last(&json("whole")["models"][0]) * 2f64.sqrt()).to_string();
    let until = |waves: &'static str| ["--chunks", "240", "--until-se", &target, "--wave-rows", waves];
    let go = |out: &str, waves| ended(out, &until(waves));
    go("small", "250");
    go("large", "9000");
    let result = fs::read(at("small/result.json")).unwrap();
    assert!(result == fs::read(at("large/result.json")).unwrap());
    let stop = &json("small")["until_se"];
    let groups = stop["groups"].as_u64().unwrap();
    assert!(stop["reached"] == true && (30..240).contains(&groups), "{stop}");
    for model in json("small")["models"].as_array().unwrap() {
        assert!(last(model) <= target.parse().unwrap() && model["analysis"]["groups"] == groups && model["incomplete_groups"] == 0);
    }
    // It is what the same number of chunks gives.
    ended("counted", &["--chunks", &groups.to_string()]);
    assert_eq!(json("counted")["models"], json("small")["models"]);

    let mut rng = Rng::new(5, 0);
    for n in 0..4 {
        let mut child = run("broken", &until("400")).spawn().unwrap();
        let started = wait_until(&mut child, || at("broken").join("model-0-llama/record/part-000000.parquet").exists());
        assert!(started || n > 0);
        sleep(Duration::from_micros(rng.below(400_000)));
        signal(&child, "KILL");
        child.wait().unwrap();
    }
    go("broken", "400");
    assert!(result == fs::read(at("broken/result.json")).unwrap());
    // An error that no number of chunks here reaches: all are used, and it is said.
    let far = told(args!["measure", "--quiet", "-m", fixture("llama"), corpus, "--out", at("far"), "--length", "64", "--chunks", "80", "--until-se", "1e-9"]);
    assert!(far.contains("is not reached by all 40 groups"), "{far}");
    for more in
        [&["--until-se=1", "--estimators", "vclub"] as &[&str], &["--until-se=1", "--ratios", "3"], &["--until-se=-1"], &["--until-se=1", "--shard=1/2"]]
    {
        refused(args!["measure", "--quiet", "-m", fixture("llama"), corpus, "--out", at("none"), "--length", "64"; more], &["--until-se"]);
    }
}

#[test]
fn another_measurement_is_not_mixed_in() {
    let (folder, corpus) = small();
    let out = folder.path().join("out");
    let with = |model: &Path, corpus: &Path, more: &[&str]| args!["measure", "--quiet", "-m", model, corpus, "--out", out, "--length", "64"; more];
    told(with(&fixture("llama"), &corpus, &["--chunks", "6"]));
    let result = fs::read(out.join("result.json")).unwrap();
    let other = folder.path().join("other.npy");
    tokens(&other, 24, 80, 331, 2);
    refused(with(&fixture("llama"), &other, &["--chunks", "6"]), &["out", "another corpus", "--out"]);
    refused(with(&fixture("llama-biases"), &corpus, &["--chunks", "6"]), &["out", "another model", "--out"]);
    let model = copy("llama", folder.path());
    edit_config(&model, |c| c["rms_norm_eps"] = 2e-6.into());
    refused(with(&model, &corpus, &["--chunks", "6"]), &["out", "another model", "--out"]);
    refused(with(&fixture("llama"), &corpus, &["--seed", "1"]), &["out", "another --seed", "--out"]);
    refused(with(&fixture("llama"), &corpus, &["--splits", "4,8"]), &["out", "another --splits", "--out"]);
    assert_eq!(fs::read(out.join("result.json")).unwrap(), result);
    // A damaged part is named, with what to do.
    let part = record(&out).join("part-000000.parquet");
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    refused(args!["estimate", out], &["part-000000.parquet", "damaged"]);
    refused(with(&fixture("llama"), &corpus, &["--chunks", "6"]), &["part-000000.parquet", "damaged"]);
    assert_eq!(fs::read(out.join("result.json")).unwrap(), result);
    fs::remove_file(&part).unwrap();
    told(with(&fixture("llama"), &corpus, &["--chunks", "6"]));
    assert_eq!(fs::read(out.join("result.json")).unwrap(), result);
    // More chunks are an addition, not another measurement.
    told(with(&fixture("llama"), &corpus, &["--chunks", "12"]));
    assert_ne!(fs::read(out.join("result.json")).unwrap(), result);
}

#[test]
fn interrupted_scoring_leaves_no_file() {
    let folder = TempDir::new().unwrap();
    let corpus = folder.path().join("texts.npy");
    tokens(&corpus, 4000, 250, 503, 12);
    let mut score = command(args!["score", "--quiet", "-m", fixture("llama"), corpus, "--out", folder.path().join("rows.parquet")]);
    let mut child = score.stderr(Stdio::piped()).spawn().unwrap();
    assert!(wait_until(&mut child, || names(folder.path()).len() == 2), "it ended before it was interrupted");
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(names(folder.path()), ["texts.npy"]);
}
