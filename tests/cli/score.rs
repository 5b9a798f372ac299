//! Prompts with completions, and windows: against the engine one text at a time, and against float64.

use super::outputs::json_lines;
use super::*;
use hilberg::backend::cpu::Cpu;
use hilberg::backend::reference::Reference;
use hilberg::engine::{Engine, Options, Scorer, score_lists};
use hilberg::model;
use hilberg::score::{Detail, Prompt, score_prompts};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use serde_json::json;

fn engine(name: &str) -> Engine<Cpu> {
    let (spec, checkpoint) = model::open(&fixture(name), &Default::default()).unwrap();
    Engine::new(Cpu::new(Some(2)).unwrap(), spec, checkpoint, Options::default()).unwrap()
}

fn ids(seed: u64, n: usize) -> Vec<u32> {
    let mut rng = Rng::new(seed, 0);
    (0..n).map(|_| 2 + rng.below(300) as u32).collect()
}

/// Rows of token ids whose prompts share beginnings in every way: none, some, all, one within another, repeated apart.
fn prompts() -> Vec<(Vec<u32>, Vec<Vec<u32>>)> {
    let header = ids(1, 60);
    let prompt = |n: usize, seed: u64, own: usize| [&header[..n], &ids(seed, own)].concat();
    let some = |seed: u64, k: usize| (0..k).map(|i| ids(seed + i as u64, 1 + (seed as usize + i) % 5)).collect::<Vec<_>>();
    vec![
        (prompt(60, 2, 5), some(10, 4)),
        (prompt(60, 3, 30), some(20, 2)),
        (prompt(60, 3, 30), some(30, 1)),
        (vec![], some(40, 3)),
        (prompt(20, 4, 7), some(50, 4)),
        (prompt(60, 2, 5), some(60, 2)),
        (prompt(60, 3, 12), some(70, 2)),
        (prompt(60, 5, 0), some(80, 5)),
        (prompt(3, 6, 4), some(90, 2)),
        (vec![7], vec![ids(99, 40)]),
    ]
}

#[test]
fn completions_are_scored_as_if_alone() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let rows = prompts();
    let lines = rows.iter().enumerate().map(|(i, (p, c))| json!({"é": {"n": [i, null]}, "prompt": p, "id": i, "completions": c, "z": 1.50}).to_string() + "\n");
    fs::write(at("rows.jsonl"), lines.collect::<String>()).unwrap();
    for name in ["llama", "mamba2"] {
        let score = |out: &str, more: &[&str]| {
            told_json(args!["score", "--quiet", "--json", "--start", "1", "-m", fixture(name), at("rows.jsonl"), "--per-token", "--out", at(out); more])
        };
        let summary = score("a.jsonl", &[]);
        assert_eq!(score("b.jsonl", &["--threads", "1", "--wave-rows", "9"]), summary);
        assert_eq!(fs::read(at("a.jsonl")).unwrap(), fs::read(at("b.jsonl")).unwrap());
        score("a.parquet", &[]);
        let parquet = SerializedFileReader::new(fs::File::open(at("a.parquet")).unwrap()).unwrap();
        let mut parquet = parquet.get_row_iter(None).unwrap().map(Result::unwrap);
        let mut engine = engine(name);
        let (mut completions, mut greedy, mut sum) = (0, 0, 0.0);
        for ((i, (prompt, all)), row) in rows.iter().enumerate().zip(json_lines(&at("a.jsonl"))) {
            assert_eq!(row.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), ["id", "é", "z", "completions"]);
            assert_eq!((row["id"].as_str().unwrap(), &row["é"], &row["z"]), (i.to_string().as_str(), &json!({"n": [i, null]}), &json!(1.5)));
            assert_eq!(row["completions"].as_array().unwrap().len(), all.len());
            let mut of_row = 0.0;
            for (k, (tokens, said)) in all.iter().zip(row["completions"].as_array().unwrap()).enumerate() {
                let context = [&[1], &prompt[..]].concat();
                let path = [&context[..], tokens].concat();
                let alone = score_lists(&mut engine, &[path, context.clone()]).unwrap();
                let own = &alone[0][context.len() - 1..];
                let logprobs: Vec<f32> = said["logprobs"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
                assert!(logprobs.iter().zip(own).all(|(a, b)| a.to_bits() == b.to_bits()) && logprobs.len() == own.len(), "{name}: {logprobs:?} {own:?}");
                let total = own.iter().fold(0.0, |s, &v| s + v as f64);
                assert_eq!((said["sum"].as_f64().unwrap(), said["count"].as_u64().unwrap()), (total, tokens.len() as u64));
                assert_eq!((&said["tokens"], &said["bytes"]), (&json!(tokens), &Value::Null));
                // The whole less the prompt: 110 float64 additions of numbers below 30 nats.
                let f64_sum = |v: &[f32]| v.iter().map(|&x| x as f64).sum::<f64>();
                assert!((f64_sum(&alone[0]) - f64_sum(&alone[1]) - total).abs() < 110.0 * 110.0 * 30.0 * f64::EPSILON);
                let p = parquet.next().unwrap();
                assert_eq!((p.get_string(0).unwrap().as_str(), p.get_int(1).unwrap()), (i.to_string().as_str(), k as i32));
                assert_eq!((p.get_double(4).unwrap(), p.get_long(5).unwrap(), p.get_bool(6).unwrap()), (total, tokens.len() as i64, said["is_greedy"] == true));
                assert_eq!(p.get_string(8).unwrap(), &format!("{{\"é\":{{\"n\":[{i},null]}},\"z\":1.5}}"));
                completions += 1;
                greedy += u64::from(said["is_greedy"] == true);
                of_row += total;
            }
            sum += of_row;
        }
        let of_prompts: usize = rows.iter().map(|(p, _)| p.len() + 1).sum();
        let said = &summary["completions"];
        assert_eq!(
            (said["completions"].as_u64(), said["greedy"].as_u64(), said["prompt_tokens"].as_u64()),
            (Some(completions), Some(greedy), Some(of_prompts as u64))
        );
        // The start token and the header of 60; 5 and 30 tokens after it (12 of a third prompt begin those 30); 7 after 20; then what shares nothing: 1, 8 and 2.
        assert_eq!(said["prompt_tokens_fed"].as_u64(), Some(61 + 5 + 30 + 7 + 1 + 8 + 2));
        assert_eq!((summary["sum"].as_f64().unwrap(), summary["documents"].as_u64()), (sum, Some(rows.len() as u64)));
        let dry = told_json(args!["score", "--quiet", "--json", "--dry-run", "-m", fixture(name), at("rows.jsonl")]);
        assert_eq!((dry["documents"].as_u64(), dry["tokens"].as_u64()), (Some(10), summary["tokens"].as_u64()));
    }
}

