#!/usr/bin/env python3
"""Makes assets/models: a Llama and a Mamba-2 of about two million parameters each, trained from scratch on novels, on a CPU.

    python tools/train_demo.py prepare NOVELS DATA --held-out assets/held-out.tsv     tokenizer and token ids
    python tools/train_demo.py train llama DATA RUN-LLAMA --steps 3000 --compile       again: goes on where it was
    python tools/train_demo.py train mamba2 DATA RUN-MAMBA2 --steps 3000 --compile
    python tools/train_demo.py export RUN-LLAMA assets/models/books-llama --data DATA --texts assets/texts
    python tools/train_demo.py evaluate assets/models/books-llama assets/texts
    python tools/train_demo.py smoke                                                    checks the tool itself, in a minute

and a model of letters, for DNA, proteins, sources or anything else (docs/domains.md):

    python tools/train_demo.py prepare TEXTS.jsonl DATA --bytes                         256 bytes and the start token

NOVELS is a folder of .txt files, a novel each, first line the title, second the author; or a .jsonl file whose lines have an id and a text, taken as it is. Every training text is the start token, then text from a uniformly
random place: so a model also learns to begin in the middle of a text, which the marginal terms of an estimate ask of it. The batch of a step depends on --seed
and the step alone; nothing else is random after the first weights. A run that is killed and started again gives the same bits as one that was not (same
machine, --threads and library versions; `smoke` checks it without --compile). The learning rate rises over --warmup steps, stays, and falls linearly to 0 over the last 30 % of the steps, in which
texts are --long tokens instead of --short. Until then --steps may be changed: the steps before are the same for any.

On a CPU MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=4000000000 in the environment keeps the memory of a step from being given back and
asked for again.

Needs torch, numpy, tokenizers and safetensors (requirements.txt); `smoke` also compares with transformers.
"""

import argparse
import hashlib
import json
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from make_excerpts import join, names, paragraphs
from train_demo_models import ARCHITECTURES, logits
from train_demo_optimizer import optimizers

START = "<|endoftext|>"  # id 0
# Share of the steps after which texts lengthen and the learning rate falls.
LATE = 0.7
# What defines a run: a checkpoint goes on only under the same.
FIXED = ["architecture", "seed", "batch_tokens", "part_tokens", "compile", "short", "long", "warmup", "muon_lr", "adam_lr", "shape"]


# ---- data

def works_of(novels, held_out):
    """{name: text} of all that are not held out: of a folder's novels, or of a .jsonl file's lines."""
    if novels.suffix == ".jsonl":
        rows = [json.loads(line) for line in novels.read_text(encoding="utf-8").splitlines()]
        texts = {row["id"]: row["text"] for row in rows}
    else:
        texts = {f.stem: f for f in sorted(novels.glob("*.txt"))}
    missing = held_out - set(texts)
    if missing:
        sys.exit(f"{novels}: no {sorted(missing)[0]}, which --held-out names")
    return {n: t if isinstance(t, str) else join(paragraphs(t)) for n, t in texts.items() if n not in held_out}


def prepare(args):
    """Writes DATA/tokenizer.json, DATA/ids.npy (all training texts, one after the other) and DATA/data.json (which, and where each begins)."""
    held_out = set(names(args.held_out)) if args.held_out else set()
    texts = works_of(args.novels, held_out)
    tokenizer = Tokenizer(models.BPE())
    # Without merges nothing looks beyond a byte: a text need not be cut into words first.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not args.bytes)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([] if args.bytes else texts.values(), trainers.BpeTrainer(
        vocab_size=257 if args.bytes else args.vocabulary, special_tokens=[START], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    args.data.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(args.data / "tokenizer.json"))
    ids = [np.array(tokenizer.encode(t, add_special_tokens=False).ids, dtype=np.uint16) for t in texts.values()]
    np.save(args.data / "ids.npy", np.concatenate(ids))
    works = [dict(name=n, bytes=len(t.encode()), tokens=len(i), sha256=hashlib.sha256(t.encode()).hexdigest()) for (n, t), i in zip(texts.items(), ids)]
    (args.data / "data.json").write_text(json.dumps(dict(vocabulary=tokenizer.get_vocab_size(), works=works, held_out=sorted(held_out)), indent=1))
    print(f"{len(works)} texts, {sum(w['bytes'] for w in works)} bytes, {sum(w['tokens'] for w in works)} tokens of {tokenizer.get_vocab_size()} kinds")


