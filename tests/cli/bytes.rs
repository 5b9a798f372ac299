//! `--unit bytes`: one axis for models of different tokenizers.

use super::*;
use hilberg::corpus::Stretch;
use hilberg::measure::{Row, read_part};
use hilberg::source::{Markov, Process};

/// A `tokenizer.json` of whole splits: `pattern` cuts a text, and what it cuts is looked up in `vocab`.
fn splits(path: &Path, pattern: &str, vocab: &[&str]) {
    let ids: serde_json::Map<String, Value> = vocab.iter().enumerate().map(|(i, piece)| (piece.to_string(), i.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "post_processor": null, "decoder": null,
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": vocab[0]}
    });
    fs::write(path, tokenizer.to_string()).unwrap();
}

/// A character a token: the unknown one, then `characters`.
fn characters(path: &Path, characters: &str) {
    let each: Vec<String> = characters.chars().map(String::from).collect();
    splits(path, ".", &[&["<unk>"], &each.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
}

fn lines(path: &Path, texts: impl Iterator<Item = String>) {
    fs::write(path, texts.map(|text| serde_json::json!({ "text": text }).to_string() + "\n").collect::<String>()).unwrap();
}

fn rows(out: &Path, model: &str) -> Vec<Row> {
    let record = out.join(model).join("record");
    let mut rows: Vec<Row> = names(&record).iter().flat_map(|part| read_part(&record.join(part)).unwrap().rows).collect();
    rows.sort_by_key(|r| (r.tree.group, r.tree.member));
    rows
}

/// The fixtures `llama` with a token a word, and `mamba2` with one a character, over texts of 70 words.
fn two(folder: &Path) -> (PathBuf, PathBuf, PathBuf) {
    let (a, b) = (copy("llama", folder), copy("mamba2", folder));
    words(&a.join("tokenizer.json"), 320);
    characters(&b.join("tokenizer.json"), "w0123456789 ");
    let corpus = folder.join("texts.jsonl");
    lines(&corpus, (0..20).map(|i| text(70, i)));
    (a, b, corpus)
}

#[test]
fn a_token_a_byte_gives_the_same_in_both_units() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let model = copy("llama", folder.path());
    characters(&model.join("tokenizer.json"), "ACGT");
    let mut rng = Rng::new(3, 0);
    lines(&at("dna.jsonl"), (0..24).map(|_| (0..100).map(|_| ["A", "C", "G", "T"][rng.below(4) as usize]).collect()));
    let run = |unit: &str| {
        let estimators =
            args!["--estimators", "direct,vclub,l1out,infonce,profile", "--foreign", "2", "--length", "48", "--splits", "3,8,16,24", "--ratios", "2,3"];
        told_json([args!["measure", "--quiet", "--json", "-m", model, at("dna.jsonl"), "--out", at(unit), "--unit", unit], estimators].concat())
    };
    let (tokens, mut bytes) = (run("tokens"), run("bytes"));
    assert_eq!((&bytes["design"]["unit"], &tokens["design"]["unit"]), (&"bytes".into(), &Value::Null));
    bytes["design"].as_object_mut().unwrap().remove("unit");
    // The tokenizer stands with the model instead of with the corpus.
    assert_ne!(bytes["corpus"]["xxh3"], tokens["corpus"]["xxh3"]);
    bytes["corpus"] = tokens["corpus"].clone();
    assert_eq!(bytes, tokens);
    let [a, b] = ["tokens", "bytes"].map(|unit| rows(&at(unit), "model-0-llama"));
    for (a, b) in a.iter().zip(&b) {
        // Sums beyond a chunk's end are NaN in both.
        let bits = |r: &Row| r.tree.cross.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!((&a.tree.trunk, bits(a), &a.bytes, &a.bytes), (&b.tree.trunk, bits(b), &b.bytes, &b.tokens));
    }
}

#[test]
fn two_tokenizers_share_an_axis() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (a, b, corpus) = two(folder.path());
    let measure =
        |out: &str, more: &[&str]| args!["measure", "--quiet", "-m", a, "-m", b, corpus, "--length", "128", "--splits", "20,33,64", "--out", at(out); more];
    refused(measure("refused", &[]), &["mamba2", "tokenizer.json", "gives other tokens than", "--unit bytes"]);
    let printed = told(measure("whole", &["--unit", "bytes"]));
    assert!(printed.contains("chunks of 128 bytes") && printed.contains("in nats ± standard error, ℓ in bytes"), "{printed}");
    assert!(fs::read_to_string(at("whole/figure.svg")).unwrap().contains("ℓ (bytes)"));
    assert!(fs::read_to_string(at("whole/result.csv")).unwrap().contains("\nllama,,direct,2,33,bytes,"));

    // The same bytes on either side of every cut, none of them inside a word, and the tokens that these bytes are.
    let texts: Vec<String> = (0..20).map(|i| text(70, i)).collect();
    let (words, letters) = (rows(&at("whole"), "model-0-llama"), rows(&at("whole"), "model-1-mamba2"));
    assert!(words.len() > 30 && words.len() == letters.len());
    for (w, l) in words.iter().zip(&letters) {
        assert_eq!((w.document, w.byte_offset, &w.bytes), (l.document, l.byte_offset, &l.bytes));
        assert_eq!(l.tokens, l.bytes);
        let (text, from) = (&texts[w.document as usize], w.byte_offset.unwrap() as usize);
        let mut places = w.bytes.iter().map(|&n| from + n as usize);
        assert!(Stretch::place(text, from) == from && places.all(|p| p == text.len() || text[p..].starts_with(' ')));
        let counted: Vec<u32> = w.bytes.iter().map(|&n| text[from..from + n as usize].split_whitespace().count() as u32).collect();
        assert_eq!(w.tokens, counted);
    }
    let result: Value = serde_json::from_slice(&fs::read(at("whole/result.json")).unwrap()).unwrap();
    assert_eq!(result["models"][1]["bytes_per_token"], 1.0);
    assert!(result["models"][0]["bytes_per_token"].as_f64().unwrap() > 4.0);

    // Shards, growth and interruption by waves, as of tokens: byte for byte.
    for (out, more) in
        [("first", ["--shard", "1/2", "--chunks", "40"]), ("second", ["--shard", "2/2", "--wave-rows", "300"]), ("first", ["--shard", "1/2", "--threads", "1"])]
    {
        told(measure(out, &[&["--unit", "bytes"], &more[..]].concat()));
    }
    told(args!["estimate", at("second"), at("first"), "--out", at("merged")]);
    for file in ["result.json", "result.csv", "figure.svg"] {
        assert!(fs::read(at("whole").join(file)).unwrap() == fs::read(at("merged").join(file)).unwrap(), "{file}");
    }
    // A model by itself is measured on the same chunks, and one may be added.
    told(args!["measure", "--quiet", "-m", a, corpus, "--length", "128", "--splits", "20,33,64", "--unit", "bytes", "--out", at("added")]);
    told(measure("added", &["--unit", "bytes"]));
    assert!(fs::read(at("added/result.json")).unwrap() == fs::read(at("whole/result.json")).unwrap());
}