#[test]
fn greedy_completions_are_those_of_float64() {
    let (spec, checkpoint) = model::open(&fixture("llama"), &Default::default()).unwrap();
    let mut truth = Engine::new(Reference, spec, checkpoint, Options::default()).unwrap();
    let vocab = truth.vocab() as u32;
    let mut rows = Vec::new();
    for seed in 0..4 {
        let context = [&[1], &ids(seed, 9)[..]].concat();
        let mut chosen = Vec::new();
        for _ in 0..3 {
            let prompt = Prompt { context: [&context[..], &chosen].concat(), completions: (0..vocab).map(|t| vec![t]).collect() };
            let scores = score_prompts(&mut truth, &[prompt], Detail::Document).unwrap();
            let best: Vec<u32> = (0..vocab).filter(|&t| scores[0][t as usize].is_greedy()).collect();
            assert_eq!(best.len(), 1);
            assert!(scores[0].iter().all(|s| s.sum <= scores[0][best[0] as usize].sum));
            chosen.extend(best);
        }
        let mut off = chosen.clone();
        off[1] = (off[1] + 1) % vocab;
        rows.push(Prompt { context, completions: vec![chosen.clone(), off, chosen[..1].to_vec(), vec![(chosen[0] + 1) % vocab]] });
    }
    for row in score_prompts(&mut engine("llama"), &rows, Detail::Document).unwrap() {
        assert_eq!(row.iter().map(|c| c.is_greedy()).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!((row[0].greedy, row[2].greedy, row[3].greedy), (3, 1, 0));
        assert!(row[1].greedy >= 1 && row[1].greedy < 3);
    }
}

#[test]
fn texts_and_their_joining() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    let model = copy("llama", folder.path());
    words(&model.join("tokenizer.json"), 400);
    let lines = [
        json!({"id": "a", "question": "w1 w2 w3 ", "answers": ["w4 w5", " w6"], "note": "ü"}),
        json!({"id": "b", "question": "w1 w2 w3", "answers": " w4 w5"}),
        json!({"id": "c", "question": "", "answers": ["w4 w5"]}),
    ];
    fs::write(at("rows.jsonl"), lines.map(|l| l.to_string()).join("\n")).unwrap();
    let fields = ["--prompt-field", "question", "--completion-field", "answers"];
    let score = |out: &str, more: &[&str]| {
        told_json(args!["score", "--quiet", "--json", "-m", model, at("rows.jsonl"), "--out", at(out); [&fields[..], more].concat()]);
        json_lines(&at(out))
    };
    let rows = score("a.jsonl", &["--per-token"]);
    let (a, b, c) = (&rows[0]["completions"], &rows[1], &rows[2]["completions"][0]);
    // w4 is id 5 of this tokenizer, and white space belongs to the completion: its bytes are counted.
    assert_eq!((&a[0]["tokens"], &a[0]["bytes"], &a[1]["tokens"], &a[1]["bytes"]), (&json!([5, 6]), &json!(6), &json!([7]), &json!(4)));
    assert_eq!((&b["sum"], &b["bytes"], &b["is_greedy"]), (&a[0]["sum"], &json!(6), &a[0]["is_greedy"]));
    assert_eq!(rows[0]["note"], "ü");
    let document = score_lists(&mut engine("llama"), &[vec![1, 5, 6], vec![1, 2, 3, 4, 5, 6], vec![2, 3, 4, 5, 6]]).unwrap();
    let sum = |v: &[f32]| v.iter().fold(0.0, |s, &x| s + x as f64);
    assert_eq!((c["sum"].as_f64(), b["sum"].as_f64()), (Some(sum(&document[0])), Some(sum(&document[1][3..]))));
    let empty_only = score("b.jsonl", &["--start-before", "empty", "--separate"]);
    assert_eq!(empty_only[1]["sum"].as_f64(), Some(sum(&document[2][2..])));
    assert_eq!(empty_only[2]["completions"][0]["sum"], c["sum"]);
}

