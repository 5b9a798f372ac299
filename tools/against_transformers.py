#!/usr/bin/env python3
"""Holds `hilberg score` against transformers on the same ids of a whole text, in float32 and in float64.

    python tools/against_transformers.py MODEL TEXT [--length N] [--texts K] [--start ID] [--precision bf16]

TEXT is a .txt file, made tokens with the model's tokenizer.json, or an .npy array of token ids. It is cut into texts of N ids, a start token and N - 1 tokens
one after the other; the last text ends where TEXT does and overlaps the one before, so that every token is scored. Prints JSON: how far hilberg and
transformers in float32 are from transformers in float64 (as make_fixtures.py defines it: the same weights, float64 throughout but for the rotary angles),
in nats per token, and whether hilberg is within its budget: the largest error at most 1e-4 and at most twice the largest of transformers, + 1e-5.
With --precision bf16 transformers runs in bfloat16, too (its logits widened before the log-softmax), and the budget is twice its largest error.
The exit status is 1 where hilberg is not within it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers
from make_fixtures import goldens
from safetensors import safe_open

# Ids of a batch of the reference, whose float64 attention takes about a gigabyte for them.
BATCH = 4096


def load(folder):
    """The model in float32, with every tensor of its file where it belongs."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    missing = set(info["missing_keys"])
    files = [safe_open(f, "pt") for f in sorted(folder.glob("*.safetensors"))]
    stored = {k: f.get_tensor(k).float() for f in files for k in f.keys()}
    if model.config.tie_word_embeddings and "lm_head.weight" in stored:
        # The library ties the other way round, to an embedding that this file does not have.
        with torch.no_grad():
            model.get_input_embeddings().weight.copy_(stored["lm_head.weight"])
        model.tie_weights()
        missing = {k for k in missing if "embed" not in k}
    if missing:
        sys.exit(f"{folder}: transformers finds no {sorted(missing)[0]}")
    own = model.state_dict()
    for name, tensor in stored.items():
        if name in own and not torch.equal(own[name], tensor):
            sys.exit(f"{folder}: {name} is another one in transformers than in the file")
    return model.eval()


def read(model_folder, text):
    if text.suffix == ".npy":
        return np.load(text).astype(np.int64).reshape(-1)
    tokenizer = tokenizers.Tokenizer.from_file(str(model_folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return np.array(tokenizer.encode(text.read_text(encoding="utf-8"), add_special_tokens=False).ids)


def cut(tokens, length, texts):
    """[texts, length - 1]; the last row ends where the tokens do."""
    n = length - 1
    if len(tokens) < n:
        sys.exit(f"the text has {len(tokens)} tokens, fewer than a length of {length} takes")
    at = [*range(0, len(tokens) - n + 1, n)]
    if at[-1] + n < len(tokens):
        at.append(len(tokens) - n)
    return np.stack([tokens[i:i + n] for i in at[:texts]])


def bf16(model, ids):
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits[:, :-1].float()
        return torch.log_softmax(logits, -1).gather(2, ids[:, 1:, None])[..., 0].double().numpy()


def ours(program, model, start, tokens, precision):
    with tempfile.TemporaryDirectory() as folder:
        ids, out = Path(folder) / "ids.npy", Path(folder) / "scores.jsonl"
        np.save(ids, tokens.astype(np.uint32))
        subprocess.run([program, "score", "-m", model, ids, "--start", str(start), "--precision", precision, "--per-token", "--out", out,
                        "--quiet", "--json"],
                       check=True, stdout=subprocess.DEVNULL)
        rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert np.array_equal([r["tokens"] for r in rows], tokens)
    return np.array([r["logprobs"] for r in rows], dtype=np.float64)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--length", type=int, help="ids of a text, the start token among them (default: the model's positions, or 1024)")
    parser.add_argument("--texts", type=int, help="only the first K")
    parser.add_argument("--start", type=int, help="id of the start token (default: as config.json names it)")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--program", default=str(Path(__file__).resolve().parent.parent / "target" / "release" / "hilberg"))
    args = parser.parse_args()
    model = load(args.model)
    config = model.config
    length = args.length or min(getattr(config, "max_position_embeddings", None) or 1024, 1024)
    start = next((s for s in (args.start, config.bos_token_id, config.eos_token_id) if s is not None), None)
    if start is None or start >= config.vocab_size:
        sys.exit(f"the start token {start} is none of the model's {config.vocab_size}; say --start ID")
    tokens = cut(read(args.model, args.text), length, args.texts)
    got = ours(args.program, args.model, start, tokens, args.precision)
    ids = torch.from_numpy(np.concatenate([np.full((len(tokens), 1), start), tokens], 1))
    theirs, exact = (np.concatenate(x) for x in zip(*([t.numpy() for t in goldens(model, batch)] for batch in ids.split(max(1, BATCH // length)))))
    if args.precision == "bf16":
        model = model.to(torch.bfloat16)
        theirs = np.concatenate([bf16(model, batch) for batch in ids.split(max(1, BATCH // length))])
    error, reference = np.abs(got - exact), np.abs(theirs - exact)
    budget = 2 * reference.max() if args.precision == "bf16" else min(1e-4, 2 * reference.max() + 1e-5)
    row, at = np.unravel_index(error.argmax(), error.shape)
    print(json.dumps({
        "model": args.model.name, "text": args.text.name, "texts": len(tokens), "length": length, "tokens": int(error.size),
        "nats_per_token": -exact.mean(), "lowest_log_prob": exact.min(),
        "precision": args.precision, "max_error": error.max(), "mean_error": error.mean(), "mean_signed_error": (got - exact).mean(),
        "max_error_at": {"text": int(row), "token": int(at), "log_prob": exact[row, at], "transformers_error": reference[row, at]},
        "transformers_max_error": reference.max(), "transformers_mean_error": reference.mean(),
        "transformers_mean_signed_error": (theirs - exact).mean(),
        "budget": budget, "within": bool(error.max() <= budget),
        "reference": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}",
    }, indent=1))
    return 0 if error.max() <= budget else 1


if __name__ == "__main__":
    sys.exit(main())
