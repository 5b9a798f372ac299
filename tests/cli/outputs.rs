//! What the subcommands write and print.

use super::*;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, RowAccessor};

pub(super) fn json_lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[test]
fn scores_as_json_lines_and_as_parquet() {
    let (folder, _) = small();
    let at = |name: &str| folder.path().join(name);
    let model = copy("llama", folder.path());
    words(&model.join("tokenizer.json"), 400);
    fs::create_dir(at("texts")).unwrap();
    fs::write(at("texts/a.txt"), text(40, 1)).unwrap();
    let lines: Vec<String> = (0..30).map(|i| serde_json::json!({"id": i, "body": text(1 + 5 * i as usize, i)}).to_string()).collect();
    fs::write(at("texts/b.jsonl"), lines.join("\n")).unwrap();
    let corpus = at("texts");
    let score = |out: &str, more: &[&str]| {
        told_json(args!["score", "--quiet", "--json", "-m", model, corpus, "--text-field", "body", "--per-token", "--out", at(out); more])
    };
    let summary = score("rows.jsonl", &[]);
    assert_eq!(score("rows.parquet", &["--threads", "1", "--wave-rows", "7"]), summary);
    let rows = json_lines(&at("rows.jsonl"));
    let parquet = SerializedFileReader::new(fs::File::open(at("rows.parquet")).unwrap()).unwrap();
    let parquet: Vec<_> = parquet.get_row_iter(None).unwrap().map(|r| r.unwrap()).collect();
    assert_eq!((rows.len(), parquet.len()), (31, 31));
    let (mut sum, mut count) = (0.0, 0);
    for (row, p) in rows.iter().zip(&parquet) {
        assert_eq!(row["id"].as_str().unwrap(), p.get_string(0).unwrap());
        let tokens: Vec<Field> = row["tokens"].as_array().unwrap().iter().map(|t| Field::Int(t.as_i64().unwrap() as i32)).collect();
        assert_eq!(p.get_list(1).unwrap().elements(), tokens);
        let logprobs: Vec<f32> = row["logprobs"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
        assert_eq!(p.get_list(2).unwrap().elements(), logprobs.iter().map(|&v| Field::Float(v)).collect::<Vec<_>>());
        assert!(logprobs.iter().all(|&v| v <= 0.0));
        assert_eq!(row["sum"].as_f64().unwrap(), logprobs.iter().map(|&v| v as f64).sum::<f64>());
        assert_eq!((p.get_double(3).unwrap(), p.get_long(4).unwrap()), (row["sum"].as_f64().unwrap(), row["count"].as_i64().unwrap()));
        assert_eq!(logprobs.len(), row["count"].as_u64().unwrap() as usize);
        sum += row["sum"].as_f64().unwrap();
        count += logprobs.len();
    }
    assert_eq!((summary["sum"].as_f64().unwrap(), summary["tokens"].as_u64().unwrap()), (sum, count as u64));
    let bytes = fs::metadata(at("texts/a.txt")).unwrap().len() + (0..30u64).map(|i| text(1 + 5 * i as usize, i).len() as u64).sum::<u64>();
    assert_eq!(summary["bytes"].as_u64().unwrap(), bytes);

    let without = score("none.jsonl", &["--start", "none"]);
    assert_eq!(without["tokens"].as_u64().unwrap(), count as u64 - 31);
    for row in json_lines(&at("none.jsonl")) {
        let logprobs = row["logprobs"].as_array().unwrap();
        assert!(logprobs[0].is_null() && logprobs[1..].iter().all(Value::is_f64));
        assert_eq!(row["count"].as_u64().unwrap() as usize, logprobs.len() - 1);
    }
    // In float64 the same within the budget of a fixture: 1e-4 nats a token.
    let exact = score("exact.jsonl", &["--device", "float64"]);
    assert!((exact["nats_per_token"].as_f64().unwrap() - summary["nats_per_token"].as_f64().unwrap()).abs() < 1e-4);
    let forecast = told_json(args!["score", "--quiet", "--json", "--dry-run", "-m", model, corpus, "--text-field", "body"]);
    assert_eq!((forecast["documents"].as_u64(), forecast["tokens"].as_u64()), (Some(31), Some(count as u64)));
}

#[test]
fn measurements_of_texts_and_of_their_tokens_agree() {
    let (folder, _) = small();
    let at = |name: &str| folder.path().join(name);
    // Words of the tokenizer here and their ids: w0 is 1.
    words(&at("tokenizer.json"), 320);
    let ids = |i: u64| text(70, i).split(' ').map(|w| 1 + w[1..].parse::<u32>().unwrap()).collect::<Vec<_>>();
    fs::write(
        at("texts.jsonl"),
        (0..20).map(|i| serde_json::json!({"id": format!("ids.npy[{i}]"), "text": text(70, i)}).to_string() + "\n").collect::<String>(),
    )
    .unwrap();
    write_npy(&at("ids.npy"), [20, 70], 503, (0..20).map(ids)).unwrap();
    let (a, b) = (at("a"), at("b"));
    let measure = |corpus: &str, out: &Path, more: Vec<OsString>| {
        let models = args!["measure", "--quiet", "--json", "-m", fixture("llama"), "-m", fixture("mamba2"), at(corpus), "--out", out];
        let design = args!["--length", "32", "--foreign", "2", "--estimators", "direct,direct-ngram,vclub,l1out,infonce,profile"];
        told_json([models, design, more].concat())
    };
    let mut from_text = measure("texts.jsonl", &a, args!["--tokenizer", at("tokenizer.json")]);
    let from_ids = measure("ids.npy", &b, vec![]);
    for (i, name) in ["llama", "mamba2"].into_iter().enumerate() {
        let model = &mut from_text["models"][i];
        assert_eq!(model["name"], name);
        assert!(model["bytes_per_token"].as_f64().unwrap() > 2.0);
        model["bytes_per_token"] = Value::Null;
    }
    // Texts and ids are different contents, and their fingerprints differ with them.
    assert_ne!(from_text["corpus"], from_ids["corpus"]);
    from_text["corpus"] = from_ids["corpus"].clone();
    assert_eq!(from_text, from_ids);
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(b.join("result.json")).unwrap()).unwrap(), from_ids);
    let files = ["figure.png", "figure.svg", "model-0-llama", "model-1-mamba2", "ngrams.json", "plan.json", "result.csv", "result.json", "run.json"];
    assert_eq!(names(&b).into_iter().filter(|n| !n.starts_with('.')).collect::<Vec<_>>(), files);
    let points = from_ids["models"][0]["analysis"]["points"].as_array().unwrap();
    for estimator in ["direct", "direct-ngram", "vclub", "l1out", "infonce", "profile"] {
        assert!(points.iter().any(|p| p["estimator"] == estimator && p["value"].is_f64()), "{estimator}");
    }
    let dry = told_json(args!["measure", "--quiet", "--json", "--dry-run", "-m", fixture("llama"), at("ids.npy"), "--length", "32", "--out", at("c")]);
    assert!(dry["tokens"].as_u64().unwrap() > 0 && !at("c").exists());
}

