#!/usr/bin/env python3
"""A model folder of tools/bench_peers.py as a GGUF file without a tokenizer, for llama.cpp: gguf_from.py FOLDER {f32|bf16} FILE.gguf

Llama, GPT-2 and Mamba, as their config.json says. Types are those that llama.cpp's own converter chooses: matrices in the type asked for; vectors, learned
positions, convolutions and A in float32. Needs numpy, safetensors and gguf.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open


def halves_interleaved(w, heads):
    """llama.cpp turns neighbouring numbers where transformers turns the two halves of a head."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def llama(w, c, t):
    heads = c["num_attention_heads"]
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(heads)
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_dimension_count(c["head_dim"])
    w.add_rope_freq_base(c["rope_theta"])
    yield "token_embd.weight", t["model.embed_tokens.weight"]
    yield "output_norm.weight", t["model.norm.weight"]
    names = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    for i in range(c["num_hidden_layers"]):
        for theirs, ours in names.items():
            yield f"blk.{i}.{ours}.weight", t[f"model.layers.{i}.{theirs}.weight"]
        for x in "qk":
            yield f"blk.{i}.attn_{x}.weight", halves_interleaved(t[f"model.layers.{i}.self_attn.{x}_proj.weight"], heads)


def gpt2(w, c, t):
    w.add_context_length(c["n_positions"])
    w.add_embedding_length(c["n_embd"])
    w.add_feed_forward_length(4 * c["n_embd"])
    w.add_head_count(c["n_head"])
    w.add_layer_norm_eps(c["layer_norm_epsilon"])
    yield "token_embd.weight", t["transformer.wte.weight"]
    yield "position_embd.weight", t["transformer.wpe.weight"]
    names = {"ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
    for part in ("weight", "bias"):
        yield f"output_norm.{part}", t[f"transformer.ln_f.{part}"]
        for i in range(c["n_layer"]):
            for theirs, ours in names.items():
                x = t[f"transformer.h.{i}.{theirs}.{part}"]
                # GPT-2's matrices lie as [inputs, outputs].
                yield f"blk.{i}.{ours}.{part}", x.T if x.ndim == 2 else x


def mamba(w, c, t):
    w.add_context_length(1 << 20)
    w.add_embedding_length(c["hidden_size"])
    w.add_feed_forward_length(0)
    w.add_head_count(0)
    w.add_ssm_conv_kernel(c["conv_kernel"])
    w.add_ssm_inner_size(c["intermediate_size"])
    w.add_ssm_state_size(c["state_size"])
    w.add_ssm_time_step_rank(c["time_step_rank"])
    w.add_layer_norm_rms_eps(c["layer_norm_epsilon"])
    w.add_ssm_dt_b_c_rms(False)
    yield "token_embd.weight", t["backbone.embeddings.weight"]
    yield "output_norm.weight", t["backbone.norm_f.weight"]
    names = {"in_proj.weight": "ssm_in.weight", "conv1d.bias": "ssm_conv1d.bias", "x_proj.weight": "ssm_x.weight", "dt_proj.weight": "ssm_dt.weight",
             "dt_proj.bias": "ssm_dt.bias", "out_proj.weight": "ssm_out.weight", "D": "ssm_d"}
    for i in range(c["num_hidden_layers"]):
        p = f"backbone.layers.{i}"
        yield f"blk.{i}.attn_norm.weight", t[f"{p}.norm.weight"]
        for theirs, ours in names.items():
            yield f"blk.{i}.{ours}", t[f"{p}.mixer.{theirs}"]
        yield f"blk.{i}.ssm_conv1d.weight", t[f"{p}.mixer.conv1d.weight"].squeeze()
        yield f"blk.{i}.ssm_a", -np.exp(t[f"{p}.mixer.A_log"])


def main():
    folder, kind, out = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    config = json.loads((folder / "config.json").read_text())
    with safe_open(folder / "model.safetensors", "np") as f:
        tensors = {k: f.get_tensor(k) for k in f.keys()}
    write = {"llama": llama, "gpt2": gpt2, "mamba": mamba}[config["model_type"]]
    w = gguf.GGUFWriter(out, config["model_type"])
    w.add_block_count(config.get("num_hidden_layers") or config["n_layer"])
    w.add_vocab_size(config["vocab_size"])
    w.add_tokenizer_model("no_vocab")
    for name, x in write(w, config, tensors):
        x = np.ascontiguousarray(x, dtype=np.float32)
        narrow = kind == "bf16" and x.ndim == 2 and not any(s in name for s in ("ssm_conv1d", "ssm_a", "position_embd"))
        bf16 = gguf.GGMLQuantizationType.BF16
        w.add_tensor(name, gguf.quants.quantize(x, bf16), raw_dtype=bf16) if narrow else w.add_tensor(name, x)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main()
