#!/usr/bin/env python3
"""Seconds for all log-probabilities of one text of 1,024 tokens: this program and its peers, taking turns in one run.

    python tools/bench_peers.py --bench BINARY --models DIR [--llama-cpp BINARY] [--candle BINARY] [--rounds 9] [--out FILE.json]

BINARY of --bench is what `cargo bench --bench engine --no-run` names; it writes the models (random weights) into DIR where they are not there yet.
tools/peers/README.md says how the peers' clients are built; a peer that is not named is left out. PyTorch + transformers runs in this script's own interpreter.

Every engine is a process of its own that loads the model once, scores the text once to warm up, and then once whenever it is its turn; while one computes
the others wait. A round is one turn of each, in an order that is reversed from round to round. Times are of the whole task, loading apart: forward pass and
every token's log-probability. A ratio is peer's seconds by ours in the same round; told are the median over rounds and the order statistics that enclose the
median with at least 95 % (distribution-free; of 7 rounds least and largest, 98.4 %; of 9 the second of either end, 96.1 %). In every round the products of
PyTorch (MKL, oneDNN) and numpy (OpenBLAS) are timed on the model's own shapes, so that our share of the model bound can be told at the best product there is.

Needs torch, transformers, numpy, safetensors; gguf for llama.cpp.
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

TOKENS = 1024
# candle's Mamba takes one token at a time, some 30 a second.
CANDLE_MAMBA_TOKENS = 128
# (inputs, outputs) of the products; of the head a tile.
SHAPES = {"llama-12x768": [(768, 2304), (768, 768), (768, 4096), (2048, 768)], "gpt2-small": [(768, 2304), (768, 768), (768, 3072), (3072, 768), (768, 4096)],
          "mamba-130m": [(768, 3072), (1536, 768), (768, 4096)]}


def text(tokens):
    return [(i * 7919 + 13) % 50_000 for i in range(tokens)]


def serve(first, turn):
    """What every engine does: a line about itself, then a line for every line."""
    print(json.dumps(first), flush=True)
    for _ in sys.stdin:
        print(json.dumps(turn()), flush=True)


def transformers_worker(folder, dtype, tokens, threads):
    import torch
    import transformers

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    transformers.logging.set_verbosity_error()
    kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=kind).eval()
    ids = torch.tensor([text(tokens)])

    def turn():
        begin = time.perf_counter()
        logits = model(ids, use_cache=False).logits[0, :-1].float()
        logs = logits.gather(1, ids[0, 1:, None])[:, 0] - torch.logsumexp(logits, 1)
        total = logs.double().sum().item()
        seconds = time.perf_counter() - begin
        return {"seconds": seconds, "tokens": tokens, "sum": total, "sum_first": logs[: CANDLE_MAMBA_TOKENS - 1].double().sum().item()}

    serve({"version": f"torch {torch.__version__}, transformers {transformers.__version__}"}, turn)


def products_worker(shapes, threads):
    """Operations a second of others' products, 1,024 rows, weights [outputs, inputs] as checkpoints have them: the best of three, of the best shape."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    cases = []
    for k, n in shapes:
        a, w, o = torch.randn(TOKENS, k), torch.randn(n, k), torch.empty(TOKENS, n)
        ab, wb, ob = a.bfloat16(), w.bfloat16(), torch.empty(TOKENS, n, dtype=torch.bfloat16)
        an, wn, on = a.numpy(), w.numpy(), np.empty((TOKENS, n), np.float32)
        work = 2.0 * TOKENS * k * n
        cases += [("torch_f32", work, lambda a=a, w=w, o=o: torch.mm(a, w.t(), out=o)),
                  ("torch_bf16", work, lambda a=ab, w=wb, o=ob: torch.mm(a, w.t(), out=o)),
                  ("numpy_f32", work, lambda a=an, w=wn, o=on: np.matmul(a, w.T, out=o))]

    def turn():
        best = {}
        for name, work, run in cases:
            for _ in range(3):
                begin = time.perf_counter()
                run()
                best[name] = max(best.get(name, 0.0), work / (time.perf_counter() - begin))
        return best

    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    serve({"version": f"numpy {np.__version__} with {blas['name']} {blas['version']}; torch {torch.__version__}"}, turn)


