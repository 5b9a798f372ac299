#!/usr/bin/env python3
"""A Llama folder of any size that takes no room on the disk: make_sparse_model.py FOLDER --gigabytes 48 [--width 4096] [--vocab 32000] [--dtype f32]

The weights are a hole in the file and read as zeros, but for the norms, which are ones. Such a model gives every token the probability 1/vocabulary; it is there
to try what a program does with weights that do not fit into memory. Standard library only.
"""
import argparse
import json
import struct
from pathlib import Path


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder", type=Path)
    p.add_argument("--gigabytes", type=float, required=True)
    p.add_argument("--width", type=int, default=4096)
    p.add_argument("--vocab", type=int, default=32_000)
    p.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    a = p.parse_args()
    d, ff, size = a.width, 4 * a.width, {"f32": 4, "bf16": 2}[a.dtype]
    projections = {"self_attn.q_proj": (d, d), "self_attn.k_proj": (d, d), "self_attn.v_proj": (d, d), "self_attn.o_proj": (d, d), "mlp.gate_proj": (ff, d),
                   "mlp.up_proj": (ff, d), "mlp.down_proj": (d, ff)}
    layer = size * (sum(n * k for n, k in projections.values()) + 2 * d)
    layers = max(1, round((a.gigabytes * 1e9 - size * a.vocab * d) / layer))
    shapes = {"model.embed_tokens.weight": (a.vocab, d), "model.norm.weight": (d,)}
    for i in range(layers):
        shapes |= {f"model.layers.{i}.{n}.weight": s for n, s in projections.items()}
        shapes |= {f"model.layers.{i}.{n}.weight": (d,) for n in ("input_layernorm", "post_attention_layernorm")}
    header, at, ones = {}, 0, []
    for name, shape in shapes.items():
        n = size
        for s in shape:
            n *= s
        header[name] = {"dtype": a.dtype.upper(), "shape": shape, "data_offsets": [at, at + n]}
        if len(shape) == 1:
            ones.append(at)
        at += n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    a.folder.mkdir(parents=True, exist_ok=True)
    # The upper half of 1.0 as float32 is 1.0 as bfloat16.
    one = struct.pack("<f", 1.0)[4 - size:]
    with open(a.folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        f.truncate(8 + len(text) + at)
        for offset in ones:
            f.seek(8 + len(text) + offset)
            f.write(one * d)
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": a.vocab, "hidden_size": d, "intermediate_size": ff,
              "num_hidden_layers": layers, "num_attention_heads": d // 64, "num_key_value_heads": d // 64, "head_dim": 64, "hidden_act": "silu",
              "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2}
    (a.folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(f"{a.folder}: {layers} layers, {at / size / 1e9:.2f} billion parameters, {at / 1e9:.2f} GB of weights")


if __name__ == "__main__":
    main()
