"""Two-point mutual information of tokens at a distance, by plain counters: what `hilberg two-point` is timed against.

Written as such scripts usually are: all tokens of a document as a list, one `collections.Counter` of pairs a distance, plug-in and Grassberger entropies
of it, no errors. Documents are .npy files of token ids (one dimension), or any other files, whose bytes are counted. Prints JSON: a list of
{"distance", "pairs", "distinct", "plug-in", "grassberger"} in nats.

    python tools/two_point_counter.py tokens/*.npy --distances 1,2,4 > counted.json
"""

import argparse
import json
import math
from collections import Counter

import numpy as np
from scipy.special import digamma


def tokens(path):
    """The ids of a document as a list."""
    return np.load(path).tolist() if path.endswith(".npy") else list(open(path, "rb").read())


def plug_in(counter):
    total = sum(counter.values())
    return math.log(total) - sum(n * math.log(n) for n in counter.values()) / total


def grassberger(counter):
    counts = np.array(list(counter.values()), dtype=float)
    sign = np.where(counts % 2 == 0, 0.5, -0.5)
    g = digamma(counts) + sign * (digamma((counts + 1) / 2) - digamma(counts / 2))
    return math.log(counts.sum()) - float((counts * g).sum() / counts.sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+")
    parser.add_argument("--distances", default=",".join(str(1 << k) for k in range(14)))
    args = parser.parse_args()
    documents = [tokens(path) for path in args.files]
    results = []
    for distance in map(int, args.distances.split(",")):
        first, second, pairs = Counter(), Counter(), Counter()
        for document in documents:
            first.update(document[:-distance])
            second.update(document[distance:])
            pairs.update(zip(document, document[distance:]))
        if pairs:
            estimates = {name: h(first) + h(second) - h(pairs) for name, h in [("plug-in", plug_in), ("grassberger", grassberger)]}
            results.append({"distance": distance, "pairs": sum(pairs.values()), "distinct": len(pairs)} | estimates)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
