#!/usr/bin/env python3
"""Standard errors of matched against published pairing, from one record: a Markdown table.

usage: hilberg estimate DIR --json > matched.json
       hilberg estimate DIR --as-published --json > published.json
       variance.py matched.json published.json

For every model, ratio and split: the standard error of both and how many times the published one is larger. Standard library only.
"""
import json
import sys


def points(path: str) -> tuple[str, dict]:
    """The pairing that a result says, and (model, ratio, estimator, split) -> standard error."""
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    found = {}
    for model in report["models"]:
        for p in model["analysis"]["points"]:
            found[model["name"], p["ratio"], p["estimator"], p["split"]] = p["se"]
    return report["design"]["pairing"], found


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    (pairing, matched), (other, published) = points(sys.argv[1]), points(sys.argv[2])
    if (pairing, other) != ("matched", "published"):
        sys.exit(f"expected a matched and a published result, found {pairing} and {other}")
    names = sorted({k[2] for k in matched if k in published})
    for model, ratio in sorted({k[:2] for k in matched}):
        print(f"{model}, r = {ratio}: standard errors in nats\n")
        print("| ℓ |" + "".join(f" {n} matched | {n} published | ratio |" for n in names))
        print("|--:|" + "--:|--:|--:|" * len(names))
        for split in sorted({k[3] for k in matched if k[:2] == (model, ratio)}):
            cells = []
            for name in names:
                key = (model, ratio, name, split)
                a, b = matched.get(key), published.get(key)
                cells += [f"{a:.2f}", f"{b:.2f}", f"{b / a:.1f}"] if a and b else ["", "", ""]
            print(f"| {split} | " + " | ".join(cells) + " |")
        print()


if __name__ == "__main__":
    main()
