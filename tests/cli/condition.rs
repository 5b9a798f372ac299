//! History states against measured laws, and models against each other.

use super::*;
use serde_json::json;

fn asset(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets").join(path)
}

/// A measurement by both shipped models, whose texts bear a law at once.
fn shipped(out: &Path, more: &[&str]) {
    let models = args!["measure", "--quiet", "-m", asset("models/books-llama"), "-m", asset("models/books-mamba2"), asset("texts"), "--out", out];
    told([models, args!["--estimators", "direct"; more]].concat());
}

/// A folder with nothing but a config.json.
fn config(folder: &Path, name: &str, config: Value) -> PathBuf {
    let model = folder.join(name);
    fs::create_dir(&model).unwrap();
    fs::write(model.join("config.json"), config.to_string()).unwrap();
    model
}

fn f(v: &Value) -> f64 {
    v.as_f64().unwrap_or_else(|| panic!("no number: {v}"))
}

#[test]
fn sizes_need_a_config_alone() {
    let folder = TempDir::new().unwrap();
    let jamba =
        json!({"model_type": "jamba", "hidden_size": 64, "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "dtype": "bfloat16"});
    let jamba = config(folder.path(), "hybrid", jamba);
    let mistral = folder.path().join("windowed");
    fs::create_dir(&mistral).unwrap();
    fs::copy(fixture("mistral").join("config.json"), mistral.join("config.json")).unwrap();

    let said = told_json(args!["condition", jamba, mistral.join("config.json"), "--lengths", "1000,10", "--json"]);
    let (models, laws) = (said["models"].as_array().unwrap(), said["laws"].as_array().unwrap());
    assert!(laws.is_empty() && models[0]["name"] == "hybrid" && models[1]["name"] == "windowed");
    // One attention of 2 · 2 · 16 a token, seven scans of 128 · (16 + 3); the window of the fixture is 37.
    let at = |m: usize, i: usize| models[m]["sizes"][i].clone();
    assert_eq!((&at(0, 0)["tokens"], &at(0, 0)["numbers"], &at(0, 0)["bytes"]), (&10.into(), &(640 + 17_024).into(), &(2 * (640 + 17_024)).into()));
    assert_eq!((&at(1, 0)["numbers"], &at(1, 1)["numbers"]), (&960.into(), &(96 * 37).into()));
    // 37/10 over a factor of 100.
    assert!((f(&at(1, 1)["exponent"]) - 3.7f64.ln() / 100f64.ln()).abs() < 1e-12 && at(1, 0)["exponent"].is_null());
    let table = told(args!["condition", jamba, mistral, "--out", folder.path().join("out")]);
    assert!(table.contains("hybrid: jamba; ") && table.contains("1 × attention (64 a token)") && table.contains("window 37"), "{table}");
    assert_eq!(names(&folder.path().join("out")), ["condition.csv", "condition.json", "run.json"]);

    refused(args!["condition", folder.path().join("none")], &["none", "no model folder"]);
    refused(args!["condition", folder.path()], &["config.json"]);
    let unknown = config(folder.path(), "unknown", json!({"model_type": "perceptron"}));
    refused(args!["condition", unknown], &["unknown", "\"perceptron\" is not ", "zamba2"]);
    refused(args!["condition", jamba, "--record", folder.path()], &["plan.json"]);
    refused(args!["condition", jamba, "--ratio", "2"], &["--record"]);
}

#[test]
fn states_are_held_against_a_measured_law() {
    let folder = TempDir::new().unwrap();
    let (record, out) = (folder.path().join("record"), folder.path().join("out"));
    shipped(&record, &["--length", "128", "--chunks", "52"]);
    let models = [asset("models/books-llama"), asset("models/books-mamba2")];
    let line = |more: &[&str]| args!["condition", models[0], models[1], "--record", record; more];
    let said = told_json(line(&["--json"]));
    let result: Value = serde_json::from_slice(&fs::read(record.join("result.json")).unwrap()).unwrap();
    for (i, law) in said["laws"].as_array().unwrap().iter().enumerate() {
        // The law is the one that the measurement reports.
        let fit = &result["models"][i]["analysis"]["fits"][0];
        assert_eq!(law["fit"], *fit);
        let (a, beta, lo, hi) = (f(&fit["amplitude"]["value"]), f(&fit["exponent"]["value"]), f(&fit["exponent"]["lo"]), f(&fit["exponent"]["hi"]));
        assert!(0.0 < lo && hi < 1.0, "this test is of a law that grows, and less than its length: {lo} {hi}");
        let (full, fixed) = (&law["models"][0], &law["models"][1]);
        assert!((f(&full["exponent"]) - 1.0).abs() < 1e-12 && f(&fixed["exponent"]).abs() < 1e-12);
        assert_eq!((&full["outpaces"], &fixed["outpaces"], &fixed["outpaces_in_the_limit"]), (&"yes".into(), &"no".into(), &"no".into()));
        assert!(full["behind"].as_array().unwrap().iter().all(|b| b["length"].is_null()));
        // Five layers of 384 · 64 and (384 + 2 · 64) · 3 of the convolution; bfloat16.
        for (b, bits) in fixed["behind"].as_array().unwrap().iter().zip([1.0, 16.0]) {
            let numbers = 5.0 * (384.0 * 64.0 + 512.0 * 3.0);
            let expected = (bits * std::f64::consts::LN_2 * numbers / a).ln() / beta;
            assert!((f(&b["length"]).ln() - expected).abs() < 1e-9 && b["extrapolated"] == true);
            assert!(f(&b["lo"]) < f(&b["length"]) && f(&b["length"]) < f(&b["hi"]));
        }
    }
    let table = told(line(&["--out", out.to_str().unwrap(), "--estimator", "direct"]));
    assert!(table.contains("never") && table.contains("†") && table.contains("condition.png"), "{table}");
    assert_eq!(names(&out), ["condition.csv", "condition.json", "condition.png", "condition.svg", "run.json"]);
    assert_eq!(fs::read_to_string(out.join("condition.csv")).unwrap().lines().count(), 1 + 2 * 2 * 2);
    assert!(names(&record).contains(&"condition.png".to_string()));
    // An option to which the record has no answer.
    refused(line(&["--estimator", "vclub"]), &["record", "not measured for vclub"]);
    refused(line(&["--ratio", "3"]), &["record", "ratio 3"]);
}

#[test]
fn models_are_compared_chunk_by_chunk() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    shipped(&at("both"), &["--length", "128", "--chunks", "52"]);
    let said = told_json(args!["compare", at("both"), "--json"]);
    let (a, b) = (&said["models"][0], &said["models"][1]);
    let d = &b["difference"];
    assert!(a["difference"].is_null() && said["baseline"] == "books-llama" && said["documents"] == 13);
    let near = |x: &Value, y: f64| assert!((f(x) - y).abs() < 1e-9, "{x} {y}");
    let bins = said["bins"].as_array().unwrap();
    assert_eq!((&bins[0]["after"], &bins[bins.len() - 1]["to"]), (&0.into(), &128.into()));
    for i in 0..bins.len() {
        near(&d["loss"][i]["value"], f(&b["loss"][i]["value"]) - f(&a["loss"][i]["value"]));
    }
    near(&d["mean_loss"]["value"], f(&b["mean_loss"]["value"]) - f(&a["mean_loss"]["value"]));
    near(&d["exponents"][0]["exponent"]["value"], f(&b["exponents"][0]["exponent"]["value"]) - f(&a["exponents"][0]["exponent"]["value"]));
    // What each model says of itself is what the measurement says of it.
    let result: Value = serde_json::from_slice(&fs::read(at("both/result.json")).unwrap()).unwrap();
    for (i, p) in result["models"][1]["analysis"]["points"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&b["information"][i]["value"], &b["information"][i]["se"], &b["information"][i]["lo"]), (&p["value"], &p["se"], &p["lo"]));
    }
    assert_eq!(b["exponents"][0]["exponent"], result["models"][1]["analysis"]["fits"][0]["exponent"]);
    // The difficulty of a text cancels: that is what pairing is for.
    assert!(f(&d["mean_loss"]["se"]) < 0.5 * f(&a["mean_loss"]["se"]), "{} {}", d["mean_loss"], a["mean_loss"]);
    let rows = fs::read_to_string(at("both/compare.csv")).unwrap().lines().count();
    assert_eq!(rows, 1 + 3 * (bins.len() + 1 + 6 + 1));

    // Two folders of one model each are the same comparison, whichever is asked to be the baseline.
    let one = |model: &str, out: &str, more: &[&str]| {
        told(
            args!["measure", "--quiet", "-m", asset("models").join(model), asset("texts"), "--out", at(out), "--estimators", "direct", "--length", "128"; more],
        );
    };
    one("books-llama", "a", &["--chunks", "52"]);
    one("books-mamba2", "b", &["--chunks", "60"]);
    let two = told_json(args!["compare", at("b"), at("a"), "--json", "--baseline", "books-llama"]);
    assert_eq!(two["models"][0]["difference"], *d);
    assert!(two["models"][1]["difference"].is_null() && !at("a/compare.json").exists());
    refused(args!["compare", at("a")], &["a: holds one model"]);
    refused(args!["compare", at("a"), at("b"), "--baseline", "gpt"], &["--baseline gpt is none of the models books-llama, books-mamba2"]);
    one("books-llama", "seed", &["--chunks", "26", "--seed", "1"]);
    refused(args!["compare", at("a"), at("seed")], &["seed: is not of the chunks that are in ", "another --seed (0 there, 1 here)"]);
    refused(args!["compare", at("a"), at("none")], &["none", "no plan.json"]);

    // In bytes, places end where X or Y does.
    shipped(&at("bytes"), &["--unit", "bytes", "--length", "512", "--splits", "64,128", "--chunks", "26"]);
    let bytes = told_json(args!["compare", at("bytes"), "--json"]);
    assert_eq!(bytes["bins"].as_array().unwrap().iter().map(|b| b["to"].clone()).collect::<Vec<_>>(), [64, 128, 256, 512]);
    // English is between one and three bits a byte for any model that has learned some of it.
    assert!((0.7..2.1).contains(&f(&bytes["models"][0]["mean_loss"]["value"])));
}

