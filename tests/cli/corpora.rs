//! Corpora as they come: packed, in columns, as records, in patterns, by standard input.

use super::*;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;

/// A model that reads words, and a folder for its corpora.
fn model() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let model = copy("llama", folder.path());
    words(&model.join("tokenizer.json"), 400);
    (folder, model)
}

/// A run with `input` on standard input and its temporary files in `tmp`.
fn fed(args: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &[u8], tmp: &Path) -> Said {
    let mut child = command(args).env("TMPDIR", tmp).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses something else does not read it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let done = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { status: done.status.code(), out: text(done.stdout), err: text(done.stderr) }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn write_parquet(path: &Path, columns: [(&str, &[String]); 2]) {
    let schema = format!("message m {{ required binary {} (STRING); required binary {} (STRING); }}", columns[0].0, columns[1].0);
    let mut writer = SerializedFileWriter::new(fs::File::create(path).unwrap(), Arc::new(parse_message_type(&schema).unwrap()), Default::default()).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for (_, values) in columns {
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = values.iter().map(|v| v.as_str().into()).collect();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

/// The same documents in every format score the same, and measure the same where their ids agree.
#[test]
fn formats_agree() {
    let (folder, model) = model();
    let at = |name: &str| folder.path().join(name);
    let texts: Vec<String> = (0..6).map(|i| text(70, i)).collect();
    let ids: Vec<String> = (0..6).map(|i| format!("d{i}")).collect();
    let rows: String = ids.iter().zip(&texts).map(|(id, text)| format!("{}\n", json!({"lang": "en", "body": text, "id": id}))).collect();
    fs::write(at("a.jsonl"), &rows).unwrap();
    fs::write(at("b.json.gz"), [gzip(&rows.as_bytes()[..700]), gzip(&rows.as_bytes()[700..])].concat()).unwrap();
    fs::write(at("c.ndjson.zst"), zstd::encode_all(rows.as_bytes(), 3).unwrap()).unwrap();
    write_parquet(&at("d.parquet"), [("body", &texts), ("id", &ids)]);
    let score = |corpus: &Path| told_json(args!["score", "-m", model, corpus, "--text-field", "body", "--json", "--quiet"]);
    let want = score(&at("a.jsonl"));
    assert_eq!(want["documents"], 6);
    for name in ["b.json.gz", "c.ndjson.zst", "d.parquet"] {
        assert_eq!(score(&at(name)), want, "{name}");
    }
    for (i, text) in texts.iter().enumerate() {
        let folder = at("texts");
        fs::create_dir_all(&folder).unwrap();
        match i % 3 {
            0 => fs::write(folder.join(format!("{i}.txt")), text),
            1 => fs::write(folder.join(format!("{i}.txt.gz")), gzip(text.as_bytes())),
            _ => fs::write(folder.join(format!("{i}.txt.zst")), zstd::encode_all(text.as_bytes(), 1).unwrap()),
        }
        .unwrap();
    }
    assert_eq!(score(&at("texts")), want);
    assert_eq!(score(&at("te*s/[0-9].txt*")), want);
    // Standard input, spooled for two readings, leaves nothing behind; a packed one is recognised.
    let tmp = at("tmp");
    fs::create_dir(&tmp).unwrap();
    let measure = |corpus: &str, out: &Path| args!["measure", "-m", model, corpus, "--text-field", "body", "--length", "64", "--out", out];
    assert_eq!(hilberg(measure(at("a.jsonl").to_str().unwrap(), &at("one"))).status, Some(0));
    for (input, out) in [(rows.clone().into_bytes(), at("two")), (gzip(rows.as_bytes()), at("three"))] {
        let size = input.len();
        let said = fed(measure("-", &out), &input, &tmp);
        assert_eq!(said.status, Some(0), "{}", said.err);
        assert!(said.err.contains(&format!("note: standard input ({size} bytes) is kept in {} while it is needed", tmp.display())), "{}", said.err);
        assert_eq!(fs::read(out.join("result.json")).unwrap(), fs::read(at("one/result.json")).unwrap());
        assert_eq!(names(&tmp), [] as [&str; 0]);
    }
    let said = fed(args!["score", "-m", model, "-", "--text-field", "body", "--json"], rows.as_bytes(), &tmp);
    assert_eq!((said.status, serde_json::from_str::<Value>(&said.out).unwrap()), (Some(0), want), "{}", said.err);
    let said = fed(measure("-", &at("four")), rows.as_bytes(), &at("nowhere"));
    assert_eq!(said.status, Some(2));
    assert!(said.err.starts_with("error: standard input: cannot be kept in ") && said.err.contains("TMPDIR") && said.err.lines().count() == 1, "{}", said.err);
}

#[test]
fn standard_input_of_other_formats() {
    let (folder, model) = model();
    let rows = folder.path().join("rows.jsonl");
    let run = |format: &str, input: &[u8]| {
        let said = fed(args!["score", "-m", model, "-", "--format", format, "--out", rows, "--quiet"], input, folder.path());
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
        let ids = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_string();
        fs::read_to_string(&rows).unwrap().lines().map(ids).collect::<Vec<_>>()
    };
    assert_eq!(run("txt", b"w1 w2\nw3\n"), ["stdin"]);
    assert_eq!(run("fasta", b">s1 of two\nw1\nw2\n>s2\nw3\n"), ["s1", "s2"]);
    assert_eq!(run("jsonl", b"{\"text\": \"w1\"}\n\n{\"text\": \"w2\"}"), ["stdin:1", "stdin:3"]);
    let said = fed(args!["score", "-m", model, "-", "--format", "jsonl"], b"w1 w2", folder.path());
    assert_eq!(said.status, Some(2));
    assert!(said.err.starts_with("error: standard input: line 1 is not a JSON object: "), "{}", said.err);
}

#[test]
fn what_was_odd_is_told() {
    let (folder, model) = model();
    let corpus = folder.path().join("c");
    fs::create_dir(&corpus).unwrap();
    fs::write(corpus.join("a.txt"), "").unwrap();
    fs::write(corpus.join("b.txt"), b"w1 w2 caf\xe9 w3").unwrap();
    fs::write(corpus.join("c.jsonl"), b"{\"id\": 1, \"text\": \"w1 \\ud800 w2\"}\n{\"id\": 1, \"text\": \"w4\"}\n").unwrap();
    fs::write(corpus.join("d.md"), "").unwrap();
    refused(args!["score", "-m", model, corpus, "--quiet"], &["b.txt", "byte 9 (0xe9)", "--lossy"]);
    let said = hilberg(args!["score", "-m", model, corpus, "--lossy"]);
    assert_eq!(said.status, Some(0), "{}", said.err);
    for part in [
        "note: skipped files of other kinds",
        ": 1 .md\n",
        "note: 1 document empty, the first c/a.txt\n",
        "note: 1 document with an id that another has, too; the first is 1\n",
        "note: 2 documents with bytes that are not UTF-8: 7 bytes were read as U+FFFD\n",
    ] {
        assert!(said.err.contains(part), "`{part}` is not in: {}", said.err);
    }
    assert_eq!(hilberg(args!["score", "-m", model, corpus, "--lossy", "--quiet"]).err, "");
}

#[test]
fn what_cannot_be_read_is_refused() {
    let (folder, model) = model();
    let at = |name: &str| folder.path().join(name);
    let refuse = |name: &str, bytes: &[u8], more: &[&str], parts: &[&str]| {
        fs::write(at(name), bytes).unwrap();
        refused(args!["score", "--quiet", "-m", model, at(name), "--out", at("rows.jsonl"); more], parts);
        refused(args!["measure", "--quiet", "-m", model, at(name), "--length", "8", "--out", at("measured"); more], parts);
        assert!(!at("rows.jsonl").exists() && !at("measured").exists());
    };
    let rows: String = (0..200).map(|i| format!("{}\n", json!({"text": text(9, i)}))).collect();
    let (gz, zst) = (gzip(rows.as_bytes()), zstd::encode_all(rows.as_bytes(), 3).unwrap());
    refuse("cut.jsonl.gz", &gz[..gz.len() - 5], &[], &["cut.jsonl.gz", "gzip data are damaged or cut off"]);
    refuse("cut.jsonl.zst", &zst[..zst.len() - 5], &[], &["cut.jsonl.zst", "zstd data are damaged or cut off"]);
    refuse("no.txt.gz", b"w1 w2", &[], &["no.txt.gz", "gzip data are damaged or cut off after 0 unpacked bytes"]);
    refuse("no.txt.zst", b"w1 w2", &[], &["no.txt.zst", "zstd data are damaged or cut off after 0 unpacked bytes"]);
    refuse("no.parquet", b"w1 w2", &[], &["no.parquet", "is no Parquet file that can be read"]);
    refuse("no.fa", b"w1 w2", &[], &["no.fa", "line 1 is no FASTA"]);
    refuse("array.json", b"[\n{\"text\": \"a\"}\n]\n", &[], &["array.json", "line 1 is not a JSON object", "every line"]);
    refuse("some.txt", b"w1", &["--group-field", "lang"], &["some.txt", "--group-by folder"]);
    refuse("some.jsonl", b"{\"text\": \"w1\"}", &["--group-field", "lang"], &["some.jsonl", "line 1", "\"lang\"", "--group-field"]);
    refuse("odd.txt", b"w1", &["--group-field", "lang", "--group-by", "folder"], &["--group-field", "--group-by"]);
    refused(args!["score", "-m", model, at("*.fasta")], &["*.fasta", "matches no file"]);
    refused(args!["score", "-m", model, "-", "-"], &["standard input", "twice"]);
}

/// Labels, published pieces and copies reach the record and the notices.
#[test]
fn labels_pieces_and_copies_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let model = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("assets/models/books-llama");
    let words = |n: usize, of: &str| (0..n).map(|i| format!("{of} went {i} miles. ")).collect::<String>();
    let rows: String = (0..24)
        .map(|i| json!({ "text": words(60, &format!("Traveller {}", i.min(22))), "kind": if i % 2 == 0 { "sea" } else { "land" } }).to_string() + "\n")
        .collect();
    let corpus = folder.path().join("rows.jsonl");
    fs::write(&corpus, rows).unwrap();
    let out = folder.path().join("out");
    let said = hilberg(args!["measure", "-m", model, corpus, "--group-field", "kind", "--length", "64", "--chunks", "20", "--json", "--out", out]);
    assert_eq!(said.status, Some(0), "{}", said.err);
    assert!(said.err.contains("1 document has the same text as another one (rows.jsonl:23 and rows.jsonl:24, for example)"), "{}", said.err);
    let result: Value = serde_json::from_str(&said.out).unwrap();
    let labels: Vec<&str> = result["models"][0]["labels"].as_array().unwrap().iter().map(|l| l["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["land", "sea"]);
    let groups = |of: &Value| of["analysis"]["points"][0]["groups"].as_u64().unwrap();
    let each: u64 = result["models"][0]["labels"].as_array().unwrap().iter().map(groups).sum();
    assert_eq!(each, groups(&result["models"][0]), "every group carries one label");

    // Two pieces of 5,000 words in one text, and one in another, whose rest is too short for a second.
    let corpus = folder.path().join("books");
    fs::create_dir(&corpus).unwrap();
    fs::write(corpus.join("a.txt"), words(2600, "Anna")).unwrap();
    fs::write(corpus.join("b.txt"), words(1500, "Boris")).unwrap();
    let out = folder.path().join("pieces");
    let result = told_json(args![
        "measure",
        "-m",
        model,
        corpus,
        "--pieces",
        "published",
        "--length",
        "64",
        "--chunks",
        "8",
        "--estimators",
        "direct",
        "--foreign",
        "0",
        "--json",
        "--quiet",
        "--out",
        out
    ]);
    assert_eq!(groups(&result["models"][0]), 3);
    refused(
        args!["measure", "-m", model, corpus, "--pieces", "published", "--estimators", "profile", "--out", folder.path().join("no")],
        &["--pieces published", "profile"],
    );
}
