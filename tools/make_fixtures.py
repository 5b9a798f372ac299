#!/usr/bin/env python3
"""Makes tests/fixtures/models: a tiny checkpoint of every model family and option, with the log-probabilities that transformers gives it.

    python tools/make_fixtures.py                 # all, anew
    python tools/make_fixtures.py llama-yarn      # these
    python tools/make_fixtures.py --check         # compare what is there with what this machine would make

A fixture is a model folder as people have them (config.json, model.safetensors or shards) and beside it
  golden.safetensors   ids i32 [texts, T]; f32, f64 [texts, T-1]: ln q of ids[:, 1:] given all before, in nats
  fixture.json         what it exercises, and `rope_length` where one has to be passed
Weights are of trained-like scale: outlier channels in the residual, uneven norms, logits apart by many tens of nats. Texts are mostly sampled from the
model, with a quarter of the tokens drawn at random, so that log-probabilities run from near 0 to about -100.

The folder is written first and then loaded by transformers itself, so that names, prefixes and spellings are ones that it takes; only the original
state-spaces layouts, which it does not read, are scored by the model that they were written from. `f32` is the library as it is, attention "eager". `f64` is the
same widened weights in float64 throughout, except that rotary angles (position times inverse frequency) stay the float32 numbers of the library:
  - Tensor.float() and Tensor.to(float32) of a float64 tensor, with which norms and scans ask for float32, give the float64 tensor back;
  - softmax asked for in float32 is done in float64;
  - the rotary embedding is restated with float64 cosine and sine of the float32 angles.
"""

import argparse
import contextlib
import copy
import json
import math
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, LlamaConfig, Mamba2Config, MambaConfig, MistralConfig, Qwen2Config, Qwen3Config

ROOT = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "models"
TEXTS = 2

ATTENTION = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, intermediate_size=88, vocab_size=331,
                 max_position_embeddings=256, bos_token_id=1, eos_token_id=2)
NEOX = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=104, vocab_size=331, max_position_embeddings=256,
            bos_token_id=0, eos_token_id=0)
SCAN = dict(hidden_size=32, num_hidden_layers=2, vocab_size=331, bos_token_id=0, eos_token_id=0, pad_token_id=0)


# ---- writing folders as people have them

def rename(tensors, *pairs):
    for old, new in pairs:
        tensors = {(new + k[len(old):] if k.startswith(old) else k): v for k, v in tensors.items()}
    return tensors


def gpt2_buffers(tensors, config):
    n = config["n_positions"]
    for i in range(config["n_layer"]):
        tensors[f"h.{i}.attn.bias"] = torch.tril(torch.ones(n, n, dtype=torch.uint8)).view(1, 1, n, n)
        tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-10000.0)


def neox_buffers(tensors, config):
    n = 64
    for i in range(config["num_hidden_layers"]):
        at = f"gpt_neox.layers.{i}.attention."
        tensors[at + "bias"] = torch.tril(torch.ones(n, n, dtype=torch.bool)).view(1, 1, n, n)
        tensors[at + "masked_bias"] = torch.tensor(-1e9)
        tensors[at + "rotary_emb.inv_freq"] = torch.ones(2)


def old_spelling(config):
    """config.json before transformers 5."""
    rope = config.pop("rope_parameters", None)
    if rope:
        rope = dict(rope)
        config["rope_theta"] = rope.pop("rope_theta", 10000.0)
        kind = rope.pop("rope_type", "default")
        config["rope_scaling"] = None if kind == "default" else {"type": kind, **rope}
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.41.2"


def original_config(config, layer=None, **ssm):
    """The layout of state-spaces/mamba: no model_type, a vocabulary that is padded on loading."""
    cfg = {"layer": layer} if layer else {}
    return {"d_model": config["hidden_size"], "d_intermediate": 0, "n_layer": config["num_hidden_layers"], "vocab_size": config["vocab_size"] - 3,
            "ssm_cfg": {**cfg, **ssm}, "attn_layer_idx": [], "attn_cfg": {}, "rms_norm": True, "residual_in_fp32": True, "fused_add_norm": True,
            "pad_vocab_size_multiple": 8, "tie_embeddings": config["tie_word_embeddings"]}


# ---- variants of the reference that the original Mamba layouts allow and transformers does not have