#[test]
fn models_and_devices_are_described() {
    let i = told_json(args!["inspect", "--json", fixture("llama"), "--wave-rows", "1000"]);
    assert_eq!((i["family"].as_str(), i["layers"].as_u64(), i["vocabulary"].as_u64()), (Some("llama"), Some(2), Some(503)));
    assert_eq!((i["start"]["id"].as_u64(), i["memory"]["wave_rows"].as_u64()), (Some(1), Some(1000)));
    assert!(told(args!["inspect", fixture("mamba2")]).contains("Mamba-2 scan"));
    let devices = told_json(args!["devices", "--json"]);
    let cpu = devices.as_array().unwrap().iter().find(|d| d["device"] == "cpu").unwrap();
    assert_eq!(cpu["available"], true);
    assert!(told(args!["devices"]).contains("float64"));
}

#[test]
fn steps_are_compared_with_float64() {
    for model in ["llama", "gpt2", "gpt-neox", "mamba", "mamba2"] {
        let rows = told_json(args!["trace", "--json", "-m", fixture(model), "1,5,7,11,13,17,19,23"]);
        let rows = rows.as_array().unwrap();
        assert!(rows.len() > 6 && rows.iter().all(|r| r["within"] == true), "{model}: {rows:?}");
    }
    // Nothing but a step over its budget is told: the last line names it.
    let off = hilberg(args!["trace", "-m", fixture("llama"), "1,5,7,11", "--budget", "1e-12"]);
    assert_eq!(off.status, Some(2));
    assert!(off.err.starts_with("error: ") && off.err.contains("over the budget") && off.err.lines().count() == 1, "{}", off.err);
}