#[test]
fn windows_are_scored_as_texts_by_hand() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (i, n) in [700, 100, 99, 1].into_iter().enumerate() {
        tokens(&at(&format!("texts-{i}.npy")), 1, n, 331, i as u64);
    }
    let corpus: Vec<PathBuf> = (0..4).map(|i| at(&format!("texts-{i}.npy"))).collect();
    let mut engine = engine("llama");
    for start in [Some(1), None] {
        let of_start: &[&str] = if start.is_some() { &[] } else { &["--start", "none"] };
        let windows = [&["--window", "100", "--stride", "30"], of_start].concat();
        let command = args!["score", "--quiet", "--json", "-m", fixture("llama"), corpus[0], corpus[1], corpus[2], corpus[3], "--per-token", "--out", at("w.jsonl"); windows];
        let summary = told_json(command);
        assert_eq!(summary["windows"], json!({"size": 100, "stride": 30, "documents": if start.is_some() { 2 } else { 1 }}));
        for row in json_lines(&at("w.jsonl")) {
            let text: Vec<u32> = row["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
            let path: Vec<u32> = start.into_iter().chain(text.iter().copied()).collect();
            let (mut want, mut sum, mut scored, mut first, mut windows) = (vec![None; text.len() + 1 - path.len().max(1)], 0.0, 1, 0, 0);
            while scored < path.len() {
                let end = path.len().min(first + 100);
                let alone = score_lists(&mut engine, &[path[first..end].to_vec()]).unwrap().remove(0);
                let own = &alone[scored - first - 1..];
                want.extend(own.iter().map(|&v| Some(v)));
                sum += own.iter().fold(0.0, |s, &v| s + v as f64);
                (scored, first, windows) = (end, first + 30, windows + 1);
            }
            let said: Vec<Option<f32>> = row["logprobs"].as_array().unwrap().iter().map(|v| v.as_f64().map(|v| v as f32)).collect();
            assert!(said == want, "{}: token {:?} differs", row["id"], said.iter().zip(&want).position(|(a, b)| a != b));
            assert_eq!((row["sum"].as_f64(), row["windows"].as_u64()), (Some(sum), Some(windows)));
        }
    }
    let refuse = |more: &[&str], parts: &[&str]| refused(args!["score", "--quiet", "-m", fixture("llama"), corpus[0]; more], parts);
    refuse(&["--window", "100", "--stride", "100"], &["100 tokens cannot slide by 100"]);
    refuse(&["--window", "1"], &["cannot slide"]);
    refuse(&["--window", "258"], &["256 positions"]);
    refuse(&["--stride", "5"], &["--window"]);
    refuse(&[], &["texts-0.npy", "--window"]);
}