#[test]
fn no_character_is_split_and_what_bytes_cannot_say_is_refused() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (a, b, corpus) = two(folder.path());
    characters(&b.join("tokenizer.json"), "日本語のé文x");
    let mut rng = Rng::new(9, 0);
    let texts: Vec<String> = (0..12).map(|_| (0..150).map(|_| ["日", "本", "語", "の", "é", "文", "x"][rng.below(7) as usize]).collect()).collect();
    lines(&at("text.jsonl"), texts.iter().cloned());
    let run =
        args!["measure", "--quiet", "--json", "-m", b, at("text.jsonl"), "--unit", "bytes", "--length", "200", "--splits", "1,50,100", "--out", at("out")];
    assert!(told_json(run)["models"][0]["analysis"]["points"].as_array().unwrap().iter().all(|p| p["value"].is_f64()));
    for row in rows(&at("out"), "model-0-mamba2") {
        let (text, from) = (&texts[row.document as usize], row.byte_offset.unwrap() as usize);
        for (&bytes, &tokens) in row.bytes.iter().zip(&row.tokens) {
            assert_eq!(text[from..from + bytes as usize].chars().count() as u32, tokens);
        }
    }
    // A token of three characters lies across most places, and is read in parts.
    splits(&b.join("tokenizer.json"), "(...|.)", &["<unk>", "日"]);
    let run = args!["measure", "-m", b, at("text.jsonl"), "--unit", "bytes", "--length", "200", "--splits", "50,100", "--out", at("parts")];
    let said = hilberg(run);
    assert!(said.status == Some(0) && said.err.contains("places where chunks are cut lie inside a token, which is read in two parts there"), "{}", said.err);

    let bytes = |model: &Path, corpus: &Path, more: &[&str]| args!["measure", "--quiet", "-m", model, corpus, "--unit", "bytes", "--out", at("no"); more];
    refused(bytes(&a, &corpus, &["--estimators", "direct,direct-ngram"]), &["direct-ngram", "--unit bytes"]);
    refused(bytes(&a, &corpus, &["--length", "4000"]), &["no text is long enough: a chunk has 4000 bytes and the longest of 20 documents has "]);
    refused(bytes(&a, &corpus, &["--length", "100", "--splits", "64"]), &["a split of 64 bytes at ratio 2 needs chunks of 128 bytes"]);
    tokens(&at("ids.npy"), 4, 80, 331, 1);
    refused(bytes(&a, &at("ids.npy"), &["--length", "64"]), &["ids.npy", "is made of tokens", "--unit bytes"]);
    edit_config(&a, |c| c["max_position_embeddings"] = 16.into());
    refused(bytes(&a, &corpus, &["--length", "128"]), &["tokens, more than the 16 positions of llama; choose a smaller --length"]);
    assert!(!at("no").exists());
}