def layer_norms(model):
    """`rms_norm: false` of the original layout."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child).__name__ == "MambaRMSNorm":
                setattr(parent, name, torch.nn.LayerNorm(child.weight.numel(), eps=child.variance_epsilon))


def norm_before_gate(model):
    """`norm_before_gate: true`: norm(y) silu(z) instead of norm(y silu(z))."""
    for m in model.modules():
        if type(m).__name__ == "MambaRMSNormGated":
            plain = type(m).forward
            m.forward = lambda y, gate, m=m: plain(m, y) * torch.nn.functional.silu(gate)


def no_gated_norm(model):
    """`rmsnorm: false`: y silu(z) alone."""
    for m in model.modules():
        if type(m).__name__ == "MambaRMSNormGated":
            m.forward = lambda y, gate: y * torch.nn.functional.silu(gate)


# ---- the fixtures

def fixture(name, about, config, *, length=200, dtype=torch.bfloat16, variant=None, tensors=None, edit=None, original=None, shards=1, rope_length=None):
    return dict(name=name, about=about, config=config, length=length, dtype=dtype, variant=variant, tensors=tensors, edit=edit, original=original,
                shards=shards, rope_length=rope_length)


def llama(**kw):
    return LlamaConfig(**{**ATTENTION, **kw})


def rope(kind, **kw):
    return {"rope_type": kind, "rope_theta": 10000.0, **kw}


def fixtures():
    gpt2 = dict(n_embd=48, n_layer=2, n_head=4, vocab_size=331, n_positions=128, bos_token_id=330, eos_token_id=330)
    yield fixture("gpt2", "names without transformer., causal masks stored, tied head not stored", GPT2Config(**gpt2), length=128, dtype=torch.float32,
                  tensors=lambda t, c: (r := rename({k: v for k, v in t.items() if k != "lm_head.weight"}, ("transformer.", "")), gpt2_buffers(r, c))[0])
    yield fixture("gpt2-options", "head stored twice, n_inner, relu, scores divided by the layer's number, f16",
                  GPT2Config(**gpt2, n_inner=72, activation_function="relu", scale_attn_by_inverse_layer_idx=True), length=128, dtype=torch.float16,
                  tensors=lambda t, c: {**t, "lm_head.weight": t["transformer.wte.weight"].clone()})
    yield fixture("gpt2-untied", "a head of its own, no scale on scores, tanh-GELU by its other name",
                  GPT2Config(**{**gpt2, "n_embd": 32}, tie_word_embeddings=False, scale_attn_weights=False, activation_function="gelu_pytorch_tanh"), length=100)
    yield fixture("gpt-neox", "parallel residual, a quarter of each head turned, stored buffers, f16, old spelling (Pythia)", GPTNeoXConfig(**NEOX), dtype=torch.float16,
                  tensors=lambda t, c: (t := rename(t, ("lm_head", "embed_out")), neox_buffers(t, c))[0],
                  edit=lambda c: (c.pop("rope_parameters"), c.update(rotary_pct=0.25, rotary_emb_base=10000, torch_dtype=c.pop("dtype"))))
    yield fixture("gpt-neox-sequential", "sequential residual, half of each head turned, linear rope scaling, no biases in attention, tied head under its own name",
                  GPTNeoXConfig(**NEOX, use_parallel_residual=False, attention_bias=False, tie_word_embeddings=True, hidden_act="gelu_new",
                                rope_parameters=rope("linear", factor=2.0, partial_rotary_factor=0.5)),
                  tensors=lambda t, c: rename(t, ("gpt_neox.embed_in", "embed_out")))
    yield fixture("llama", "grouped heads, untied, f32, old spelling", llama(vocab_size=503), length=256, dtype=torch.float32, edit=old_spelling)
    yield fixture("llama-biases", "biases everywhere, tied head stored only as lm_head.weight, inv_freq stored, f16",
                  llama(attention_bias=True, mlp_bias=True, tie_word_embeddings=True, num_key_value_heads=4), dtype=torch.float16,
                  tensors=lambda t, c: {**rename(t, ("model.embed_tokens", "lm_head")), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)})
    yield fixture("llama-shards", "three shards with an index, one key-value head, head_dim given", llama(num_key_value_heads=1, head_dim=16), shards=3)
    yield fixture("llama-linear", "rope scaling linear", llama(rope_parameters=rope("linear", factor=3.0)))
    yield fixture("llama-llama3", "rope scaling llama3, old spelling", edit=old_spelling, config=llama(
        hidden_size=64, rope_parameters=rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)))
    yield fixture("llama-yarn", "rope scaling yarn", llama(rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=64)))
    yield fixture("llama-yarn-mscale", "yarn with mscale, mscale_all_dim, betas and no truncation", llama(rope_parameters=rope(
        "yarn", factor=4.0, original_max_position_embeddings=64, mscale=1.0, mscale_all_dim=0.6, beta_fast=24.0, beta_slow=1.5, truncate=False)))
    yield fixture("llama-dynamic", "rope scaling dynamic, within the original length", llama(rope_parameters=rope("dynamic", factor=2.0)))
    yield fixture("llama-dynamic-long", "rope scaling dynamic past the original length", rope_length=200, config=llama(
        max_position_embeddings=96, rope_parameters=rope("dynamic", factor=2.5)))
    yield fixture("mistral", "a window shorter than the text", MistralConfig(**ATTENTION, sliding_window=37))
    yield fixture("mistral-no-window", "window null, head_dim apart from d/heads, old spelling", edit=old_spelling,
                  config=MistralConfig(**ATTENTION, sliding_window=None, head_dim=20))
    yield fixture("qwen2", "biases on q, k, v; a window on the upper layer; tied", edit=lambda c: (old_spelling(c), c.pop("layer_types")),
                  config=Qwen2Config(**ATTENTION, use_sliding_window=True, sliding_window=29, max_window_layers=1, tie_word_embeddings=True))
    yield fixture("qwen2-layer-types", "the window on the lower layer by layer_types, names without model.",
                  Qwen2Config(**ATTENTION, use_sliding_window=True, sliding_window=50, layer_types=["sliding_attention", "full_attention"]),
                  tensors=lambda t, c: rename(t, ("model.", "")))
    yield fixture("qwen2-no-window", "a window that is not in use", Qwen2Config(**{**ATTENTION, "bos_token_id": None, "eos_token_id": [7, 8]}, sliding_window=16),
                  length=120)
    yield fixture("qwen3", "q and k normed per head, head_dim apart from d/heads, tied", Qwen3Config(**ATTENTION, head_dim=24, tie_word_embeddings=True))
    yield fixture("qwen3-options", "biases, a window on the upper layer, rope base 1e6", Qwen3Config(
        **ATTENTION, head_dim=16, attention_bias=True, use_sliding_window=True, sliding_window=40, max_window_layers=1,
        rope_parameters=dict(rope_type="default", rope_theta=1e6)))
    yield fixture("mamba", "tied, f32", MambaConfig(**SCAN), length=300, dtype=torch.float32)
    yield fixture("mamba-options", "biases in projections, none in the convolution, width 3, rank and state given, untied", MambaConfig(
        **SCAN, use_bias=True, use_conv_bias=False, conv_kernel=3, time_step_rank=5, state_size=8, tie_word_embeddings=False))
    yield fixture("mamba-original", "the state-spaces layout: no model_type, backbone.embedding, padded vocabulary, duplicate head, f16",
                  MambaConfig(**{**SCAN, "vocab_size": 336}), length=300, dtype=torch.float16, original=lambda c: original_config(c),
                  tensors=lambda t, c: {**rename(t, ("backbone.embeddings", "backbone.embedding")), "lm_head.weight": t["backbone.embeddings.weight"].clone()})
    yield fixture("mamba-original-layernorm", "the state-spaces layout with rms_norm false and options in ssm_cfg", MambaConfig(
        **{**SCAN, "vocab_size": 336, "hidden_size": 24}, state_size=12, expand=3, conv_kernel=2, time_step_rank=4), variant=layer_norms,
        original=lambda c: {**original_config(c, "Mamba1", d_state=12, expand=3, d_conv=2, dt_rank=4), "rms_norm": False})
    mamba2 = dict(expand=2, head_dim=16, num_heads=4, chunk_size=64)
    yield fixture("mamba2", "state 128, one group, tied, f32", Mamba2Config(**SCAN, **mamba2, state_size=128, n_groups=1, tie_word_embeddings=True), length=300,
                  dtype=torch.float32)
    yield fixture("mamba2-groups", "two groups, dt clamped, biases, untied", Mamba2Config(
        **SCAN, **mamba2, state_size=24, n_groups=2, use_bias=True, time_step_limit=(0.01, 0.3)), length=300)
    yield fixture("mamba2-bare", "no bias in the convolution, width 2, head of 8, infinity as older versions write it", Mamba2Config(
        **SCAN, **{**mamba2, "head_dim": 8, "num_heads": 8}, state_size=16, n_groups=4, use_conv_bias=False, conv_kernel=2),
        edit=lambda c: c.update(time_step_limit=[0.0, math.inf], rms_norm=True, torch_dtype=c.pop("dtype")))
    yield fixture("mamba2-original", "the state-spaces layout, norm before the gate, two groups", Mamba2Config(
        **{**SCAN, "vocab_size": 336}, **mamba2, state_size=32, n_groups=2, tie_word_embeddings=True), length=300, variant=norm_before_gate,
        original=lambda c: original_config(c, "Mamba2", d_state=32, ngroups=2, headdim=16, norm_before_gate=True),
        tensors=lambda t, c: rename(t, ("backbone.embeddings", "backbone.embedding")))
    yield fixture("mamba2-original-bare", "the state-spaces layout without the gated norm, dt clamped", Mamba2Config(
        **{**SCAN, "vocab_size": 336}, **mamba2, state_size=16, n_groups=1, tie_word_embeddings=True, time_step_limit=(0.0, 0.1)), variant=no_gated_norm,
        original=lambda c: original_config(c, "Mamba2", d_state=16, headdim=16, rmsnorm=False, dt_limit=[0.0, 0.1]),
        tensors=lambda t, c: {k: v for k, v in t.items() if not k.endswith("mixer.norm.weight")})


# ---- weights of trained-like scale

def train_like(model, rng):
    """Fills every parameter. Two channels of the residual carry large, nearly constant values, which the norms scale down, as trained models have them."""
    normal = lambda p, std: torch.randn(p.shape, generator=rng) * std
    with torch.no_grad():
        for name, p in model.named_parameters():
            leaf = name.rsplit(".", 2)[-2]
            d = p.shape[-1]
            if name.endswith("A_log"):
                n = p.shape[-1] if p.dim() == 2 else p.shape[0]
                p.copy_(torch.log(torch.arange(1, n + 1).float()) + normal(p, 0.3))
            elif name.endswith("dt_bias") or name.endswith("dt_proj.bias"):
                dt = torch.exp(torch.rand(p.shape, generator=rng) * (math.log(0.3) - math.log(0.002)) + math.log(0.002))
                p.copy_(dt + torch.log(-torch.expm1(-dt)))
            elif name.endswith(".D"):
                p.copy_(1 + normal(p, 0.5))
            elif "conv1d" in name:
                p.copy_(normal(p, 0.5))
            elif any(w in leaf for w in ("norm", "ln_")):
                if name.endswith("bias"):
                    p.copy_(normal(p, 0.2))
                else:
                    p.copy_(0.4 + normal(p, 0.3).abs())
                    if p.numel() == model.config.hidden_size:
                        p[3] *= 0.1
                        p[d // 2] *= 0.1
            elif any(w in leaf for w in ("wte", "embed_tokens", "embed_in", "embeddings")):
                p.copy_(normal(p, 0.8))
                p[:, 3] += 9.0
                p[:, d // 2] -= 14.0
            elif "wpe" in leaf:
                p.copy_(normal(p, 0.4))
            elif any(w in leaf for w in ("lm_head", "embed_out")):
                p.copy_(normal(p, 1.0))
            elif name.endswith("bias"):
                p.copy_(normal(p, 0.3))
                p.view(-1)[0] += 2.5
            elif leaf in ("c_attn", "c_fc", "c_proj"):  # Conv1D: inputs first
                p.copy_(normal(p, 1.3 / math.sqrt(p.shape[0])))
            else:
                p.copy_(normal(p, 1.3 / math.sqrt(p.shape[1])))
    return model


def final_norm(model):
    for name, module in model.named_modules():
        if name.split(".")[-1] in ("ln_f", "final_layer_norm", "norm_f") or name == "model.norm":
            return module


def spread(model, rng):
    """Scales the last norm so that a row's logits have a standard deviation of 13, or of 9 where the head is the embedding, whose outlier channels make the
    tails heavier: log-probabilities then reach -80 to -100, and the library's own float32 stays within 5e-5 nats."""
    target = 9.0 if model.config.tie_word_embeddings else 13.0
    ids = torch.randint(0, model.config.vocab_size, (2, 64), generator=rng)
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits
        factor = target / logits.std(-1).mean()
        norm = final_norm(model)
        for p in norm.parameters():
            p *= factor