#[test]
fn checkpoints_are_shown_by_step() {
    let (folder, corpus) = small();
    let run = folder.path().join("run");
    for (step, from) in [("step-200", "llama"), ("step-30", "llama-biases"), ("step-1000", "llama")] {
        let to = folder.path().join(step);
        fs::create_dir(&to).unwrap();
        copy(from, &to);
        fs::create_dir_all(&run).unwrap();
        fs::rename(to.join(from), run.join(step)).unwrap();
    }
    let out = folder.path().join("out");
    told(args!["measure", "--quiet", "-m", run, corpus, "--out", out, "--length", "64", "--estimators", "direct"]);
    let said = told_json(args!["compare", out, "--by-step", "--json"]);
    assert_eq!((&said["steps"], &said["baseline"]), (&json!([30, 200, 1000]), &"step-30".into()));
    let name = |i: usize| said["models"][i]["name"].as_str().unwrap().to_string();
    assert_eq!((0..3).map(name).collect::<Vec<_>>(), ["step-30", "step-200", "step-1000"]);
    assert_eq!(said["models"][1]["loss"], said["models"][2]["loss"]);
    let table = told(args!["compare", out, "--by-step"]);
    assert!(table.contains("3 checkpoints on the same 24 groups of 24 documents") && table.contains("from the first to the last step"), "{table}");
    assert!(["steps.json", "steps.csv", "steps.png", "steps.svg"].iter().all(|f| out.join(f).is_file()));
    let given = told_json(args!["compare", out, "--by-step", "--steps", "7,5,6", "--json"]);
    assert_eq!((&given["steps"], &given["models"][0]["name"]), (&json!([5, 6, 7]), &"step-200".into()));
    refused(args!["compare", out, "--by-step", "--steps", "1,2"], &["--steps has 2 numbers for 3 models"]);
    refused(args!["compare", out, "--by-step", "--steps", "1,2,1"], &["both of step 1"]);
    refused(args!["compare", out, "--steps", "1,2,3"], &["--by-step"]);
    let unnamed = folder.path().join("unnamed");
    told(args!["measure", "--quiet", "-m", fixture("llama"), "-m", fixture("mamba"), corpus, "--out", unnamed, "--length", "64"]);
    refused(args!["compare", unnamed, "--by-step"], &["llama has no number that could be its step", "--steps"]);
    // Random weights bear no law, or one that does not grow.
    let table = told(args!["condition", fixture("mamba2"), "--record", out]);
    assert!(table.contains("never") && table.contains("out bears no power law of step-200 at the ratio 2"), "{table}");
    let lawless = folder.path().join("lawless");
    told(args!["measure", "--quiet", "-m", fixture("llama"), corpus, "--out", lawless, "--length", "64", "--estimators", "direct"]);
    refused(args!["condition", fixture("mamba2"), "--record", lawless], &["lawless: bears no power law of llama at the ratio 2"]);
}