class Data:
    def __init__(self, folder):
        self.info = json.loads((folder / "data.json").read_text())
        self.ids = np.load(folder / "ids.npy")
        self.lengths = np.array([w["tokens"] for w in self.info["works"]])
        self.starts = np.concatenate([[0], self.lengths.cumsum()[:-1]])
        self.digest = hashlib.sha256(self.ids.tobytes()).hexdigest()

    def batch(self, seed, step, texts, context):
        """[texts, context + 1]: the start token and a novel's tokens from a place; all places of all novels are equally likely."""
        places = np.maximum(self.lengths - context + 1, 0).cumsum()
        draw = np.random.Generator(np.random.Philox(key=[seed, step])).integers(places[-1], size=texts)
        novel = np.searchsorted(places, draw, side="right")
        at = self.starts[novel] + draw - np.concatenate([[0], places])[novel]
        rows = self.ids[at[:, None] + np.arange(context)].astype(np.int64)
        return torch.from_numpy(np.concatenate([np.zeros((texts, 1), np.int64), rows], 1))


# ---- training

def late(steps):
    return int(LATE * steps)


def rate(step, steps, warmup):
    """The learning rate of a step, as a share of its highest."""
    return min(1, (step + 1) / warmup, (steps - step) / (steps - late(steps)))


def loss_of(model, ids):
    with torch.autocast("cpu", torch.bfloat16):
        y = logits(model, ids[:, :-1])
    return F.cross_entropy(y.float().flatten(0, 1), ids[:, 1:].flatten())


