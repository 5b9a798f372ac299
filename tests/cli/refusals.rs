//! Bad input: one line that names the file or the option, status 2, and nothing half-written.

use super::*;
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::json;

/// `score` and `measure` of a model and a corpus are refused alike, and leave nothing behind.
#[track_caller]
fn both_refused(model: &Path, corpus: &Path, more: &[&str], parts: &[&str]) {
    let out = TempDir::new().unwrap();
    let (rows, folder) = (out.path().join("rows.jsonl"), out.path().join("measured"));
    refused(args!["score", "--quiet", "-m", model, corpus, "--out", rows; more], parts);
    refused(args!["measure", "--quiet", "-m", model, corpus, "--length", "64", "--out", folder; more], parts);
    assert_eq!(names(out.path()), [] as [&str; 0]);
}

/// The tensors of a model folder, changed: one of another shape, with other bytes, or gone.
fn edit_tensor(model: &Path, name: &str, edit: impl Fn(Vec<usize>, Vec<u8>) -> Option<(Vec<usize>, Vec<u8>)>) {
    let path = model.join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let old = SafeTensors::deserialize(&file).unwrap();
    let all = old.tensors().into_iter().filter_map(|(n, t)| {
        let (shape, bytes) = (t.shape().to_vec(), t.data().to_vec());
        let (shape, bytes) = if n == name { edit(shape, bytes)? } else { (shape, bytes) };
        Some((n, t.dtype(), shape, bytes))
    });
    let all: Vec<_> = all.collect();
    let views = all.iter().map(|(n, dtype, shape, bytes)| (n.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn spoilt_tensors() {
    let (folder, corpus) = small();
    let up = "model.layers.1.mlp.up_proj.weight";
    let fresh = || {
        let _ = fs::remove_dir_all(folder.path().join("llama"));
        copy("llama", folder.path())
    };
    let model = fresh();
    let file = model.join("model.safetensors");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    both_refused(&model, &corpus, &[], &["model.safetensors", "truncated"]);
    edit_tensor(&fresh(), up, |_, _| None);
    both_refused(&model, &corpus, &[], &["model.safetensors", up, "lacks"]);
    edit_tensor(&fresh(), up, |mut shape, bytes| {
        shape.reverse();
        Some((shape, bytes))
    });
    both_refused(&model, &corpus, &[], &["model.safetensors", up, "[48, 88]", "[88, 48]"]);
    edit_tensor(&fresh(), up, |shape, mut bytes| {
        let width = bytes.len() / shape.iter().product::<usize>();
        // All bits set are a NaN in every format.
        bytes[7 * width..8 * width].fill(0xff);
        Some((shape, bytes))
    });
    both_refused(&model, &corpus, &[], &["model.safetensors", up, "NaN"]);
    fs::rename(fresh().join("model.safetensors"), model.join("pytorch_model.bin")).unwrap();
    both_refused(&model, &corpus, &[], &["pytorch_model.bin", "tools/convert_bin.py"]);
    both_refused(&folder.path().join("nowhere"), &corpus, &[], &["nowhere"]);
}

#[test]
fn models_of_another_kind_and_unread_keys() {
    let (folder, corpus) = small();
    let model = copy("llama", folder.path());
    edit_config(&model, |c| c["model_type"] = json!("hyena"));
    both_refused(&model, &corpus, &[], &["config.json", "hyena", "not supported"]);
    edit_config(&model, |c| c["model_type"] = json!("bert"));
    both_refused(&model, &corpus, &[], &["config.json", "bert", "bidirectional"]);
    edit_config(&model, |c| (c["model_type"], c["attention_sinks"]) = (json!("llama"), json!(4)));
    both_refused(&model, &corpus, &[], &["config.json", "`attention_sinks`", "--accept-key attention_sinks"]);
    refused(args!["inspect", model], &["`attention_sinks`"]);
    told(args!["score", "-m", model, corpus, "--accept-key", "attention_sinks"]);
}

#[test]
fn corpora_that_cannot_be_read() {
    let (folder, _) = small();
    let at = |name: &str| folder.path().join(name);
    let model = copy("llama", folder.path());
    fs::create_dir(at("empty")).unwrap();
    both_refused(&model, &at("empty"), &[], &["empty", "holds no"]);
    fs::write(at("some.txt"), "w1 w2").unwrap();
    both_refused(&model, &at("some.txt"), &[], &["llama", "has no tokenizer.json", "--tokenizer"]);
    words(&model.join("tokenizer.json"), 400);
    fs::write(at("latin.txt"), b"w1 w2 caf\xe9 w3").unwrap();
    both_refused(&model, &at("latin.txt"), &[], &["latin.txt", "byte 9", "0xe9", "UTF-8"]);
    fs::write(at("latin.jsonl"), b"{\"text\": \"w1\"}\n{\"text\": \"w\xe9\"}\n").unwrap();
    both_refused(&model, &at("latin.jsonl"), &[], &["latin.jsonl", "byte 26", "UTF-8"]);
    fs::write(at("rows.jsonl"), "{\"text\": \"w1\"}\n{\"body\": \"w1\"}\n").unwrap();
    both_refused(&model, &at("rows.jsonl"), &[], &["rows.jsonl", "line 2", "--text-field"]);
    fs::write(at("page.html"), "<p>").unwrap();
    both_refused(&model, &at("page.html"), &[], &["page.html", ".txt"]);
    fs::write(at("odd.bin"), [1, 0, 2]).unwrap();
    both_refused(&model, &at("odd.bin"), &[], &["odd.bin", "--token-dtype"]);
    fs::write(at("cut.npy"), &fs::read(at("texts.npy")).unwrap()[..1000]).unwrap();
    both_refused(&model, &at("cut.npy"), &[], &["cut.npy", "cut off"]);
    tokens(&at("large.npy"), 2, 80, 600, 2);
    both_refused(&model, &at("large.npy"), &[], &["large.npy", "vocabulary has 503"]);
    words(&model.join("tokenizer.json"), 600);
    both_refused(&model, &at("some.txt"), &[], &["tokenizer.json", "599", "vocabulary has 503"]);
    fs::write(at("broken.json"), "{").unwrap();
    both_refused(&model, &at("some.txt"), &["--tokenizer", at("broken.json").to_str().unwrap()], &["broken.json"]);
}

#[test]
fn lengths() {
    let (folder, corpus) = small();
    let out = folder.path().join("measured");
    let model = fixture("llama");
    let measure = |more: &[&str], parts: &[&str]| {
        refused(args!["measure", "--quiet", "-m", model, corpus, "--out", out; more], parts);
        assert!(!out.exists());
    };
    measure(&["--length", "81"], &["no text is long enough", "81 tokens", "--length"]);
    measure(&["--length", "300"], &["256 positions of llama", "--length"]);
    measure(&["--splits", "256"], &["256 positions of llama", "--splits"]);
    measure(&["--length", "64", "--splits", "40"], &["--length is 64"]);
    measure(&["--length", "64", "--foreign", "24"], &["needs chunks of 25 documents", "24 documents"]);
    measure(&["--length", "64", "--chunks", "1"], &["chunks of 2 documents", "1 drawn come from 1 document "]);
    let long = folder.path().join("long.npy");
    tokens(&long, 1, 257, 503, 1);
    let rows = folder.path().join("rows.parquet");
    refused(args!["score", "--quiet", "-m", model, long, "--out", rows], &["long.npy[0]", "256 positions"]);
    assert_eq!(names(folder.path()), ["long.npy", "texts.npy"]);
}

#[test]
fn options_that_make_no_sense() {
    let (folder, corpus) = small();
    let model = fixture("llama");
    for (more, parts) in [
        (&["--estimators", "best"] as &[&str], &["--estimators", "best", "direct"] as &[&str]),
        (&["--ratios", "1"], &["--ratios"]),
        (&["--ratios", "two"], &["--ratios", "two"]),
        (&["--splits", "0"], &["--splits"]),
        (&["--foreign", "0"], &["--foreign"]),
        (&["--pairing", "published", "--estimators", "l1out"], &["l1out", "--pairing published"]),
        (&["--pairing", "published", "--foreign", "2"], &["--foreign"]),
        (&["--ratios", "3", "--estimators", "profile"], &["profile", "--ratios"]),
        (&["--pairing", "random"], &["--pairing", "random"]),
        (&["--start", "none"], &["--start"]),
        (&["--text-feild", "body"], &["--text-feild"]),
    ] {
        let out = folder.path().join("measured");
        refused(args!["measure", "--quiet", "-m", model, corpus, "--length", "64", "--out", out; more], parts);
        assert!(!out.exists());
    }
    both_refused(&model, &corpus, &["--memory", "much"], &["--memory", "much"]);
    both_refused(&model, &corpus, &["--memory", "10K"], &["--memory"]);
    both_refused(&model, &corpus, &["--precision", "f16"], &["--precision"]);
    both_refused(&model, &corpus, &["--device", "cuda:99"], &["device"]);
    both_refused(&model, &corpus, &["--device", "cuda:98,99"], &["device"]);
    both_refused(&model, &corpus, &["--device", "cuda:0,"], &["--device", "cuda:N,M"]);
    both_refused(&model, &corpus, &["--device", "tpu"], &["--device", "tpu"]);
    both_refused(&model, &corpus, &["--start", "503"], &["--start", "503"]);
    both_refused(&model, &corpus, &["--start", "first"], &["--start", "first"]);
    both_refused(&model, &corpus, &["--threads", "0"], &["--threads"]);
    both_refused(&model, &corpus, &["--tokenizer", "tokenizer.json"], &["tokenizer.json", "--tokenizer"]);
    refused(args!["score", "-m", model], &["<CORPUS>"]);
    refused(args!["score", corpus], &["--model"]);
    refused(args!["scroe"], &["scroe"]);
    refused(args!["score", "-m", model, corpus, "--per-token"], &["--out"]);
    refused(args!["trace", "-m", model, "5"], &["at least two token ids"]);
    refused(args!["source", "exact", "--process", "markov", "--matrix", "0.9,x"], &["--matrix", "x"]);
    refused(args!["source", "exact", "--process", "markov", "--state", "4"], &["--state", "santa-fe"]);
    refused(args!["source", "exact", "--process", "hierarchical-gaussian", "--splits", "4096"], &["4096", "8192"]);
    refused(args!["source", "plant", "--process", "santa-fe", "--layout", "mamba", "--out", "planted"], &["--layout mamba", "--state"]);
    refused(args!["source", "draw", "--process", "fractional-noise", "--out", "drawn.npy"], &["numbers, not tokens"]);
    refused(args!["source", "draw", "--process", "markov", "--out", "drawn.txt"], &["drawn.txt", ".npy"]);
    refused(
        args!["source", "draw", "--process", "markov", "--documents", "99999999999", "--length", "9999999", "--out", "drawn.npy"],
        &["at most 2^34 tokens"],
    );
    for text in ["--help", "--version"] {
        assert!(told(args![text]).contains("hilberg"));
    }
}

#[test]
fn places_that_cannot_be_written() {
    let (folder, corpus) = small();
    let model = fixture("llama");
    let inside = corpus.join("inside");
    let parts: &[&str] = &["texts.npy/inside"];
    refused(args!["measure", "--quiet", "-m", model, corpus, "--length", "64", "--out", inside], parts);
    refused(args!["score", "--quiet", "-m", model, corpus, "--out", corpus.join("inside.jsonl")], parts);
    refused(args!["source", "draw", "--process", "markov", "--out", corpus.join("inside.npy")], parts);
    refused(args!["source", "plant", "--process", "markov", "--out", inside], parts);
    refused(args!["score", "--quiet", "-m", model, corpus, "--out", folder.path().join("rows.csv")], &["rows.csv", ".parquet"]);
    refused(args!["score", "--quiet", "-m", model, corpus, "--out", folder.path()], &[]);
    refused(args!["measure", "--quiet", "-m", model, corpus, "--length", "64", "--out", folder.path()], &["holds no measurement", "--out"]);
    refused(args!["estimate", folder.path()], &["plan.json"]);
    refused(args!["estimate", folder.path().join("nowhere")], &["nowhere"]);
    assert_eq!(names(folder.path()), ["texts.npy"]);
}

/// Nothing that is there is lost or cut down by a command that could not have meant it.
#[test]
fn what_is_there_stays() {
    let (folder, corpus) = small();
    let (out, model) = (folder.path().join("measured"), fixture("llama"));
    let measure = |chunks: &str| args!["measure", "--quiet", "-m", model, corpus, "--length", "64", "--chunks", chunks, "--out", out];
    assert_eq!(hilberg(measure("16")).status, Some(0));
    let result = fs::read(out.join("result.json")).unwrap();
    refused(measure("8"), &["measured", "16 chunks", "asks for 8"]);
    refused(args!["estimate", out, "--estimators", "direct-ngram"], &["measured", "no direct-ngram", "--estimators direct-ngram"]);
    let shown = hilberg(args!["estimate", out, "--estimators", "vclub", "--json"]);
    assert_eq!(shown.status, Some(0), "{}", shown.err);
    assert_eq!(fs::read(out.join("result.json")).unwrap(), result);

    let texts = folder.path().join("texts.jsonl");
    fs::write(&texts, "{\"text\": \"a\"}\n").unwrap();
    refused(args!["score", "--quiet", "-m", model, texts, "--out", texts], &["texts.jsonl", "part of the corpus"]);
    assert_eq!(fs::read(&texts).unwrap(), b"{\"text\": \"a\"}\n");
}