#[test]
fn bad_rows_are_refused_by_their_line() {
    let folder = TempDir::new().unwrap();
    let model = copy("llama", folder.path());
    words(&model.join("tokenizer.json"), 400);
    let (rows, out) = (folder.path().join("rows.jsonl"), folder.path().join("out.jsonl"));
    let good = "{\"prompt\": \"w1\", \"completion\": \" w2\"}\n";
    let refuse = |line: &str, more: &[&str], parts: &[&str]| {
        fs::write(&rows, [good, "\n", line].concat()).unwrap();
        refused(args!["score", "--quiet", "-m", model, rows, "--out", out; more], &[&["rows.jsonl: ", "line 3"], parts].concat());
        assert!(!out.exists());
    };
    refuse("{\"completion\": \"w2\", \"x\": 1}", &[], &["no field \"prompt\" but completion, x", "--prompt-field"]);
    refuse("{\"prompt\": \"w2\", \"text\": \"w1\"}", &[], &["no field \"completion\" or \"completions\" but prompt, text", "--completion-field"]);
    refuse("{\"prompt\": \"w2\", \"completion\": \"a\", \"completions\": [\"b\"]}", &[], &["both"]);
    refuse("{\"prompt\": \"w2\", \"completions\": []}", &[], &["\"completions\" is an empty list"]);
    refuse("{\"prompt\": null, \"completions\": [\"w1\"]}", &[], &["\"prompt\" is neither a string nor a list of token ids"]);
    refuse("{\"prompt\": \"w2\", \"completion\": {\"a\": 1}}", &[], &["\"completion\" is neither a string nor a list of token ids, nor a list of these"]);
    refuse("{\"prompt\": \"w2\", \"completions\": [\"w1\", 3]}", &[], &["at its place 2"]);
    refuse("{\"prompt\": [1, -2], \"completion\": [3]}", &[], &["\"prompt\" is neither"]);
    refuse("{\"prompt\": [1, 2], \"completion\": [3.5]}", &[], &["\"completion\" is neither"]);
    refuse("{\"prompt\": [1, 2], \"completion\": \"w1\"}", &[], &["mixed"]);
    refuse("{\"prompt\": \"w1\", \"completions\": [\"w1\", [2]]}", &[], &["mixed"]);
    refuse("{\"prompt\": [2], \"completion\": [503]}", &[], &["token 503 is not among the model's 503 ids"]);
    refuse("{\"prompt\": [4294967296], \"completion\": [5]}", &[], &["\"prompt\" is neither"]);
    refuse("{\"prompt\": \"w1\", \"completions\": [\" w1\", \"\"]}", &[], &["completion 2 is empty"]);
    refuse("{\"prompt\": \"w1\", \"completions\": [\" \"]}", &[], &["completion 1 is no token of its own", "--separate"]);
    refuse("{\"prompt\": [1], \"completions\": [[2], []]}", &[], &["completion 2 is empty"]);
    refuse("{\"prompt\": \"\", \"completion\": \"w1\"}", &["--start", "none"], &["prompt is empty", "--start ID"]);
    refuse("{\"prompt\": \"w1\", \"completion\": \"w1\", \"sum\": 1}", &[], &["\"sum\"", "rename"]);
    refuse("{\"prompt\": \"w1\", \"completions\": [\"w1\"], \"completions\": 7}", &[], &["\"completions\" is neither"]);
    refuse(&json!({"prompt": text(256, 1), "completion": " w1 w2"}).to_string(), &[], &["259 tokens", "256 positions"]);
    refuse("{\"prompt\": \"w1\"", &[], &["not a JSON object"]);
    fs::write(&rows, good).unwrap();
    refused(args!["score", "-m", model, rows, "--window", "9"], &["--window", "rows"]);
    refused(args!["score", "-q", "-m", model, rows, "--prompt-field", "question"], &["line 1", "no field \"question\" but prompt, completion"]);
    refused(args!["score", "-q", "-m", fixture("llama"), rows], &["tokenizer.json"]);
    let (_texts, tokens) = small();
    refused(args!["score", "-q", "-m", model, tokens, "--prompt-field", "prompt"], &["texts.npy", "JSON lines"]);
    assert!(told(args!["score", "-q", "-m", model, rows]).contains("rows            1\n"));
}