def save(path, state):
    """Whole or not at all."""
    new = path.with_suffix(".new")
    with open(new, "wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(new, path)


def train(args):
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    data = Data(args.data)
    kind, shape = ARCHITECTURES[args.architecture]
    args.shape = {**shape, **{k: type(shape[k])(v) for k, v in (s.split("=") for s in args.set)}}
    model = kind(args.shape, data.info["vocabulary"])
    both = optimizers(model, args.muon_lr, args.adam_lr)
    highest = [o.param_groups[0]["lr"] for o in both]
    fixed = {**{k: getattr(args, k) for k in FIXED}, "data": data.digest}
    args.run.mkdir(parents=True, exist_ok=True)
    checkpoint = args.run / "checkpoint.pt"
    step, tokens, seconds = 0, 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        other = [k for k in fixed if state["fixed"][k] != fixed[k]]
        if other:
            sys.exit(f"{checkpoint}: was made with another {other[0]}; take another folder")
        step, tokens, seconds = state["step"], state["tokens"], state["seconds"]
        if state["steps"] != args.steps and step > late(min(state["steps"], args.steps)):
            sys.exit(f"{checkpoint}: at step {step} it is too late to change --steps from {state['steps']} to {args.steps}")
        model.load_state_dict(state["model"])
        for o, s in zip(both, state["optimizers"]):
            o.load_state_dict(s)
        torch.set_rng_state(state["rng"])
    print(f"{args.architecture}: {sum(p.numel() for p in model.parameters())} parameters, {len(data.ids)} tokens, from step {step} of {args.steps}", flush=True)
    share_of_loss = torch.compile(loss_of, dynamic=False) if args.compile else loss_of
    saved, clock, mean = time.time(), time.process_time(), None

    def write():
        save(checkpoint, dict(fixed=fixed, steps=args.steps, step=step, tokens=tokens, seconds=seconds + time.process_time() - clock, model=model.state_dict(),
                              optimizers=[o.state_dict() for o in both], rng=torch.get_rng_state()))

    while step < min(args.steps, args.stop or args.steps):
        context = args.long if step >= late(args.steps) else args.short
        parts = data.batch(args.seed, step, args.batch_tokens // context, context).split(max(1, args.part_tokens // context))
        loss = 0.0
        for part in parts:
            share = share_of_loss(model, part) * (part.shape[0] * context / args.batch_tokens)
            share.backward()
            loss += share.item()
        for o, lr in zip(both, highest):
            o.param_groups[0]["lr"] = lr * rate(step, args.steps, args.warmup)
            o.step()
        model.zero_grad()
        step, tokens = step + 1, tokens + args.batch_tokens
        mean = loss if mean is None else 0.98 * mean + 0.02 * loss
        if not math.isfinite(mean):
            sys.exit(f"the loss is {mean} at step {step}")
        if step % args.report == 0:
            used = seconds + time.process_time() - clock
            print(f"step {step}  {tokens / 1e6:.2f} M tokens  {used / 60:.1f} CPU minutes  loss {mean:.4f}", flush=True)
        if time.time() - saved > args.every:
            write()
            saved = time.time()
    write()


# ---- what comes out

def read_model(folder):
    """A folder that `export` wrote, in float32."""
    config = json.loads((folder / "config.json").read_text())
    kind, shape = ARCHITECTURES[config["model_type"]]
    config = {**config.get("rope_parameters", {}), **config}
    model = kind({k: config.get(k, v) for k, v in shape.items()}, config["vocab_size"])
    # A file of the library itself stores no other names; tied heads are not stored.
    model.load_state_dict({k: v.float() for k, v in load_file(folder / "model.safetensors").items()})
    return model.eval(), config


@torch.no_grad()
def measure(model, tokenizer, texts, context):
    """Rows of (text, bytes, tokens, nats), each text cut into windows of `context` tokens, every window after the start token."""
    rows = []
    for text in sorted(texts.glob("*.txt")) if texts.is_dir() else [texts]:
        content = text.read_text(encoding="utf-8")
        ids, nats = tokenizer.encode(content, add_special_tokens=False).ids, 0.0
        for at in range(0, len(ids), context):
            window = torch.tensor([[0, *ids[at:at + context]]])
            nats += F.cross_entropy(logits(model, window[:, :-1])[0], window[0, 1:], reduction="sum").item()
        rows.append((text.name, len(content.encode()), len(ids), nats))
    return rows


def summary(rows):
    """Means over works and their standard errors: a work counts once, whatever its length."""
    out = {}
    for name, each in [("nats_per_token", [n / t for _, _, t, n in rows]), ("bits_per_byte", [n / b / math.log(2) for _, b, _, n in rows])]:
        out[name] = float(np.mean(each))
        out[name + "_standard_error"] = float(np.std(each, ddof=1) / math.sqrt(len(each))) if len(each) > 1 else None
    return out


def evaluate(args):
    torch.set_num_threads(args.threads)
    model, config = read_model(args.model)
    context = args.context or config.get("max_position_embeddings", 1024)
    rows = measure(model, Tokenizer.from_file(str(args.model / "tokenizer.json")), args.texts, context)
    for name, size, tokens, nats in rows:
        print(f"{name:40} {nats / tokens:.4f} nats per token  {nats / size / math.log(2):.4f} bits per byte  {tokens} tokens")
    print(json.dumps(dict(model=args.model.name, context=context, works=len(rows), **summary(rows)), indent=1))


def export(args):
    """A folder as transformers writes it: config.json, model.safetensors (bfloat16), tokenizer.json, and training.json."""
    state = torch.load(args.run / "checkpoint.pt", weights_only=True)
    fixed, data = state["fixed"], json.loads((args.data / "data.json").read_text())
    kind, _ = ARCHITECTURES[fixed["architecture"]]
    model = kind(fixed["shape"], data["vocabulary"])
    model.load_state_dict(state["model"])
    args.out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.to(torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    save_file(weights, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "config.json").write_text(json.dumps(model.config(data["vocabulary"], fixed["long"]), indent=2) + "\n")
    (args.out / "tokenizer.json").write_bytes((args.data / "tokenizer.json").read_bytes())
    training = dict(parameters=sum(p.numel() for p in model.parameters()), steps=state["step"], planned_steps=state["steps"], tokens=state["tokens"],
                    cpu_minutes=round(state["seconds"] / 60, 1), **fixed, torch=torch.__version__, trained_on=[w["name"] for w in data["works"]],
                    held_out=data["held_out"])
    if args.texts:
        model, _ = read_model(args.out)
        rows = measure(model, Tokenizer.from_file(str(args.out / "tokenizer.json")), args.texts, fixed["long"])
        training["held_out_loss"] = dict(context=fixed["long"], works=len(rows), **summary(rows))
    (args.out / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    print(json.dumps(training.get("held_out_loss", {}), indent=1))


# ---- the tool's own check

def smoke(args):
    """Both architectures, tiny, on assets/texts: 20 steps at once and 11 + 9 through a checkpoint give the same bits, and transformers gives the same logits."""
    from transformers import AutoModelForCausalLM
    texts = Path(__file__).resolve().parent.parent / "assets" / "texts"
    tiny = {"llama": ["hidden_size=32", "intermediate_size=64", "num_hidden_layers=2", "num_attention_heads=4", "num_key_value_heads=4", "head_dim=8"],
            "mamba2": ["hidden_size=32", "num_hidden_layers=2", "state_size=8", "head_dim=16", "num_heads=4", "chunk_size=16"]}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        main(["prepare", str(texts), str(folder / "data"), "--vocabulary", "300"])
        for architecture, shape in tiny.items():
            once, twice, model = (folder / f"{architecture}-{x}" for x in ("once", "twice", "model"))
            options = "--steps 20 --batch-tokens 256 --short 32 --long 64 --warmup 5".split() + [w for s in shape for w in ("--set", s)]
            main(["train", architecture, str(folder / "data"), str(once), *options])
            for stop in ("11", "20"):
                main(["train", architecture, str(folder / "data"), str(twice), *options, "--stop", stop])
            a, b = (torch.load(f / "checkpoint.pt", weights_only=True) for f in (once, twice))
            same = a["step"] == b["step"] == 20 and all(torch.equal(a["model"][k], b["model"][k]) for k in a["model"])
            main(["export", str(once), str(model), "--data", str(folder / "data")])
            ids = torch.arange(120)[None] % 300
            with torch.no_grad():
                ours = logits(read_model(model)[0], ids)
                theirs = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager").eval()(ids).logits
            apart = (ours - theirs).abs().max().item()
            print(f"{architecture}: resumed {'bit for bit' if same else 'DIFFERENT'}; at most {apart:.1e} nats from transformers", flush=True)
            if not same or apart > 1e-4:
                sys.exit(1)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    p = commands.add_parser("prepare", help=prepare.__doc__)
    p.add_argument("novels", type=Path)
    p.add_argument("data", type=Path)
    p.add_argument("--held-out", type=Path, help="texts to leave out: a file name without .txt, or an id, first on each line")
    p.add_argument("--vocabulary", type=int, default=2048)
    p.add_argument("--bytes", action="store_true", help="a token is a byte: for texts without words")
    p = commands.add_parser("train", help="trains RUN, or goes on with it", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("architecture", choices=ARCHITECTURES)
    p.add_argument("data", type=Path)
    p.add_argument("run", type=Path)
    p.add_argument("--steps", type=int, required=True, help="of the whole training")
    p.add_argument("--stop", type=int, help="stop after this step and leave the rest to another call")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--batch-tokens", type=int, default=4096, help="tokens predicted in a step")
    p.add_argument("--part-tokens", type=int, default=1024, help="of which so many at a time, so that activations stay in the cache")
    p.add_argument("--compile", action="store_true", help="through torch.compile, which takes a C++ compiler and minutes at first; other bits, about twice as fast")
    p.add_argument("--short", type=int, default=256, help="tokens of a text at first")
    p.add_argument("--long", type=int, default=1024, help="tokens of a text at last")
    p.add_argument("--warmup", type=int, default=100, help="steps")
    p.add_argument("--muon-lr", type=float, default=0.02)
    p.add_argument("--adam-lr", type=float, default=0.003)
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a size of the network, as config.json names it")
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--every", type=float, default=120, help="seconds between checkpoints")
    p.add_argument("--report", type=int, default=50, help="steps between lines")
    p = commands.add_parser("export", help=export.__doc__)
    p.add_argument("run", type=Path)
    p.add_argument("out", type=Path)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--texts", type=Path, help="held-out texts, whose loss training.json then states")
    p = commands.add_parser("evaluate", help="loss on texts, by work, and its mean over works with standard error")
    p.add_argument("model", type=Path)
    p.add_argument("texts", type=Path)
    p.add_argument("--context", type=int, help="tokens of a window (default: the model's positions, or 1024)")
    p.add_argument("--threads", type=int, default=1)
    commands.add_parser("smoke", help=smoke.__doc__)
    args = parser.parse_args(words)
    globals()[args.command](args)


if __name__ == "__main__":
    main()