def text(model, length, rng):
    """A start token, then three quarters sampled from the model and a quarter uniform."""
    vocab = model.config.vocab_size
    start = model.config.bos_token_id
    ids = torch.full((TEXTS, 1), 0 if start is None else start)
    with torch.no_grad():
        while ids.shape[1] < length:
            logits = model(ids, use_cache=False).logits[:, -1].float()
            drawn = torch.multinomial(torch.softmax(logits, -1), 1, generator=rng)
            anything = torch.randint(0, vocab, (TEXTS, 1), generator=rng)
            ids = torch.cat([ids, torch.where(torch.rand((TEXTS, 1), generator=rng) < 0.25, anything, drawn)], 1)
    return ids


# ---- goldens

@contextlib.contextmanager
def really_float64():
    """Within, float64 stays float64 where the library asks for float32."""
    tensor_float, tensor_to, softmax = torch.Tensor.float, torch.Tensor.to, torch.nn.functional.softmax

    def to(self, *args, **kw):
        if self.dtype == torch.float64:
            args = tuple(torch.float64 if a is torch.float32 else a for a in args)
            if kw.get("dtype") is torch.float32:
                kw["dtype"] = torch.float64
        return tensor_to(self, *args, **kw)

    def soft(x, dim=None, dtype=None, **kw):
        return softmax(x, dim=dim, dtype=torch.float64 if x.dtype == torch.float64 else dtype, **kw)

    torch.Tensor.float = lambda self, *a, **k: self if self.dtype == torch.float64 else tensor_float(self, *a, **k)
    torch.Tensor.to = to
    torch.nn.functional.softmax = soft
    try:
        yield
    finally:
        torch.Tensor.float, torch.Tensor.to, torch.nn.functional.softmax = tensor_float, tensor_to, softmax