/// A Markov chain of letters, read letter by letter and in pairs of letters by two models that both know its law: what each says of the same bytes is
/// the same number, and its mean the known one.
#[test]
fn two_tokenizers_of_one_law_agree() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let chain = Markov::new(&[vec![0.9, 0.1], vec![0.2, 0.8]]).unwrap();
    // Documents of one chunk each, so that every chunk begins with a pair.
    lines(&at("texts.jsonl"), (0..400).map(|i| chain.draw(64, &mut Rng::new(5, i)).iter().map(|&s| if s == 0 { 'a' } else { 'b' }).collect()));
    let plant = |name: &str, matrix: &str| told(args!["source", "plant", "--process", "markov", "--matrix", matrix, "--positions", "64", "--out", at(name)]);
    plant("letters", "0.9,0.1;0.2,0.8");
    // P(cd | ab) = P(c | b) P(d | c).
    plant("pairs", "0.81,0.09,0.02,0.08;0.18,0.02,0.16,0.64;0.81,0.09,0.02,0.08;0.18,0.02,0.16,0.64");
    splits(&at("letters/tokenizer.json"), "[ab]", &["a", "b"]);
    splits(&at("pairs/tokenizer.json"), "[ab]{2}", &["aa", "ab", "ba", "bb"]);
    let run = args!["measure", "--quiet", "--json", "-m", at("letters"), "-m", at("pairs"), at("texts.jsonl"), "--unit", "bytes", "--chunks", "400"];
    let result = told_json([run, args!["--length", "64", "--splits", "2,8,32", "--ratios", "2,4", "--out", at("out")]].concat());
    let known = told_json(args!["source", "exact", "--json", "--process", "markov", "--matrix", "0.9,0.1;0.2,0.8", "--splits", "2"]);
    let point = |model: usize| result["models"][model]["analysis"]["points"].as_array().unwrap();
    assert_eq!(point(0).len(), 2 * (3 + 2));
    for (letters, pairs) in point(0).iter().zip(point(1)) {
        let [a, b, se] = [&letters["value"], &pairs["value"], &letters["se"]].map(|x| x.as_f64().unwrap());
        // At most 64 predictions on either side, each within 1e-5 nats of the law, as planted networks are built to be.
        assert!((a - b).abs() < 2.0 * 64.0 * 1e-5, "{letters} {pairs}");
        // Ten cells at once: 4.5 standard errors leave 1e-4 to chance.
        let want = known[0][letters["estimator"].as_str().unwrap().replace("direct", "information")]["value"].as_f64().unwrap();
        assert!((a - want).abs() < 4.5 * se, "{letters}, known {want}");
    }
    let [letters, pairs] = ["model-0-letters", "model-1-pairs"].map(|m| rows(&at("out"), m));
    assert!(letters.iter().zip(&pairs).all(|(l, p)| l.bytes == p.bytes && l.tokens.iter().zip(&p.tokens).all(|(a, b)| *a == 2 * b)));
}