class Engine:
    """A process that takes turns."""

    def __init__(self, name, command, threads):
        self.name = name
        env = os.environ | {v: str(threads) for v in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")}
        self.process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.about = self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with status {self.process.wait()}")
        return json.loads(line)

    def turn(self):
        # Threads of the engine before may spin for some tenths of a second more.
        time.sleep(0.4)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.read()

    def peak_memory(self):
        """Bytes resident at most so far."""
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
        return None

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def median_interval(values):
    """Median and the order statistics that enclose the true median with at least 95 %, with how sure they are; where rounds are too few, what they give."""
    v = sorted(values)
    n = len(v)
    inside = lambda k: 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n
    k = max((k for k in range(1, n // 2 + 1) if inside(k) >= 0.95), default=1)
    return {"median": statistics.median(v), "interval": [v[k - 1], v[n - k]], "confidence": inside(k) if n > 1 else 0.0}


def gguf(folder, kind):
    out = Path(folder).parent / f"{Path(folder).name}-{kind}.gguf"
    if not out.exists():
        part = out.with_suffix(".part")
        subprocess.run([sys.executable, Path(__file__).parent / "peers" / "gguf_from.py", folder, kind, part], check=True)
        part.rename(out)
    return out


def engines(args, name):
    folder, me = Path(args.models) / name, [sys.executable, __file__]
    ours = [args.bench, "--models", args.models, "--only", name, "--threads", args.threads, "--serve"]
    # First, since it makes the folder.
    all_ = {"ours f32": ours}
    if args.bf16:
        all_["ours bf16"] = [*ours, "--precision", "bf16"]
    for kind in ("f32", "bf16"):
        all_[f"transformers {kind}"] = [*me, "--worker", "transformers", folder, kind, TOKENS, args.threads]
        if args.llama_cpp:
            all_[f"llama.cpp {kind}"] = lambda kind=kind: [args.llama_cpp, gguf(folder, kind), TOKENS, args.threads]
    if args.candle and name != "gpt2-small":
        mamba = name.startswith("mamba")
        all_["candle f32"] = [args.candle, "mamba" if mamba else "llama", folder, CANDLE_MAMBA_TOKENS if mamba else TOKENS]
    all_["products"] = [*me, "--worker", "products", json.dumps(SHAPES[name]), args.threads]
    for key, command in all_.items():
        if args.only is None or key in args.only or key == "ours f32":
            yield Engine(key, command() if callable(command) else command, args.threads)


def compare(args, name):
    running = list(engines(args, name))
    for e in running:
        e.turn()
    rounds = []
    for i in range(args.rounds):
        turns = {}
        for e in running if i % 2 == 0 else running[::-1]:
            turns[e.name] = e.turn()
            print(f"{name} {i + 1}/{args.rounds} {e.name} {json.dumps(turns[e.name])}", file=sys.stderr, flush=True)
        rounds.append(turns)
    memory = {e.name: e.peak_memory() for e in running}
    about = {e.name: e.about for e in running}
    for e in running:
        e.end()
    return {"model": name, "engines": about, "summary": summary(rounds, memory, about), "rounds": rounds}


def summary(rounds, memory, about):
    names = [n for n in rounds[0] if n != "products"]
    speed = lambda turn: turn["tokens"] / turn["seconds"]
    mean = lambda turn: turn["sum"] / (turn["tokens"] - 1)
    out = {}
    for name in names:
        last = rounds[-1][name]
        # What scores fewer tokens is compared with transformers' sum over as many.
        reference = rounds[-1].get("transformers f32")
        theirs = reference and (reference["sum"] if last["tokens"] == reference["tokens"] else reference["sum_first"])
        entry = {"tokens_per_second": median_interval([speed(r[name]) for r in rounds]), "nats_per_token": mean(last), "peak_resident_bytes": memory[name],
                 "sum_minus_transformers_f32": last["sum"] - theirs if theirs is not None else None,
                 "sums_seen": sorted({r[name]["sum"] for r in rounds})}
        if name.startswith("ours"):
            for key in ("share_of_bound", "share_of_fma_peak"):
                entry[key] = median_interval([r[name][key] for r in rounds])
            for key in ("fma", "product", "exp", "copy"):
                entry[f"{key}_ceiling"] = median_interval([r[name]["ceilings"][key] for r in rounds])
            if "products" in rounds[0]:
                entry["share_of_bound_at_best_product"] = median_interval([share_at_best(r[name], r["products"], about[name]["work"], name) for r in rounds])
        for ours in ("ours f32", "ours bf16"):
            if not name.startswith("ours") and ours in rounds[0]:
                entry[f"{ours} by this"] = median_interval([speed(r[ours]) / speed(r[name]) for r in rounds])
        out[name] = entry
    if "products" in rounds[0]:
        out["products"] = {k: median_interval([r["products"][k] for r in rounds]) for k in rounds[0]["products"]}
    return out


def share_at_best(turn, products, work, name):
    """The model bound with the fastest product of any library in that round, by the time taken."""
    kind = "bf16" if name.endswith("bf16") else "f32"
    best = max([turn["ceilings"]["product"], *(v for k, v in products.items() if k.endswith(kind))])
    mixing = min(best, turn["ceilings"]["fma"])
    return (work["products"] / best + work["mixing"] / mixing + work["exps"] / turn["ceilings"]["exp"]) / turn["seconds"]


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "")
    flags = next((line.split(":")[1].split() for line in open("/proc/cpuinfo") if line.startswith("flags")), [])
    wide = [f for f in flags if f.startswith(("avx", "amx", "fma"))]
    return {"cpu": cpu, "instructions": wide, "cores": os.cpu_count(), "load_average": os.getloadavg()}


def table(result):
    lines = []
    for m in result["models"]:
        lines += [f"\n{m['model']}", f"{'engine':18} {'tokens/s':>9}  {'ours f32 by this':>24}  {'sum − transformers f32':>22}  peak MiB"]
        for name, e in m["summary"].items():
            if name == "products":
                continue
            r = e.get("ours f32 by this")
            told = f"{r['median']:.2f} [{r['interval'][0]:.2f}, {r['interval'][1]:.2f}]" if r else ""
            off = e["sum_minus_transformers_f32"]
            lines.append(f"{name:18} {e['tokens_per_second']['median']:9.1f}  {told:>24}  {off if off is not None else math.nan:22.4f}  {e['peak_resident_bytes'] / 2**20:8.0f}")
        o = m["summary"]["ours f32"]
        lines.append("share of the model bound {:.3f}, of the FMA peak {:.3f}; product {:.0f} of {:.0f} GFLOP/s; {:.2f} G exp/s".format(
            o["share_of_bound"]["median"], o["share_of_fma_peak"]["median"], o["product_ceiling"]["median"] / 1e9, o["fma_ceiling"]["median"] / 1e9,
            o["exp_ceiling"]["median"] / 1e9))
        if "products" in m["summary"]:
            lines.append("others' products, GFLOP/s: " + ", ".join(f"{k} {v['median'] / 1e9:.0f}" for k, v in m["summary"]["products"].items())
                         + f"; share of the model bound at the best {o['share_of_bound_at_best_product']['median']:.3f}")
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--bench", required=True)
    p.add_argument("--models", required=True)
    p.add_argument("--llama-cpp")
    p.add_argument("--candle")
    p.add_argument("--bf16", action="store_true", help="ours with --precision bf16, too")
    p.add_argument("--shapes", default=",".join(SHAPES))
    p.add_argument("--only", type=lambda s: s.split(","), help="these engines beside ours: `transformers f32,products`")
    p.add_argument("--rounds", type=int, default=9)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--out")
    args = p.parse_args()
    result = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "threads": args.threads, "tokens": TOKENS, "models": []}
    for name in args.shapes.split(","):
        result["models"].append(compare(args, name))
        if args.out:
            Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
    print(table(result))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        if sys.argv[2] == "transformers":
            transformers_worker(sys.argv[3], sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
        else:
            products_worker([tuple(s) for s in json.loads(sys.argv[3])], int(sys.argv[4]))
    else:
        main()