def rotary64(module, inv_freq, scaling):
    def forward(x, position_ids, **_):
        angles = position_ids[..., None].to(torch.float32) * inv_freq
        assert angles.dtype == torch.float32
        angles = torch.cat((angles, angles), dim=-1).double()
        return angles.cos() * scaling, angles.sin() * scaling
    module.forward = forward


def log_probs(model, ids):
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits
    return torch.log_softmax(logits, -1)[:, :-1].gather(2, ids[:, 1:, None])[:, :, 0]


def goldens(model, ids):
    f32 = log_probs(model, ids)
    assert f32.dtype == torch.float32
    wide = copy.deepcopy(model)
    rotary = [(m, r.inv_freq.clone(), r.attention_scaling) for (_, m), (_, r) in zip(wide.named_modules(), model.named_modules()) if hasattr(r, "inv_freq")]
    wide.double()
    for module, inv_freq, scaling in rotary:
        assert inv_freq.dtype == torch.float32
        rotary64(module, inv_freq, scaling)
    with really_float64():
        seen = []
        hooks = [m.register_forward_hook(lambda m, i, o: seen.append(o.dtype)) for m in wide.modules() if isinstance(m, torch.nn.Linear)]
        f64 = log_probs(wide, ids)
        for h in hooks:
            h.remove()
    assert f64.dtype == torch.float64 and set(seen) == {torch.float64}
    return f32, f64


