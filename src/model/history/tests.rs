//! dim(z) of published configurations, worked out by hand: the keys are those of the models' config.json that it depends on.

use super::*;
use serde_json::{Value, json};
use std::fs;

fn stored(config: &Value) -> Result<StoredState> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    open(folder.path(), &[])
}

#[track_caller]
fn numbers(config: Value, t: u64) -> u64 {
    let state = stored(&config).unwrap().state;
    assert_eq!(state.at(t as f64), state.numbers(t) as f64);
    state.numbers(t)
}

#[track_caller]
fn refused(config: Value, part: &str) {
    let e = stored(&config).unwrap_err().to_string();
    assert!(e.contains(part), "{e}");
}

/// Llama-3.1-8B's, with the keys that its family demands.
fn llama() -> Value {
    json!({"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16"})
}

#[test]
fn attention() {
    // 32 layers · 2 · 8 heads · 128.
    assert_eq!(numbers(llama(), 8192), 65_536 * 8192);
    // Mistral-7B-v0.1, window 4096.
    let mistral = json!({"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 32000, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "sliding_window": 4096});
    assert_eq!(numbers(mistral.clone(), 1000), 65_536 * 1000);
    assert_eq!(numbers(mistral, 10_000), 65_536 * 4096);
    // Mixtral-8x7B, Phi-3-mini-4k, OLMo-2-7B, Qwen3-30B-A3B.
    let heads =
        |kind: &str, d: usize, n: usize, heads: usize| json!({"model_type": kind, "hidden_size": d, "num_hidden_layers": n, "num_attention_heads": heads});
    let with = |mut c: Value, more: Value| {
        c.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        c
    };
    assert_eq!(numbers(with(heads("mixtral", 4096, 32, 32), json!({"num_key_value_heads": 8, "sliding_window": null})), 100_000), 65_536 * 100_000);
    assert_eq!(numbers(with(heads("phi3", 3072, 32, 32), json!({"num_key_value_heads": 32, "sliding_window": 2047})), 4000), 32 * 2 * 32 * 96 * 2047);
    assert_eq!(numbers(heads("olmo2", 4096, 32, 32), 10), 32 * 2 * 32 * 128 * 10);
    assert_eq!(numbers(with(heads("qwen3_moe", 2048, 48, 32), json!({"num_key_value_heads": 4, "head_dim": 128, "use_sliding_window": false})), 10), 491_520);
    // DeepSeek-V3: 61 · (512 + 64); ProGen2-base: 27 · 2 · 1536.
    let v3 = json!({"model_type": "deepseek_v3", "num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64});
    assert_eq!(numbers(v3, 1000), 35_136_000);
    assert_eq!(numbers(json!({"model_type": "progen", "n_layer": 27, "embed_dim": 1536}), 10), 829_440);
}

#[test]
fn windows_that_alternate() {
    // Gemma-2-9b: 42 layers of 2 · 8 · 256, every second one with a window of 4096.
    let gemma2 = json!({"model_type": "gemma2", "hidden_size": 3584, "num_hidden_layers": 42, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 256, "sliding_window": 4096});
    assert_eq!(numbers(gemma2.clone(), 8192), 1_056_964_608);
    assert_eq!(numbers(gemma2, 100), 42 * 4096 * 100);
    // Gemma-3-4b: layers 6, 12, … of 34 see everything, the other 29 a window of 1024; the text's keys are a section of their own.
    let text =
        json!({"hidden_size": 2560, "num_hidden_layers": 34, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 1024});
    assert_eq!(numbers(json!({"model_type": "gemma3", "text_config": text}), 8192), 144_703_488);
    // gpt-oss-20b: 12 of 24 layers with a window of 128, 2 · 8 · 64 a token.
    let mut oss = json!({"model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8,
        "head_dim": 64, "sliding_window": 128});
    assert_eq!(numbers(oss.clone(), 1000), 12 * 1024 * (1000 + 128));
    oss["layer_types"] = (0..24).map(|i| if i < 2 { "full_attention" } else { "sliding_attention" }).collect::<Vec<_>>().into();
    assert_eq!(numbers(oss.clone(), 1000), 1024 * (2 * 1000 + 22 * 128));
    let state = stored(&oss).unwrap().state;
    assert_eq!((state.knees(), state.is_unbounded()), (vec![128], true));
    assert_eq!(state.told(), "2 × attention (1024 a token); 22 × attention, window 128 (1024 a token)");
}

#[test]
fn recurrences() {
    // mamba-2.8b: 64 · 5120 · (16 + 3).
    let mamba =
        json!({"model_type": "mamba", "hidden_size": 2560, "num_hidden_layers": 64, "state_size": 16, "expand": 2, "conv_kernel": 4, "vocab_size": 50280});
    assert_eq!(numbers(mamba, 1 << 20), 6_225_920);
    // mamba2-2.7b in its own layout: 64 · (5120 · 128 + (5120 + 256) · 3).
    let mamba2 = json!({"d_model": 2560, "n_layer": 64, "vocab_size": 50288, "ssm_cfg": {"layer": "Mamba2"}});
    assert_eq!(numbers(mamba2, 7), 42_975_232);
    // falcon-mamba-7b: 64 · 8192 · 19.
    let falcon =
        json!({"model_type": "falcon_mamba", "hidden_size": 4096, "intermediate_size": 8192, "num_hidden_layers": 64, "state_size": 16, "conv_kernel": 4});
    assert_eq!(numbers(falcon, 1), 9_961_472);
    // recurrentgemma-2b: 8 attentions of 2 · 256 in a window of 2048, 18 recurrences of 2560 · (1 + 3).
    let griffin = json!({"model_type": "recurrent_gemma", "hidden_size": 2560, "num_hidden_layers": 26, "num_attention_heads": 10, "num_key_value_heads": 1,
        "head_dim": 256, "lru_width": 2560, "conv1d_width": 4, "attention_window_size": 2048, "_block_types": ["recurrent", "recurrent", "attention"]});
    assert_eq!(numbers(griffin.clone(), 10_000), 8_572_928);
    assert!(!stored(&griffin).unwrap().state.is_unbounded());
    // rwkv-6-world-1b6: 24 · (2048 · 64 + 2 · 2048); rwkv-4-169m: 12 · 5 · 768.
    assert_eq!(numbers(json!({"model_type": "rwkv6", "hidden_size": 2048, "num_hidden_layers": 24, "head_size": 64}), 5), 3_244_032);
    assert_eq!(numbers(json!({"model_type": "rwkv", "hidden_size": 768, "num_hidden_layers": 12}), 5), 46_080);
}

#[test]
fn hybrids_are_summed() {
    // Jamba-v0.1: 4 attentions of 2 · 8 · 128, 28 scans of 8192 · 19.
    let jamba = json!({"model_type": "jamba", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "attn_layer_period": 8, "attn_layer_offset": 4, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2});
    assert_eq!(numbers(jamba, 1000), 8_192_000 + 4_358_144);
    // Zamba2-2.7B: 54 scans of 5120 · 64 + (5120 + 128) · 3, 9 of them with attention of 32 heads of 160 beside.
    let kinds: Vec<&str> = (0..54).map(|i| if [6, 12, 18, 24, 30, 36, 42, 47, 51].contains(&i) { "hybrid" } else { "mamba" }).collect();
    let mut zamba = json!({"model_type": "zamba2", "hidden_size": 2560, "num_hidden_layers": 54, "num_attention_heads": 32, "num_key_value_heads": 32,
        "mamba_d_state": 64, "mamba_ngroups": 1, "mamba_expand": 2, "mamba_d_conv": 4, "layers_block_type": kinds});
    assert_eq!(numbers(zamba.clone(), 1000), 92_160_000 + 18_544_896);
    zamba["layers_block_type"] = Value::Null;
    zamba["hybrid_layer_ids"] = json!([6, 12, 18, 24, 30, 36, 42, 47, 51]);
    assert_eq!(numbers(zamba, 1000), 92_160_000 + 18_544_896);
    // Bamba-9B and Granite-4.0-H-Small: scans of 8192 · 128 + (8192 + 256) · 3, attention of 2 · 8 · 128.
    let scan = json!({"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "mamba_d_state": 128, "mamba_expand": 2, "mamba_n_groups": 1});
    let family = |kind: &str, n: usize, more: (&str, Value)| {
        let mut c = scan.clone();
        (c["model_type"], c["num_hidden_layers"], c[more.0]) = (kind.into(), n.into(), more.1);
        c
    };
    assert_eq!(numbers(family("bamba", 32, ("attn_layer_indices", json!([9, 18, 27]))), 1000), 6_144_000 + 31_143_680);
    let kinds: Vec<&str> = (0..40).map(|i| if i % 10 == 5 { "attention" } else { "mamba" }).collect();
    assert_eq!(numbers(family("granitemoehybrid", 40, ("layer_types", json!(kinds))), 1000), 8_192_000 + 38_661_120);
    // Nemotron-H-8B: 24 scans of 8192 · 128 + (8192 + 2048) · 3, 4 attentions.
    let nemotron = json!({"model_type": "nemotron_h", "num_hidden_layers": 52, "num_attention_heads": 32, "num_key_value_heads": 8, "attention_head_dim": 128,
        "mamba_num_heads": 128, "mamba_head_dim": 64, "ssm_state_size": 128, "n_groups": 8, "conv_kernel": 4,
        "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"});
    assert_eq!(numbers(nemotron, 1000), 8_192_000 + 25_903_104);
    // Falcon-H1-7B: in each of 44 layers attention of 2 · 2 · 128 beside a scan of 3072 · 256 + (3072 + 512) · 3.
    let h1 = json!({"model_type": "falcon_h1", "hidden_size": 3072, "num_hidden_layers": 44, "num_attention_heads": 12, "num_key_value_heads": 2, "head_dim": 128,
        "mamba_d_ssm": 3072, "mamba_d_state": 256, "mamba_n_groups": 1, "mamba_d_conv": 4});
    assert_eq!(numbers(h1, 1000), 22_528_000 + 35_076_096);
    // Qwen3-Next-80B-A3B: 12 attentions of 2 · 2 · 256, 36 delta rules of 32 · 128² + (2 · 2048 + 4096) · 3.
    let next = json!({"model_type": "qwen3_next", "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
        "full_attention_interval": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32});
    assert_eq!(numbers(next, 1000), 12_288_000 + 19_759_104);
}

#[test]
fn stored_widths() {
    let bits = |c: &Value| stored(c).map(|s| s.bits);
    let mut c = llama();
    assert_eq!(bits(&c).unwrap(), 16);
    // Weights that are packed change nothing of what is handed on.
    c["quantization_config"] = json!({"quant_method": "fbgemm_fp8"});
    assert_eq!(bits(&c).unwrap(), 16);
    c["torch_dtype"] = Value::Null;
    assert_eq!(bits(&c).unwrap(), 32);
    c["dtype"] = "int3".into();
    refused(c, "`dtype` \"int3\"");
}

#[test]
fn what_is_not_known_is_refused() {
    refused(json!({"model_type": "bert"}), "bidirectional");
    refused(json!({"model_type": "t5"}), "encoder-decoder");
    refused(json!({"model_type": "perceptron"}), "\"perceptron\" is not supported; gpt2, ");
    refused(json!({}), "lacks `model_type`");
    let mut c = llama();
    c["a_new_key"] = 1.into();
    refused(c, "`a_new_key`");
    refused(json!({"model_type": "jamba", "hidden_size": 4096}), "lacks `num_hidden_layers`");
    refused(json!({"model_type": "olmo2", "hidden_size": "wide", "num_hidden_layers": 2, "num_attention_heads": 2}), "`hidden_size` should be");
    refused(json!({"model_type": "olmo2", "hidden_size": 5, "num_hidden_layers": 2, "num_attention_heads": 2}), "no multiple");
    refused(json!({"model_type": "nemotron_h", "num_attention_heads": 4, "hybrid_override_pattern": "M?"}), "has \"?\"");
    refused(json!({"model_type": "nemotron_h", "num_attention_heads": 4, "hybrid_override_pattern": "--"}), "no layer that keeps a history");
    let kinds = json!({"model_type": "granitemoehybrid", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "layer_types": ["mamba"]});
    refused(kinds, "has 1 entries for 3 layers");
    refused(json!({"model_type": "bamba", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "attn_layer_indices": [3]}), "none of 3 layers");
    refused(json!({"model_type": "rwkv7", "hidden_size": 64, "num_hidden_layers": 3, "value_dim": [64]}), "`value_dim` is set");
}
