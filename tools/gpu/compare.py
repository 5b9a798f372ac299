#!/usr/bin/env python3
"""What PyTorch + transformers make of the models that `cargo bench --bench gpu` wrote, on the same GPU, and what the chip can do.

    python tools/gpu/compare.py --models DIR [--out FILE.json] [--only NAME] [--texts 32] [--rounds 3]

Texts of 2,048 tokens, all log-probabilities: forward pass in bfloat16 (attention by SDPA), then for each row of hidden states matmul with the unembedding, log_softmax in
float32 and gather, in pieces of 2,048 rows, which is the least memory that this takes without a kernel of its own. `eager`, and `compiled` by torch.compile. Ceilings: a copy on the
device (bytes read and written) and a product of bfloat16 of 8,192 × 8,192 × 8,192, each the median of rounds. The ids are those of the bench, and sums are told, so that both can be
held against each other. Needs torch and transformers.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
import transformers

TOKENS = 2048


def seconds(work, rounds):
    work()
    taken = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        work()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - begin)
    return taken


def ceilings(rounds):
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    product = statistics.median(seconds(lambda: [a @ b for _ in range(10)], rounds)) / 10
    x = torch.empty(1 << 30, device="cuda", dtype=torch.float32)
    y = torch.empty_like(x)
    copy = statistics.median(seconds(lambda: y.copy_(x), rounds))
    return {"bf16_product_flops": 2 * 8192**3 / product, "copy_bytes": 2 * x.numel() * 4 / copy}


def score(body, head, ids, batch):
    total = 0.0
    for some in ids.split(batch):
        hidden = body(some, use_cache=False).last_hidden_state[:, :-1].flatten(0, 1)
        targets = some[:, 1:].flatten()
        for rows, wanted in zip(hidden.split(2048), targets.split(2048)):
            logs = torch.log_softmax((rows @ head.T).float(), dim=-1)
            total += logs.gather(1, wanted[:, None]).double().sum().item()
    return total


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    args = parser.parse_args()
    result = {"versions": f"torch {torch.__version__}, transformers {transformers.__version__}", "ceilings": ceilings(args.rounds), "models": []}
    i, t = torch.arange(TOKENS), torch.arange(args.texts)
    ids = ((i[None] * 7919 + t[:, None] * 104_729 + 13) % 50_000).cuda()
    for folder in sorted(args.models.iterdir()):
        if not (folder / "config.json").exists() or (args.only and folder.name != args.only):
            continue
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map="cuda").eval()
        body, head = model.base_model, model.get_output_embeddings().weight
        for how in ["eager", "compiled"]:
            try:
                run = body if how == "eager" else torch.compile(body)
                sums = []
                taken = seconds(lambda: sums.append(score(run, head, ids, args.batch)), args.rounds)
            except Exception as e:  # What one way cannot do says nothing of the other.
                result["models"].append({"model": folder.name, "how": how, "error": str(e).splitlines()[0][:200], "tokens_per_second": 0.0})
                continue
            rate = args.texts * TOKENS / statistics.median(taken)
            result["models"].append({"model": folder.name, "how": how, "sum": sums[-1], "seconds": taken, "tokens_per_second": rate})
            print(json.dumps(result["models"][-1]), flush=True)
        del model, body, head
        torch.cuda.empty_cache()
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["ceilings"]))


main()
