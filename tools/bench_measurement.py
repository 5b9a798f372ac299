#!/usr/bin/env python3
"""A whole measurement (direct and vCLUB, ratio 2, splits 2 … L/2) by this program and by scripts on transformers, on the same texts, taking turns.

    python tools/bench_measurement.py --program target/release/hilberg --model DIR [--length 2048] [--foreign 1] [--rounds 7] [--out FILE.json]
                                      [--variance matched.json published.json]

DIR is a model folder of the Llama, GPT-2 or another family that transformers knows, with at least L + 1 positions: that of `cargo bench --bench engine`, or
a real one. Texts are L random token ids. A round is one group, K + 1 texts, by each of:

ours       `hilberg measure`: the wall-clock time of the whole command, with start, loading, packing, record and estimate; and the scoring alone, from run.json
published  for every text one pass over all of it, and at every split ℓ one over ⊥ and its whole tail and one over another text's first ℓ tokens and that tail
           (40,983 tokens a text for L = 2048), batch 1, all logits, a log-sum-exp of each row; loading apart. Only with --foreign 1, for one text of the group
trimmed    passes only as long as the sums need: the text, ⊥ and the tail's first ℓ tokens, ℓ tokens of the other text and those (8,207 tokens a text)
kept       as trimmed, and logits only of the rows that a sum needs (`logits_to_keep`)

Every sum of the record is held against the scripts' own. Times are per text; a ratio is a script's by ours in the same round, and the median over rounds is told
with its order-statistic interval. The file of --out is written after every round; a run that was stopped goes on from it. --variance takes the two files of
`tools/variance.py` and tells how many times longer the published recipe with its pairing needs
for the same standard error: (its time a pair of texts · its variance) / (our time a pair · our variance), at every split.

Needs torch, transformers, numpy, pyarrow.
"""
import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_peers import machine, median_interval
from variance import points


def texts(count, length, vocab, seed):
    return np.random.default_rng(seed).integers(3, min(vocab, 50_000), (count, length), dtype=np.uint32)


class Ours:
    """One `hilberg measure` a round."""

    def __init__(self, args):
        self.args = args

    def run(self, tokens):
        a = self.args
        with tempfile.TemporaryDirectory() as folder:
            ids, out = Path(folder) / "texts.npy", Path(folder) / "out"
            np.save(ids, tokens)
            command = [a.program, "measure", "-m", a.model, ids, "--length", a.length, "--chunks", len(tokens), "--foreign", a.foreign, "--threads", a.threads,
                       "--precision", a.precision, "--out", out, "--quiet", "--start", a.start]
            begin = time.perf_counter()
            subprocess.run([str(c) for c in command], check=True, stdout=subprocess.DEVNULL)
            wall = time.perf_counter() - begin
            scoring = json.loads((out / "run.json").read_text())[-1]["models"][0]
            return {"seconds": wall / len(tokens), "scoring_seconds": scoring["seconds"] / len(tokens), "fed": scoring["tokens_fed"] / len(tokens)}, self.record(out)

    def record(self, out):
        """(joint, marginal, cross) of every document: [splits], [splits], [K, splits]; and the documents whose tails the cross terms are of."""
        import pyarrow.parquet as pq

        design = json.loads((out / "plan.json").read_text())["design"]
        splits, ratios = design["splits"], design["ratios"]
        rows = [r for f in sorted(glob.glob(f"{out}/model-0-*/record/part-*.parquet")) for r in pq.read_table(f).to_pylist()]
        members = {}
        for r in rows:
            members.setdefault(r["group"], {})[r["member"]] = r["document"]
        found = {}
        for r in rows:
            trunk = np.array(r["trunk"], float)
            joint = np.array([trunk[s:2 * s].sum() for s in splits])
            marginal = np.array(r["marginal"]).reshape(len(splits), 8 + len(ratios))[:, 8]
            cross = np.array(r["cross"]).reshape(-1, len(splits), len(ratios))[:, :, 0]
            others = [d for m, d in sorted(members[r["group"]].items()) if m != r["member"]]
            found[r["document"]] = (joint, marginal, cross, others)
        return splits, found


class Script:
    """What a script on transformers does for one text: the same sums."""

    def __init__(self, args):
        import torch
        import transformers

        torch.set_num_threads(args.threads)
        torch.set_grad_enabled(False)
        transformers.logging.set_verbosity_error()
        self.torch, self.args = torch, args
        self.version = f"torch {torch.__version__}, transformers {transformers.__version__}"
        kind = {"f32": torch.float32, "bf16": torch.bfloat16}[args.precision]
        self.model = transformers.AutoModelForCausalLM.from_pretrained(args.model, dtype=kind).eval()
        self.fed = 0

    def tail(self, ids, count, keep):
        """Log-probabilities of the last `count` tokens, summed over the first `ℓ` of them by the caller."""
        torch = self.torch
        all_ = torch.tensor([[self.args.start, *(int(i) for i in ids)]])
        self.fed += all_.shape[1]
        # The row before a token predicts it; the last row predicts nothing that is asked.
        logits = self.model(all_, use_cache=False, **({"logits_to_keep": count + 1} if keep else {})).logits[0].float()
        logs = logits[:-1].gather(1, all_[0, -len(logits) + 1:, None])[:, 0] - torch.logsumexp(logits[:-1], 1)
        return logs[-count:].double().numpy()

    def run(self, how, own, others, splits):
        """Sums of one text: its first ℓ tokens are the head, own[ℓ:2ℓ] and others' the tails."""
        begin, self.fed = time.perf_counter(), 0
        n, keep = len(own), how == "kept"
        whole = how == "published"
        end = lambda s: n if whole else 2 * s
        trunk = self.tail(own, n, False)
        joint = np.array([trunk[s:2 * s].sum() for s in splits])
        marginal = np.array([self.tail(own[s:end(s)], end(s) - s, keep)[:s].sum() for s in splits])
        cross = np.array([[self.tail(np.concatenate([own[:s], o[s:end(s)]]), end(s) - s, keep)[:s].sum() for s in splits] for o in others])
        return {"seconds": time.perf_counter() - begin, "fed": self.fed}, (joint, marginal, cross)


