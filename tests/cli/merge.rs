//! One measurement by several machines: shards, more chunks, and folders read as one record.

use super::*;

/// A measurement of [`small`]'s corpus: 12 groups.
fn measure(corpus: &Path, out: &Path, more: &[&str]) -> Vec<OsString> {
    let models = args!["measure", "--quiet", "-m", fixture("llama"), "-m", fixture("mamba2"), corpus, "--out", out];
    [models, args!["--length", "64", "--estimators", "direct,direct-ngram,vclub"; more]].concat()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Tokens that all runs into a folder fed the first model.
fn fed(out: &Path) -> u64 {
    json(&out.join("run.json")).as_array().unwrap().iter().map(|r| r["models"][0]["tokens_fed"].as_u64().unwrap()).sum()
}

#[track_caller]
fn same_results(a: &Path, b: &Path) {
    for file in ["result.json", "result.csv", "figure.svg", "figure.png"] {
        assert!(fs::read(a.join(file)).unwrap() == fs::read(b.join(file)).unwrap(), "{file}");
    }
}

#[test]
fn three_shards_merged_are_one_run() {
    let (folder, corpus) = small();
    let at = |name: &str| folder.path().join(name);
    told(measure(&corpus, &at("whole"), &[]));
    let mut printed = Vec::new();
    for i in 1..=3 {
        printed.push(told(measure(&corpus, &at(&format!("shard{i}")), &["--shard", &format!("{i}/3"), "--wave-rows", &(300 * i).to_string()])));
    }
    assert!(printed[1].contains("llama, shard 2/3, incomplete: ") && printed[1].contains("4 of 12 groups; `hilberg estimate DIR1 DIR2 "), "{}", printed[1]);
    let alone = json(&at("shard2/result.json"));
    assert_eq!((&alone["shard"], &alone["models"][0]["incomplete_groups"]), (&"2/3".into(), &8.into()));
    assert_eq!((1..=3).map(|i| fed(&at(&format!("shard{i}")))).sum::<u64>(), fed(&at("whole")));
    assert_eq!(json(&at("shard2/run.json"))[0]["shard"], "2/3");

    // Two of three: what is missing is told, with who lacks it. Nothing is written unasked.
    let before = names(folder.path());
    let two = hilberg(args!["estimate", at("shard1"), at("shard2")]);
    assert_eq!(two.status, Some(0), "{}", two.err);
    assert!(two.out.contains("4 of 12 groups are not complete") && !two.out.contains("shard"), "{}", two.out);
    assert!(two.err.contains("note: llama: 4 of 12 groups are missing: no folder is shard 3/3, which has 4\n"), "{}", two.err);
    assert!(two.err.contains("nothing is written; --out"), "{}", two.err);
    assert_eq!(names(folder.path()), before);

    // A merge of two to which the third is added; and all three at once, in any order.
    let merge = |from: &[&str], out: &str| told([args!["estimate"], from.iter().map(|f| at(f).into()).collect(), args!["--out", at(out)]].concat());
    merge(&["shard1", "shard2"], "merged");
    assert_eq!(json(&at("merged/result.json"))["models"][1]["incomplete_groups"], 4);
    merge(&["shard3"], "merged");
    same_results(&at("merged"), &at("whole"));
    merge(&["shard3", "shard1", "shard2"], "at-once");
    same_results(&at("at-once"), &at("whole"));
    assert_eq!(told(args!["estimate", "--json", at("shard2"), at("shard3"), at("shard1")]), fs::read_to_string(at("whole/result.json")).unwrap());
    let merged = json(&at("merged/run.json"));
    assert_eq!((merged.as_array().unwrap().len(), &merged[1]["merged"]), (2, &vec![at("shard3").display().to_string()].into()));
    // The merged folder is one like any other: nothing of it is scored anew.
    told(measure(&corpus, &at("at-once"), &[]));
    assert_eq!(json(&at("at-once/run.json"))[1]["models"][0]["tokens_fed"], 0);
    same_results(&at("at-once"), &at("whole"));
}

#[test]
fn the_number_of_shards_may_change_halfway() {
    let (folder, corpus) = small();
    let at = |name: &str| folder.path().join(name);
    told(measure(&corpus, &at("whole"), &[]));
    for (out, shard) in [("a", "1/2"), ("b", "2/3"), ("a", "1/3"), ("c", "3/3")] {
        told(measure(&corpus, &at(out), &["--shard", shard]));
    }
    // Groups 0, 2, … and 0, 3, …: eight of twelve, none of them twice.
    assert_eq!(3 * fed(&at("a")), 2 * fed(&at("whole")));
    told(args!["estimate", at("a"), at("b"), at("c"), "--out", at("merged")]);
    same_results(&at("merged"), &at("whole"));
}

#[test]
fn more_chunks_in_steps_are_one_run() {
    let (folder, corpus) = small();
    let at = |name: &str| folder.path().join(name);
    told(measure(&corpus, &at("whole"), &["--chunks", "24"]));
    for chunks in ["6", "15", "24"] {
        told(measure(&corpus, &at("grown"), &["--chunks", chunks]));
    }
    same_results(&at("grown"), &at("whole"));
    assert_eq!(fed(&at("grown")), fed(&at("whole")));
    // Shards grow like a whole; a merge has as many groups as the largest.
    for (out, shard, chunks) in [("a", "1/2", "10"), ("b", "2/2", "24"), ("a", "1/2", "24")] {
        told(measure(&corpus, &at(out), &["--shard", shard, "--chunks", chunks]));
    }
    told(args!["estimate", at("a"), at("b"), "--out", at("merged")]);
    same_results(&at("merged"), &at("whole"));
    // Published lists are halves of all pieces: they cannot grow.
    let published = |chunks: &str| measure(&corpus, &at("lists"), &["--pairing", "published", "--chunks", chunks]);
    told(published("8"));
    let result = fs::read(at("lists/result.json")).unwrap();
    refused(published("16"), &["lists", "--chunks of --pairing published", "recorded: 8; now: 16", "--out"]);
    assert_eq!(fs::read(at("lists/result.json")).unwrap(), result);
}

#[test]
fn what_does_not_belong_together_is_not_merged() {
    let (folder, corpus) = small();
    let at = |name: &str| folder.path().join(name);
    let other = at("other.npy");
    tokens(&other, 24, 80, 331, 2);
    let one = |model: &str, corpus: &Path, out: &str, more: &[&str]| {
        told(args!["measure", "--quiet", "-m", fixture(model), corpus, "--out", at(out), "--length", "64", "--chunks", "8"; more])
    };
    one("llama", &corpus, "a", &[]);
    one("llama", &corpus, "seed", &["--seed", "1"]);
    one("llama", &corpus, "splits", &["--splits", "4,8"]);
    one("llama", &corpus, "estimators", &["--estimators", "direct,vclub,l1out"]);
    one("llama", &other, "corpus", &[]);
    one("llama-biases", &corpus, "model", &[]);
    let apart = |b: &str, parts: &[&str]| {
        refused(args!["estimate", at("a"), at(b)], parts);
        refused(args!["estimate", at("a"), at(b), "--out", at("out")], parts);
        refused(args!["estimate", at(b), "--out", at("a")], &["is not of the measurement"]);
        assert!(!at("out").exists());
    };
    apart("seed", &["seed: is not of the measurement that is in ", "another --seed (0 there, 1 here)"]);
    apart("splits", &["another --splits (2,4,8,16,32 there, 4,8 here)"]);
    apart("estimators", &["another set of --estimators (direct,vclub there, direct,vclub,l1out here)"]);
    apart("corpus", &["another corpus (24 documents, 7680 bytes"]);
    apart("model", &["another model as -m number 1 (llama "]);
    refused(args!["estimate", at("a"), at("a")], &["is named twice"]);
    refused(args!["estimate", at("a"), folder.path()], &["plan.json"]);
    refused(args!["estimate", at("a"), "--out", folder.path()], &["holds no measurement", "--out"]);
    refused(args!["estimate", at("a"), "--out", at("out"), "--as-published"], &["--out", "--as-published"]);
    for shard in ["0/2", "3/2", "1", "x/2"] {
        refused(measure(&corpus, &at("out"), &["--shard", shard]), &["--shard", "is no shard"]);
    }
    refused(measure(&corpus, &at("out"), &["--shard", "13/13"]), &["shard 13/13 has no group: there are 12"]);
    assert!(!at("out").exists());
}

#[test]
fn machines_that_compute_otherwise_are_told_apart() {
    let (folder, corpus) = small();
    let at = |name: &str| folder.path().join(name);
    let one = |out: &str, more: &[&str]| args!["measure", "--quiet", "-m", fixture("llama"), corpus, "--out", at(out), "--length", "64"; more];
    told(one("cpu", &["--chunks", "16"]));
    told(one("exact", &["--chunks", "24", "--device", "float64"]));
    refused(one("cpu", &["--chunks", "24", "--device", "float64"]), &["another --device or --precision", "cpu f32", "--out"]);
    let said = hilberg(args!["estimate", at("cpu"), at("exact"), "--out", at("merged")]);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.err.contains("which may differ in the last bits; of 16 chunks that two of them computed no number differs by more than "), "{}", said.err);
    // A sum has at most 32 tokens here, each within 1e-4 nats of float64.
    let notice = json(&at("merged/run.json"))[0]["notices"][0].as_str().unwrap().to_string();
    let largest: f64 = notice.rsplit(' ').nth(1).unwrap().parse().unwrap();
    assert!(largest > 0.0 && largest < 32.0 * 1e-4, "{notice}");
    // The first folder's numbers count, so the first eight groups are those of the processor.
    told(one("cpu", &["--chunks", "24", "--threads", "1"]));
    let (merged, cpu) = (json(&at("merged/result.json")), json(&at("cpu/result.json")));
    assert_eq!(merged["models"][0]["incomplete_groups"], 0);
    assert_ne!(merged, cpu);
    told(args!["estimate", at("cpu"), at("exact"), "--out", at("first")]);
    same_results(&at("first"), &at("cpu"));
}
