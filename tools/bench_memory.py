#!/usr/bin/env python3
"""Peak memory of `hilberg score` against what `hilberg inspect` says, against PyTorch on the same task, and for a model larger than the memory.

    python tools/bench_memory.py --program target/release/hilberg --model DIR [--memory 2G,400M] [--texts 8] [--sparse DIR --sparse-memory 4G] [--out FILE.json]

The task: all log-probabilities of 8 texts of 1,024 tokens. Of every process the largest RssAnon (what it allocated) and RssAnon + RssFile (with mapped weights)
are sampled every 5 ms, and VmHWM is the kernel's own peak. For every --memory ours is held against the sum of weights and workspace that `inspect --memory` says.
PyTorch + transformers does the texts one after another in float32, weights mapped as it likes. --sparse is a folder of tools/make_sparse_model.py: one short text
is scored under --sparse-memory. Needs torch, transformers and numpy for PyTorch's part.
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
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    peaks = {"anonymous": 0, "anonymous_and_mapped": 0, "high_water": 0}
    while process.poll() is None:
        try:
            fields = dict(line.split(":", 1) for line in open(f"/proc/{process.pid}/status"))
            of = lambda name: int(fields[name].split()[0]) << 10
            now = {"anonymous": of("RssAnon"), "anonymous_and_mapped": of("RssAnon") + of("RssFile"), "high_water": of("VmHWM")}
            peaks = {k: max(v, now[k]) for k, v in peaks.items()}
        except (FileNotFoundError, KeyError, ProcessLookupError):
            pass
        time.sleep(0.005)
    if process.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with status {process.returncode}")
    return process.stdout.read(), {"seconds": time.perf_counter() - begin, **peaks}


def ours(args, model, memory, texts, tokens):
    shared = ["--memory", memory, "--threads", args.threads, "--precision", args.precision]
    said = json.loads(subprocess.run([str(c) for c in [args.program, "inspect", model, *shared, "--json"]], check=True, capture_output=True, text=True).stdout)["memory"]
    with tempfile.TemporaryDirectory() as folder:
        ids, out = Path(folder) / "texts.npy", Path(folder) / "scores.jsonl"
        # The start token comes on top.
        np.save(ids, np.array([[(i * 7919 + 13 + t) % 30_000 for i in range(tokens - 1)] for t in range(texts)], dtype=np.uint32))
        _, peaks = watch([args.program, "score", "-m", model, ids, "--start", "1", "--out", out, "--quiet", *shared])
        mean = sum(json.loads(line)["sum"] for line in out.read_text().splitlines()) / (texts * (tokens - 1))
    stated = said["weights"] + said["workspace"]
    return {"memory": memory, "streamed": said["streamed"], "stated_bytes": stated, "stated_by_peak": stated / peaks["anonymous"], "nats_per_token": -mean, **peaks}


def theirs(model, texts, threads):
    """A process that does the task by PyTorch + transformers."""
    program = f"""
import torch, transformers
torch.set_num_threads({threads}); torch.set_grad_enabled(False)
model = transformers.AutoModelForCausalLM.from_pretrained({str(model)!r}, dtype=torch.float32).eval()
for t in range({texts}):
    ids = torch.tensor([[1] + [(i * 7919 + 13 + t) % 30_000 for i in range({TOKENS - 1})]])
    logits = model(ids, use_cache=False).logits[0, :-1]
    print((logits.gather(1, ids[0, 1:, None])[:, 0] - torch.logsumexp(logits, 1)).double().sum().item())
"""
    out, peaks = watch([sys.executable, "-c", program])
    return {"nats_per_token": -sum(map(float, out.split())) / (texts * (TOKENS - 1)), **peaks}


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--program", required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--memory", default="2G,400M")
    p.add_argument("--texts", type=int, default=8)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    p.add_argument("--sparse")
    p.add_argument("--sparse-memory", default="4G")
    p.add_argument("--sparse-tokens", type=int, default=64)
    p.add_argument("--out")
    args = p.parse_args()
    runs = [ours(args, args.model, m, args.texts, TOKENS) for m in args.memory.split(",")]
    peer = theirs(args.model, args.texts, args.threads)
    result = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "model": Path(args.model).name, "texts": args.texts, "tokens": TOKENS, "precision": args.precision,
              "ours": runs, "transformers": peer,
              "ours_by_transformers": [{k: r[k] / peer[k] for k in ("anonymous", "anonymous_and_mapped", "high_water")} | {"memory": r["memory"]} for r in runs]}
    if args.sparse:
        free = next(int(line.split()[1]) << 10 for line in open("/proc/meminfo") if line.startswith("MemAvailable"))
        weights = (Path(args.sparse) / "model.safetensors").stat().st_size
        result["sparse"] = {"weight_bytes": weights, "free_bytes": free, "tokens": args.sparse_tokens} | ours(args, args.sparse, args.sparse_memory, 1, args.sparse_tokens)
    shown = json.dumps(result, indent=1)
    if args.out:
        Path(args.out).write_text(shown + "\n")
    print(shown)


if __name__ == "__main__":
    main()