def distance(ours, theirs, splits):
    """Largest difference of two sets of sums, and the largest in nats per summed token."""
    off = [np.abs(a - b) for a, b in zip(ours, theirs)]
    return {"largest": max(float(o.max()) for o in off), "largest_per_token": max(float((o / np.array(splits)).max()) for o in off)}


def to_the_same_error(files, seconds_ours, seconds_published):
    """Published by ours: time to the same standard error, at each split; a group of the record is a pair of texts, of which the published pairing passes one
    for the joint term and the other for the rest, so that a pair costs it what one text costs."""
    (_, matched), (_, published) = points(files[0]), points(files[1])
    table = {}
    for key in sorted(matched, key=str):
        a, b = matched[key], published.get(key)
        if a and b:
            table.setdefault(f"{key[0]}, {key[2]}, r = {key[1]}", {})[key[3]] = {
                "variance_ratio": (b / a) ** 2, "time_ratio": (b / a) ** 2 * seconds_published / (2 * seconds_ours)}
    return table


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--program", required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--length", type=int, default=2048)
    p.add_argument("--foreign", type=int, default=1)
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    p.add_argument("--start", type=int, default=1)
    p.add_argument("--scripts", default=None, help="of published, trimmed, kept; default: all, and for --foreign above 1 all but published")
    p.add_argument("--script-texts", type=int, default=1, help="texts of a group that every script does (all of a group's would take it K + 1 times as long)")
    p.add_argument("--variance", nargs=2, metavar=("MATCHED", "PUBLISHED"))
    p.add_argument("--out")
    args = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    scripts = (args.scripts or ("published,trimmed,kept" if args.foreign == 1 else "trimmed,kept")).split(",")
    vocab = json.loads((Path(args.model) / "config.json").read_text())["vocab_size"]
    ours, script = Ours(args), Script(args)
    # Warms the file cache and the library up.
    script.tail(texts(1, 64, vocab, 1)[0], 63, False)
    about = {"peer": script.version, "model": Path(args.model).name, "length": args.length, "foreign": args.foreign, "precision": args.precision,
             "threads": args.threads, "scripts": scripts}
    splits, rounds = begun(args.out, about)
    for i in range(len(rounds), args.rounds):
        tokens = texts(args.foreign + 1, args.length, vocab, 100 + i)
        turn, (splits, found) = ours.run(tokens)
        this = {"ours": turn}
        print(f"{i + 1}/{args.rounds} ours {json.dumps(turn)}", file=sys.stderr, flush=True)
        for how in scripts if i % 2 == 0 else scripts[::-1]:
            times = []
            for own in range(args.script_texts):
                *mine, others = found[own]
                told, sums = script.run(how, tokens[own], [tokens[o] for o in others], splits)
                times.append(told | {"distance": distance(mine, sums, splits)})
            worst = max((t["distance"] for t in times), key=lambda d: d["largest_per_token"])
            this[how] = {"seconds": sum(t["seconds"] for t in times) / len(times), "fed": times[0]["fed"], "distance": worst}
            print(f"{i + 1}/{args.rounds} {how} {json.dumps(this[how])}", file=sys.stderr, flush=True)
        rounds.append(this)
        if args.out:
            Path(args.out).write_text(json.dumps(summary(about, splits, rounds, args.variance), indent=1) + "\n")
    print(json.dumps({k: v for k, v in summary(about, splits, rounds, args.variance).items() if k != "rounds"}, indent=1))


def begun(out, about):
    """Splits and rounds of a run that was stopped, if its file is there."""
    if not (out and Path(out).exists()):
        return [], []
    told = json.loads(Path(out).read_text())
    for key, value in about.items():
        if told.get(key) != value:
            sys.exit(f"{out}: its {key} is {told.get(key)}, not {value}: name another file")
    return told["splits"], told["rounds"]


def summary(about, splits, rounds, variance):
    scripts = about["scripts"]
    median = lambda key, of="seconds": median_interval([r[key][of] for r in rounds])
    result = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), **about, "splits": splits,
              "seconds_a_text": {k: median(k) for k in ("ours", *scripts)}, "ours_scoring_seconds_a_text": median("ours", "scoring_seconds"),
              "tokens_a_text": {k: rounds[0][k]["fed"] for k in ("ours", *scripts)},
              "script_by_ours": {k: median_interval([r[k]["seconds"] / r["ours"]["seconds"] for r in rounds]) for k in scripts},
              "script_by_our_scoring": {k: median_interval([r[k]["seconds"] / r["ours"]["scoring_seconds"] for r in rounds]) for k in scripts},
              "largest_distance_per_token": max(r[k]["distance"]["largest_per_token"] for r in rounds for k in scripts), "rounds": rounds}
    if variance and "published" in scripts:
        of = result["seconds_a_text"]
        result["time_to_the_same_error"] = to_the_same_error(variance, of["ours"]["median"], of["published"]["median"])
    return result


if __name__ == "__main__":
    main()