# ---- folders

def write(fx, folder):
    """Makes the model and its folder; returns the model that transformers reads from it."""
    rng = torch.Generator().manual_seed(sum(map(ord, fx["name"])) * 7919)
    config = fx["config"]
    config._attn_implementation = "eager"
    model = AutoModelForCausalLM.from_config(config).float().eval()
    if fx["variant"]:
        fx["variant"](model)
    spread(train_like(model, rng), rng)
    for p in model.parameters():
        p.data = p.data.to(fx["dtype"]).float()
    settings = json.loads(config.to_json_string(use_diff=False))
    for key in ("_name_or_path", "id2label", "label2id", "return_dict", "output_hidden_states", "chunk_size_feed_forward", "problem_type", "is_encoder_decoder"):
        settings.pop(key, None)
    settings["dtype"] = str(fx["dtype"]).split(".")[1]
    settings["architectures"] = [type(model).__name__]
    tied = settings.get("tie_word_embeddings")
    tensors = {k: v.detach().to(fx["dtype"]).contiguous() for k, v in model.state_dict().items()}
    if tied:
        tensors = {k: v for k, v in tensors.items() if k not in ("lm_head.weight", "embed_out.weight")}
    # Scans keep these in float32, as their training code does.
    if fx["dtype"] != torch.float32:
        for k in tensors:
            if k.endswith(("A_log", ".D", "dt_bias")) and fx["name"].startswith("mamba2"):
                tensors[k] = tensors[k].float()
    if fx["tensors"]:
        tensors = fx["tensors"](tensors, settings)
    if fx["original"]:
        settings = fx["original"](settings)
    elif fx["edit"]:
        fx["edit"](settings)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
    save(tensors, folder, fx["shards"])
    about = {"about": fx["about"], "reference": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"}
    if fx["rope_length"]:
        about["rope_length"] = fx["rope_length"]
    (folder / "fixture.json").write_text(json.dumps(about, indent=1) + "\n")
    return model if fx["original"] else load(folder, model)


def save(tensors, folder, shards):
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    where = {n: f"model-{i * shards // len(names) + 1:05d}-of-{shards:05d}.safetensors" for i, n in enumerate(names)}
    for file in sorted(set(where.values())):
        save_file({n: tensors[n] for n in names if where[n] == file}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {"total_size": sum(t.numel() * t.element_size() for t in tensors.values())}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def load(folder, written):
    """What transformers reads from the folder, which must be the model that was written."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    expected = written.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, expected[name]), (folder, name)
    return model


def make(fx):
    folder = ROOT / fx["name"]
    model = write(fx, folder)
    rng = torch.Generator().manual_seed(sum(map(ord, fx["name"])))
    ids = text(model, fx["length"], rng)
    f32, f64 = goldens(model, ids)
    save_file({"ids": ids.to(torch.int32), "f32": f32, "f64": f64}, folder / "golden.safetensors")
    size = sum(p.stat().st_size for p in folder.iterdir())
    print(f"{fx['name']:26} {size / 1e3:7.0f} kB  log p {f64.min():8.2f} .. {f64.max():8.5f}, mean {f64.mean():7.3f}; float32 off by {(f32 - f64).abs().max():.1e}", flush=True)


def check(fx):
    """Same weights bit for bit, goldens within rounding; the ids are those on disk, since sampling may differ between machines."""
    folder, other = ROOT / fx["name"], ROOT / ("." + fx["name"])
    try:
        model = write(fx, other)
        names = sorted(p.name for p in other.iterdir())
        ok = names == sorted(p.name for p in folder.iterdir() if p.name != "golden.safetensors")
        ok = ok and all((folder / n).read_bytes() == (other / n).read_bytes() for n in names if n != "fixture.json")
        golden = load_file(folder / "golden.safetensors")
        f32, f64 = goldens(model, golden["ids"].long())
        off32, off64 = (f32 - golden["f32"]).abs().max().item(), (f64 - golden["f64"]).abs().max().item()
        ok = ok and off32 < 2e-4 and off64 < 1e-9
        print(f"{fx['name']:26} {'ok' if ok else 'DIFFERS'}  f32 off by {off32:.1e}, f64 by {off64:.1e}", flush=True)
        return ok
    finally:
        shutil.rmtree(other, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description="Makes or checks the model fixtures of the tests.")
    parser.add_argument("names", nargs="*", help="only these")
    parser.add_argument("--check", action="store_true", help="compare with what is there instead of writing")
    args = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    chosen = [f for f in fixtures() if not args.names or f["name"] in args.names]
    unknown = set(args.names) - {f["name"] for f in chosen}
    if unknown:
        sys.exit(f"no such fixture: {', '.join(sorted(unknown))}")
    if args.check:
        sys.exit(0 if all([check(f) for f in chosen]) else 1)
    for f in chosen:
        make(f)


if __name__ == "__main__":
    main()