#[test]
fn known_processes() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let known = told_json(args!["source", "exact", "--json", "--process", "markov", "--splits", "4,8"]);
    // The default chain 0.9,0.1;0.2,0.8 has π = (2/3, 1/3).
    let h = |p: f64| -p * p.ln() - (1.0 - p) * (1.0 - p).ln();
    let rate = (2.0 * h(0.1) + h(0.2)) / 3.0;
    for k in known.as_array().unwrap() {
        assert!((k["information"]["value"].as_f64().unwrap() - (h(1.0 / 3.0) - rate)).abs() < 1e-12);
    }
    assert_eq!(told(args!["source", "exact", "--process", "santa-fe"]).lines().count(), 10);
    let (texts, model) = (at("texts.npy"), at("planted"));
    told_json(args!["source", "draw", "--json", "--process", "markov", "--documents", "50", "--length", "200", "--seed", "4", "--out", texts]);
    told_json(args!["source", "plant", "--json", "--process", "markov", "--positions", "256", "--out", model]);
    let summary = told_json(args!["score", "--quiet", "--json", "-m", model, texts]);
    assert_eq!(summary["tokens"], 10_000);
    // The first token costs H(π), each of the other 199 the entropy rate; five standard errors.
    let expected = (h(1.0 / 3.0) + 199.0 * rate) / 200.0;
    let (nats, error) = (summary["nats_per_token"].as_f64().unwrap(), summary["nats_per_token_error"].as_f64().unwrap());
    assert!((nats - expected).abs() < 5.0 * error && error < 0.02, "{nats} ± {error}, expected {expected}");
    refused(args!["source", "plant", "--process", "markov", "--out", model], &["planted"]);
    assert_eq!(names(folder.path()), ["planted", "texts.npy"]);
    // n-grams fitted to these texts cost less on them than the chain itself, by half a nat a parameter in 10,000 tokens: 4e-4 for the seven of trigrams. Those
    // are planted in another layout.
    for (order, name) in [("2", "bigrams"), ("3", "trigrams")] {
        let fitted = told_json(args!["source", "fit", "--json", texts, "--order", order, "--positions", "256", "--out", at(name)]);
        assert_eq!(fitted["tokens"], 2);
        let fitted = told_json(args!["score", "--quiet", "--json", "-m", at(name), texts])["nats_per_token"].as_f64().unwrap();
        assert!((fitted - nats).abs() < 2e-3, "{name}: {fitted}, the chain's own {nats}");
    }
    refused(args!["source", "fit", texts, "--order", "4", "--out", at("longer")], &["order of 3"]);
    refused(args!["source", "fit", texts, "--tokenizer", "tokenizer.json", "--out", at("longer")], &["tokenizer.json", "--tokenizer"]);
    assert_eq!(names(folder.path()), ["bigrams", "planted", "texts.npy", "trigrams"]);
}

#[test]
fn bench_tells_the_ceilings_and_every_step_of_a_model() {
    let report = told_json(args!["bench", "--json", "--rounds", "1", "--threads", "1", "-m", fixture("llama")]);
    for ceiling in ["fma", "product", "exp", "copy"] {
        assert!(report["ceilings"][ceiling].as_f64().unwrap() > 1e6, "{ceiling}");
    }
    let steps = report["steps"].as_array().unwrap();
    for step in ["embedding", "RMS norm", "product", "rotary", "attention", "head"] {
        assert!(steps.iter().any(|s| s["step"].as_str().unwrap().starts_with(step)), "{step}");
    }
    for s in steps {
        let positive = |key: &str| s[key].as_f64().unwrap() > 0.0;
        assert!(s["seconds"]["median"].as_f64().unwrap() > 0.0 && positive("share") && positive("bytes"), "{s}");
    }
    refused(args!["bench", "--device", "float64"], &["bench measures cpu and cuda"]);
    refused(args!["bench", "--device", "cuda:99"], &["device"]);
}
