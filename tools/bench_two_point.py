#!/usr/bin/env python3
"""`hilberg two-point` against tools/two_point_counter.py: the same tokens, the same estimates, time and memory in turns on one machine.

    python tools/bench_two_point.py --program target/release/hilberg --texts 'books/*.txt' --tokenizer gpt2/tokenizer.json --out FILE.json

Texts become .npy files of token ids first, one each, so that neither side tokenises. Of every run the wall time, the processor's time and the kernel's mark of the largest memory
(VmHWM, program and libraries included) are kept. Ours also gives the errors by 20 folds that the script has not; shuffled pairs, which it has not either, are timed apart. Plug-in and Grassberger values of both must agree to 1e-9
nats. --large N makes N documents of 100,000 tokens of these texts and counts them with much memory and with --large-memory, whose results must be the same bytes.
Needs numpy, scipy and tokenizers.
"""
import argparse
import datetime
import glob
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, sleep

import numpy as np

HERE = Path(__file__).resolve().parent


def watch(command):
    """Runs a command; its standard output, and what it took."""
    with tempfile.TemporaryFile() as out:
        began = perf_counter()
        child = subprocess.Popen([str(c) for c in command], stdout=out, stderr=subprocess.DEVNULL)
        peak, ended = 0, 0
        while not ended:
            # Not ru_maxrss, which begins at what this process has.
            with open(f"/proc/{child.pid}/status") as told:
                peak = max([peak] + [int(line.split()[1]) << 10 for line in told if line.startswith("VmHWM:")])
            sleep(0.005)
            ended, status, usage = os.wait4(child.pid, os.WNOHANG)
        seconds = perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(f"{' '.join(map(str, command))} ended with status {child.returncode}")
        out.seek(0)
        text = out.read().decode()
    return text, {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_bytes": peak}


def machine():
    with open("/proc/cpuinfo") as info:
        cpu = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown")
    return {"cpu": cpu, "cores": os.cpu_count(), "load_average": os.getloadavg()}


def middle(runs, what):
    return float(np.median([r[what] for r in runs]))


def compare(args, files):
    """Both programs in turns; the counter's values against ours."""
    script = [sys.executable, HERE / "two_point_counter.py", "--distances", args.distances, *files]
    ours = [args.program, "two-point", "--quiet", "--json", "--distances", args.distances, *files]
    kinds = {"script": script, "ours": [*ours, "--no-baseline", "--memory", args.memory], "ours_with_shuffled_pairs": [*ours, "--memory", args.memory]}
    runs, said = {kind: [] for kind in kinds}, {}
    for _ in range(args.turns):
        for kind, command in kinds.items():
            text, took = watch(command)
            runs[kind].append(took)
            said[kind] = json.loads(text)
    worst = 0.0
    points = {p["distance"]: p for p in said["ours"]["points"]}
    for theirs in said["script"]:
        point = points[theirs["distance"]]
        assert (point["pairs"], point["distinct"]) == (theirs["pairs"], theirs["distinct"]), theirs
        values = {v["estimator"]: v["nats"] for v in point["values"]}
        worst = max(worst, *(abs(values[e] - theirs[e]) for e in ("plug-in", "grassberger")))
    assert worst < 1e-9, worst
    ratios = {f"{what}_script_by_{kind}": middle(runs["script"], what) / middle(runs[kind], what) for kind in list(kinds)[1:] for what in ("seconds", "cpu_seconds", "peak_bytes")}
    return {"tokens": said["ours"]["tokens"], "distinct_tokens": said["ours"]["distinct_tokens"], "distances": sorted(points), "memory": args.memory,
            "largest_difference_nats": worst, "runs": runs, "ratios": ratios}


def large(args, files, folder):
    """A corpus of many times the memory: the texts' tokens again and again, each time from another place on, in documents of 100,000."""
    path = folder / "large.npy"
    tokens = np.concatenate([np.load(f) for f in files]).astype(np.uint32)
    times = -(-args.large * 100_000 // len(tokens))
    np.save(path, np.concatenate([np.roll(tokens, 7919 * i) for i in range(times)])[: args.large * 100_000].reshape(args.large, 100_000))
    del tokens
    found = {}
    for memory in (args.large_memory, "8G"):
        text, took = watch([args.program, "two-point", "--quiet", "--json", "--no-baseline", "--distances", args.distances, "--memory", memory, path])
        found[memory] = (text, took)
    texts = [text for text, _ in found.values()]
    assert texts[0] == texts[1], "the results differ"
    return {"corpus_bytes": path.stat().st_size, "tokens": args.large * 100_000, "same_bytes": True, "runs": {memory: took for memory, (_, took) in found.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--program", required=True)
    parser.add_argument("--texts", required=True, help="pattern of .txt files, or of .npy files that an earlier run could have made of them")
    parser.add_argument("--tokenizer")
    parser.add_argument("--memory", default="64M")
    parser.add_argument("--distances", default=",".join(str(1 << k) for k in range(14)))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--large-memory", default="40M")
    parser.add_argument("--commit", help="what the program was built from, where it is not the commit that is checked out")
    parser.add_argument("--out")
    args = parser.parse_args()
    commit = args.commit or subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    result = {"date": datetime.date.today().isoformat(), "machine": machine(), "commit": commit}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        files, tokenizer = [], None
        if args.tokenizer:
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(args.tokenizer)
        for i, path in enumerate(sorted(glob.glob(args.texts))):
            if path.endswith(".npy"):
                files.append(Path(path))
                continue
            ids = tokenizer.encode(Path(path).read_text(encoding="utf-8-sig"), add_special_tokens=False).ids
            files.append(folder / f"{i:04}.npy")
            np.save(files[-1], np.array(ids, dtype=np.uint16 if max(ids) < 1 << 16 else np.uint32))
        del tokenizer
        if args.turns:
            result["novels"] = {"files": len(files)} | compare(args, files)
        if args.large:
            result["large"] = large(args, files, folder)
    text = json.dumps(result, indent=1)
    if args.out:
        Path(args.out).write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
