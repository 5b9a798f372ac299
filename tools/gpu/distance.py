#!/usr/bin/env python3
"""How far two scorings of the same documents are apart, token by token, in nats.

    python tools/gpu/distance.py A.jsonl B.jsonl PRECISION

Both are written by `hilberg score --per-token`; A in float32. Fails past what docs/kernels.md states for the precision: of float32 twice 1e-4, since both sides are off.
"""

import json
import math
import sys

STATED = {"f32": (2e-4, 2e-4), "bf16": (0.1, 0.5), "f16": (0.0125, 0.0625)}


def main():
    a, b, precision = sys.argv[1:]
    errors = []
    with open(a) as one, open(b) as other:
        for left, right in zip(map(json.loads, one), map(json.loads, other), strict=True):
            if left["id"] != right["id"]:
                sys.exit(f"{left['id']} beside {right['id']}")
            # A text's first token may have no number.
            errors += [x - y for x, y in zip(left["logprobs"], right["logprobs"], strict=True) if x is not None and y is not None]
    mean, worst = math.sqrt(sum(e * e for e in errors) / len(errors)), max(map(abs, errors))
    print(json.dumps({"tokens": len(errors), "root_mean_square": mean, "worst": worst}))
    if not (mean <= STATED[precision][0] and worst <= STATED[precision][1]):
        sys.exit(f"further apart than {STATED[precision]} nats")


main()
