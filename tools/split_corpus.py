#!/usr/bin/env python3
"""Makes documents of what comes as a genome, a proteome or a tree of sources, and holds a share of them out of training.

    python tools/split_corpus.py genome.fna.gz DNA --piece 20000            a document: 20,000 letters of a record
    python tools/split_corpus.py proteome.faa PROTEINS                      a document: a record
    python tools/split_corpus.py vendor CODE --ending .rs --longest 200000  a document: all such files of one folder of `vendor`, in the order of their paths

Writes OUT/train.jsonl and OUT/held-out.jsonl, a line a document: {"id": …, "text": …}, which `hilberg measure` and `train_demo.py prepare` read. Which documents
are held out follows from SHA-256 of their ids alone, without the version that a folder's name may end in: about --held-out of them. A genome is one record, but
errors are over documents: its pieces are taken for independent, though neighbours are not quite. Sequences are written in capitals, without the asterisk at a
protein's end. Of longer documents the middle --longest letters are kept, so that one large folder does not stand for all; shorter ones than --shortest, files
that are not UTF-8 and copies of a document that came before are left out. Standard library only.
"""
import argparse
import gzip
import hashlib
import json
import pathlib
import re
import sys


def fasta(path):
    """(id, sequence) of every record."""
    name, parts = None, []
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(">"):
                if name is not None:
                    yield name, "".join(parts)
                name, parts = line[1:].split()[0], []
            elif not line.startswith(";"):
                parts.append(line.strip().upper())
    if name is not None:
        yield name, "".join(parts)


def pieces(records, size):
    """The records, those longer than `size` letters in pieces of that many, named by where they lie, counted from 1."""
    for name, text in records:
        text = text.rstrip("*")
        if not size or len(text) <= size:
            yield name, text
            continue
        for at in range(0, len(text), size):
            part = text[at:at + size]
            yield f"{name}:{at + 1}-{at + len(part)}", part


def sources(root, ending):
    """(folder, text) of the folders of `root`: the files with this ending, one after the other."""
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        parts = []
        for file in sorted(folder.rglob(f"*{ending}")):
            try:
                parts.append(file.read_bytes().decode("utf-8"))
            except UnicodeDecodeError:
                print(f"{file}: is not UTF-8; left out", file=sys.stderr)
        if parts:
            yield folder.name, "\n".join(parts)


def middle(text, longest):
    start = max(0, (len(text) - longest) // 2) if longest else 0
    return text[start:start + longest] if longest else text


def held_out(name, share):
    """By a draw that all versions of a package share: they are nearly the same text."""
    name = re.sub(r"-[0-9]+\.[0-9].*$", "", name)
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") < share * 2**64


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", type=pathlib.Path, help="a FASTA file (.gz or not), or a folder of folders")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--piece", type=int, default=0, metavar="LETTERS", help="cut longer records of a FASTA file into pieces of so many")
    parser.add_argument("--shortest", type=int, default=64, metavar="LETTERS", help="leave shorter documents out (default: 64)")
    parser.add_argument("--longest", type=int, default=0, metavar="LETTERS", help="keep so many from the middle of longer documents (default: all)")
    parser.add_argument("--ending", default=".rs", help="of the files that are read in folders (default: .rs)")
    parser.add_argument("--held-out", type=float, default=0.2, metavar="SHARE", help="of the documents (default: 0.2)")
    args = parser.parse_args()
    documents = sources(args.input, args.ending) if args.input.is_dir() else pieces(fasta(args.input), args.piece)
    rows, seen = {"train": [], "held-out": []}, set()
    for name, text in documents:
        digest = hashlib.sha256(text.encode()).digest()
        if len(text) >= args.shortest and digest not in seen:
            seen.add(digest)
            rows["held-out" if held_out(name, args.held_out) else "train"].append((name, middle(text, args.longest)))
    args.out.mkdir(parents=True, exist_ok=True)
    for part, documents in rows.items():
        if not documents:
            sys.exit(f"{args.input}: nothing for {part}.jsonl; more documents are needed, such as by --piece")
        lines = "".join(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n" for name, text in documents)
        (args.out / f"{part}.jsonl").write_text(lines, encoding="utf-8", newline="\n")
        print(f"{args.out}/{part}.jsonl: {len(documents)} documents, {sum(len(t.encode()) for _, t in documents)} bytes")


if __name__ == "__main__":
    main()
