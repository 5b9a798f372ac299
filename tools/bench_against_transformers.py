"""Tokens per second of this program's CPU engine and of PyTorch + transformers, interleaved round by round in one run.

usage: bench_against_transformers.py BENCH_BINARY MODELS_DIR [--rounds 7] [--threads 2] [--out FILE.json]

BENCH_BINARY is what `cargo bench --bench engine --no-run` names; MODELS_DIR is where `--models` keeps its two folders (made by
the first round). Both score one text of 1,024 tokens in float32 with all log-probabilities: the engine its fused head,
transformers its logits, gather and logsumexp. The ratio's interval is Student's over the rounds' logarithms.
Needs the packages of requirements.txt.
"""
import argparse, json, math, os, statistics, subprocess, sys, time

a = argparse.ArgumentParser()
a.add_argument("bench"); a.add_argument("models")
a.add_argument("--rounds", type=int, default=7); a.add_argument("--threads", type=int, default=2); a.add_argument("--out")
a = a.parse_args()
os.environ["OMP_NUM_THREADS"] = str(a.threads)
import torch, transformers
from transformers import AutoModelForCausalLM

torch.set_num_threads(a.threads); torch.set_grad_enabled(False); transformers.logging.set_verbosity_error()
T975 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262, 11: 2.228}
ids = torch.tensor([[(i * 7919 + 13) % 50_000 for i in range(1024)]])


def ours(name):
    cmd = [a.bench, "--models", a.models, "--only", name, "--rounds", "1", "--threads", str(a.threads)]
    return json.loads(subprocess.run(cmd, check=True, capture_output=True, text=True).stdout.strip().splitlines()[-1])


def theirs(model):
    begin = time.perf_counter()
    logits = model(ids, use_cache=False).logits[0, :-1]
    total = (logits.gather(1, ids[0, 1:, None])[:, 0] - torch.logsumexp(logits, 1)).sum().item()
    return total, 1024 / (time.perf_counter() - begin)


results = {"date": time.strftime("%Y-%m-%d"), "torch": torch.__version__, "transformers": transformers.__version__, "threads": a.threads,
           "cpu": next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), ""), "models": []}
for name in ("llama-12x768", "mamba-130m"):
    first = ours(name)
    model = AutoModelForCausalLM.from_pretrained(os.path.join(a.models, name), dtype=torch.float32).eval()
    theirs(model)
    rounds = []
    for _ in range(a.rounds):
        o = ours(name); total, speed = theirs(model)
        rounds.append({"ours": o["tokens_per_second"], "transformers": speed, "fma_peak_gflops": o["fma_peak_gflops"], "product_gflops": o["product_gflops"],
                       "share_of_fma_peak": o["share_of_fma_peak"], "share_of_product": o["share_of_product"]})
    logs = [math.log(r["ours"] / r["transformers"]) for r in rounds]
    mean, n = statistics.mean(logs), len(logs)
    half = T975.get(n, 1.96) * statistics.stdev(logs) / math.sqrt(n) if n > 1 else float("nan")
    med = lambda k: statistics.median(r[k] for r in rounds)
    results["models"].append({"model": name, "backend": first["backend"], "sum_ours": first["sum"], "sum_transformers": total, "ours": med("ours"), "transformers": med("transformers"),
                              "ratio": math.exp(mean), "ratio_interval": [math.exp(mean - half), math.exp(mean + half)],
                              "share_of_fma_peak": med("share_of_fma_peak"), "share_of_product": med("share_of_product"), "rounds": rounds})
    del model
text = json.dumps(results, indent=1)
if a.out:
    open(a.out, "w").write(text + "\n")
print(text)
