//! Peak memory is what `inspect` says.

use super::*;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// A Llama of zeros: a header, and a hole in the file. Every token has the probability 1/vocabulary.
fn hollow(folder: &Path, layers: usize, d: usize, ff: usize, vocab: usize) -> PathBuf {
    let mut shapes = vec![("model.embed_tokens".to_string(), vec![vocab, d]), ("model.norm".to_string(), vec![d])];
    for l in 0..layers {
        for (name, shape) in [("q_proj", [d, d]), ("k_proj", [d, d]), ("v_proj", [d, d]), ("o_proj", [d, d])] {
            shapes.push((format!("model.layers.{l}.self_attn.{name}"), shape.to_vec()));
        }
        for (name, shape) in [("gate_proj", [ff, d]), ("up_proj", [ff, d]), ("down_proj", [d, ff])] {
            shapes.push((format!("model.layers.{l}.mlp.{name}"), shape.to_vec()));
        }
        for name in ["input_layernorm", "post_attention_layernorm"] {
            shapes.push((format!("model.layers.{l}.{name}"), vec![d]));
        }
    }
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, shape) in shapes {
        let end = at + 4 * shape.iter().product::<usize>();
        header.insert(format!("{name}.weight"), json!({"dtype": "F32", "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let mut text = Value::from(header).to_string();
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(text.len() as u64).to_le_bytes()).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_len((8 + text.len() + at) as u64).unwrap();
    let config = json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": vocab, "hidden_size": d, "intermediate_size": ff, "num_hidden_layers": layers,
        "num_attention_heads": d / 64, "num_key_value_heads": d / 64, "head_dim": 64, "hidden_act": "silu", "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true, "bos_token_id": 1, "eos_token_id": 2
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    folder.to_path_buf()
}

/// Runs to the end, and says the most, in bytes, of what the system tells by these names, sampled.
fn peaks<const N: usize>(mut command: Command, names: [&str; N]) -> [u64; N] {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut most = [0; N];
    loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let of = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) << 10;
        most = std::array::from_fn(|i| most[i].max(of(names[i])));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return most;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A hundred megabytes, so that neither the program's own nor how the system counts (a page table's pages a processor at a time) makes a tenth.
#[test]
fn peaks_are_what_inspect_says() {
    let folder = TempDir::new().unwrap();
    let model = hollow(folder.path(), 5, 512, 1536, 10_240);
    let (texts, out) = (folder.path().join("texts.npy"), folder.path().join("scores.jsonl"));
    // With the start token, and without the last one, which is not fed, two fill a wave of 1,024 rows; of one of 256 rows they leave keys and values to the next.
    tokens(&texts, 2, 512, 10_240, 5);
    refused(args!["score", "-m", model, texts, "--memory", "128M", "--weights", "resident"], &["--memory more", "--weights stream"]);
    for (memory, weights, wave_rows, streamed) in
        [("256M", "auto", 1024, false), ("256M", "resident", 256, false), ("128M", "auto", 1024, true), ("256M", "stream", 1024, true)]
    {
        let rows = wave_rows.to_string();
        let options = ["--memory", memory, "--weights", weights, "--wave-rows", &rows, "--threads", "2"];
        let said = &told_json(args!["inspect", "--json", "--length", "512", model; options])["memory"];
        assert_eq!((&said["streamed"], &said["wave_rows"]), (&Value::from(streamed), &Value::from(wave_rows)));
        // Of five layers the keys and values of the rows that a later wave sees: at least those of the waves before its last.
        let kept = if wave_rows < 512 { 5 * 2 * 512 * 4 * (512 - wave_rows)..5 * 2 * 512 * 4 * 512 + 1 } else { 0..1 };
        assert!(kept.contains(&said["kept"].as_u64().unwrap()), "{said}");
        let [allocated, resident] = peaks(command(args!["score", "--quiet", "-m", model, texts, "--out", out; options]), ["RssAnon:", "VmHWM:"]);
        for (what, got) in [("allocated", allocated), ("with_mapped", resident)] {
            let ratio = got as f64 / said[what].as_f64().unwrap();
            assert!((0.9..1.1).contains(&ratio), "--memory {memory} --weights {weights}: {what} was {ratio:.3} of what inspect says: {said}");
        }
        for line in fs::read_to_string(&out).unwrap().lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            // Each logit is exactly zero; ln 10240 and the rounding of each log-probability to float32.
            let (mean, want) = (row["sum"].as_f64().unwrap() / 512.0, -f64::ln(10_240.0));
            assert!((mean / want - 1.0).abs() <= f64::powi(2.0, -24), "{mean}, not {want}");
        }
    }
}

/// Where weights may stream, whatever fits some memory fits more: between the two ways there is no gap.
#[test]
fn more_memory_never_does_less() {
    let model = Path::new("assets/models/books-llama");
    let streamed: Vec<Option<bool>> = (30..=64)
        .map(|mib| {
            let done = command(args!["inspect", "--json", "--length", "1024", model, "--memory", format!("{mib}M")]).output().unwrap();
            assert!(done.status.success() || done.status.code() == Some(2), "{mib} MiB: {done:?}");
            done.status.success().then(|| serde_json::from_slice::<Value>(&done.stdout).unwrap()["memory"]["streamed"].as_bool().unwrap())
        })
        .collect();
    let order: Vec<u8> = streamed.iter().map(|s| s.map_or(0, |streams| if streams { 1 } else { 2 })).collect();
    assert!(order.is_sorted() && [0, 1, 2].iter().all(|kind| order.contains(kind)), "by MiB from 30 on, 0 refused, 1 streamed, 2 packed once: {order:?}");
}

/// A process that may have less than its waves ask for goes on with smaller ones, says so once, and comes to the same results.
#[test]
fn waves_get_smaller_where_memory_runs_out() {
    let folder = TempDir::new().unwrap();
    let model = hollow(folder.path(), 1, 256, 256, 512);
    let (texts, at) = (folder.path().join("texts.npy"), |name: &str| folder.path().join(name));
    tokens(&texts, 48, 512, 512, 6);
    // Quiet, since a machine whose speed is measured takes memory for that, too. A thread's own heap would reserve more room than waves take.
    let measure = |before: &str, rows: &str, out: &str| {
        let what = ["--quiet", "--length", "512", "--splits", "256", "--chunks", "48", "--threads", "1", "--wave-rows", rows];
        let mut sh = Command::new("sh");
        sh.args(["-c", &format!("{before} exec \"$0\" \"$@\"")]).arg(env!("CARGO_BIN_EXE_hilberg")).env("MALLOC_ARENA_MAX", "1");
        sh.args(args!["measure", "-m", model, texts, "--out", at(out); what]);
        sh
    };
    let [small, large] = [("1024", "small"), ("16384", "large")].map(|(rows, out)| peaks(measure("", rows, out), ["VmPeak:"])[0]);
    assert!(large > small + (30 << 20), "{small} and {large} bytes");
    let done = measure(&format!("ulimit -v {};", (small + large) / 2048), "16384", "short").output().unwrap();
    let err = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success(), "{err}");
    let told: Vec<&str> = err.lines().filter(|l| l.contains("memory")).collect();
    assert!(told.len() == 1 && told[0].starts_with("note: memory ran out; waves have at most ") && told[0].ends_with("the results are the same"), "{err}");
    let [small, large, short] = ["small", "large", "short"].map(|out| fs::read(at(out).join("result.json")).unwrap());
    assert!(small == large && short == large);
}
