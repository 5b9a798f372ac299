"""Writes a synthetic corpus of any size as JSON lines: word-like text in documents of varied length, seeded and streamed.

    python3 tools/make_corpus.py 4e9 corpus.jsonl
    python3 tools/make_corpus.py 40e6 small.jsonl --mean 6000 --seed 1

Words are drawn by Zipf's law from a vocabulary of syllables; lengths of documents are log-normal (--mean bytes, --spread the standard deviation of the
logarithm). Only the standard library is needed; the same arguments give the same bytes.
"""

import argparse
import json
import math
import random

SYLLABLES = [c + v + e for c in "b c d f g h l m n p r s t v w st th".split() for v in "a e i o u ea".split() for e in ["", "n", "r", "s", "d"]]
WORDS = 20000
PARAGRAPHS = 20000


def paragraphs(rng):
    """A stock of paragraphs as JSON writes them: drawing whole ones is what makes a gigabyte a matter of seconds."""
    words = ["".join(rng.choice(SYLLABLES) for _ in range(1 + min(3, int(rng.expovariate(0.9))))) for _ in range(WORDS)]
    cumulative, total = [], 0.0
    for rank in range(WORDS):
        total += 1.0 / (rank + 2.7)
        cumulative.append(total)
    stock = []
    for _ in range(PARAGRAPHS):
        sentences = [" ".join(rng.choices(words, cum_weights=cumulative, k=rng.randint(4, 24))).capitalize() for _ in range(rng.randint(1, 8))]
        stock.append(json.dumps("".join(sentence + rng.choice([". ", ". ", "? "]) for sentence in sentences) + "\n")[1:-1])
    return stock


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bytes", type=float, help="size of the file")
    parser.add_argument("out")
    parser.add_argument("--mean", type=float, default=6000.0, help="mean bytes of a document")
    parser.add_argument("--spread", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    stock = paragraphs(rng)
    average = sum(map(len, stock)) / len(stock)
    center = math.log(args.mean / average) - args.spread**2 / 2
    written = 0
    with open(args.out, "w", encoding="utf-8", newline="\n") as out:
        number = 0
        while written < args.bytes:
            text = "".join(rng.choices(stock, k=max(1, round(rng.lognormvariate(center, args.spread)))))
            line = f'{{"id": "doc-{number}", "text": "{text}"}}\n'
            out.write(line)
            written += len(line)
            number += 1
    print(f"{number} documents, {written} bytes")


if __name__ == "__main__":
    main()
