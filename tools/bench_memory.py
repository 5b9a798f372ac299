#!/usr/bin/env python3
"""Peak memory of `hilberg score` against what `hilberg inspect` says, against PyTorch on the same task, and for a model larger than the memory.

    python tools/bench_memory.py --program target/release/hilberg --model DIR[:1G,400M] ... [--sparse DIR --sparse-memory 4G] [--out FILE.json]

The task: all log-probabilities of texts of 1,024 tokens (or as many as the model knows), float32. Of every process the largest RssAnon (what it allocated) is sampled every 2 ms, and VmHWM is
the kernel's mark of all that was resident: allocated and mapped, program and libraries included. For every --memory ours is held against what `inspect --memory`
says. PyTorch + transformers does the first of the texts one after another, in two ways: logits of a text whole, as its models hand them out, and `in_slices`, where a script takes the hidden
states and applies the head to 128 rows at a time. --sparse is a folder of tools/make_sparse_model.py: one short text is scored under --sparse-memory.
Needs torch, transformers and numpy for PyTorch's part; without --peer-texts that part is left out.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from bench_peers import machine

TOKENS = 1024


def watch(command):
    """Runs a command; its standard output and peaks in bytes."""
    begin = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peaks = {"allocated": 0, "with_mapped": 0}
    while process.poll() is None:
        try:
            fields = dict(line.split(":", 1) for line in open(f"/proc/{process.pid}/status"))
            now = {"allocated": int(fields["RssAnon"].split()[0]) << 10, "with_mapped": int(fields["VmHWM"].split()[0]) << 10}
            peaks = {k: max(v, now[k]) for k, v in peaks.items()}
        except (FileNotFoundError, KeyError, ProcessLookupError):
            pass
        time.sleep(0.002)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with status {process.returncode}")
    return process.stdout.read(), {"seconds": time.perf_counter() - begin, **peaks}


def ids(model, texts, tokens):
    """Rows of token ids; the start token comes on top. As many tokens as the model knows positions, at most."""
    config = json.loads((Path(model) / "config.json").read_text())
    tokens = min(tokens, config.get("max_position_embeddings", config.get("n_positions", tokens)))
    return np.array([[(i * 7919 + 13 + t) % min(30_000, config["vocab_size"]) for i in range(tokens - 1)] for t in range(texts)], dtype=np.uint32)


def ours(args, model, memory, rows, *options):
    """A run of ours, its peaks, and what inspect says of it."""
    shared = ["--memory", memory, "--threads", args.threads, *options]
    said = json.loads(subprocess.run([str(c) for c in [args.program, "inspect", model, "--length", rows.shape[1], *shared, "--json"]], check=True, capture_output=True, text=True).stdout)["memory"]
    with tempfile.TemporaryDirectory() as folder:
        texts, out = Path(folder) / "texts.npy", Path(folder) / "scores.jsonl"
        np.save(texts, rows)
        _, peaks = watch([args.program, "score", "-m", model, texts, "--start", "1", "--out", out, "--quiet", *shared])
        sums = [json.loads(line)["sum"] for line in out.read_text().splitlines()]
    return {"memory": memory, "inspect": said, "peak": peaks, "stated_by_peak": {k: said[k] / peaks[k] for k in ("allocated", "with_mapped")},
            "tokens_per_second": rows.size / peaks["seconds"], "sums": sums}


def theirs(args, model, rows, way):
    """A process that does the task by PyTorch + transformers."""
    program = f"""
import json, torch, transformers
torch.set_num_threads({args.threads}); torch.set_grad_enabled(False)
model = transformers.AutoModelForCausalLM.from_pretrained({str(model)!r}, dtype=torch.float32).eval()
def log_probs(logits, targets):
    return (logits.gather(1, targets[:, None])[:, 0] - torch.logsumexp(logits, 1)).double().sum().item()
sums = []
for row in {rows.tolist()}:
    ids = torch.tensor([[1] + row])
    if {way == "whole"}:
        sums.append(log_probs(model(ids, use_cache=False).logits[0, :-1], ids[0, 1:]))
    else:
        hidden, head = model.base_model(ids, use_cache=False)[0][0, :-1], model.get_output_embeddings()
        sums.append(sum(log_probs(head(hidden[i:i + 128]), ids[0, i + 1:i + 129][:len(hidden) - i]) for i in range(0, len(hidden), 128)))
print(json.dumps([sums, torch.__version__, transformers.__version__]))
"""
    out, peaks = watch([sys.executable, "-c", program])
    sums, torch, transformers = json.loads(out)
    return {"logits": way, "torch": torch, "transformers": transformers, "texts": len(rows), "peak": peaks, "sums": sums}


def compare(args, model, memories):
    rows = ids(model, args.texts, TOKENS)
    result = {"model": Path(model).name, "texts": rows.shape[0], "tokens": rows.shape[1] + 1, "ours": [ours(args, model, m, rows) for m in memories.split(",")]}
    if args.peer_texts:
        result["transformers"] = [theirs(args, model, rows[:args.peer_texts], way) for way in ("whole", "in_slices")]
        for run in result["ours"]:
            run["by_transformers"] = {t["logits"]: {k: run["peak"][k] / t["peak"][k] for k in ("allocated", "with_mapped")} for t in result["transformers"]}
    return result


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--program", required=True)
    p.add_argument("--model", required=True, action="append", help="a folder, with bounds to try: DIR:1G,400M")
    p.add_argument("--texts", type=int, default=8)
    p.add_argument("--peer-texts", type=int, default=0, help="texts for PyTorch")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--sparse")
    p.add_argument("--sparse-memory", default="4G")
    p.add_argument("--sparse-tokens", type=int, default=256)
    p.add_argument("--out")
    args = p.parse_args()
    result = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "threads": args.threads, "models": []}
    for model in args.model:
        folder, _, memories = model.partition(":")
        result["models"].append(compare(args, folder, memories or "1G"))
    if args.sparse:
        free = next(int(line.split()[1]) << 10 for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
        weights = (Path(args.sparse) / "model.safetensors").stat().st_size
        run = ours(args, args.sparse, args.sparse_memory, ids(args.sparse, 1, args.sparse_tokens), "--wave-rows", args.sparse_tokens)
        result["sparse"] = {"weight_bytes": weights, "free_bytes": free, "tokens": args.sparse_tokens} | run
    shown = json.dumps(result, indent=1)
    if args.out:
        Path(args.out).write_text(shown + "\n")
    print(shown)


if __name__ == "__main__":
    main()
