#!/usr/bin/env python3
"""Cuts one passage out of the middle of each novel: the texts in assets/texts.

usage: make_excerpts.py NOVELS OUT --works LIST [--bytes 90000]

NOVELS is a folder of plain texts, one novel a file, whose first line is the title and whose second is the author; LIST names those to cut, a file name without
.txt first on each line (assets/held-out.tsv). A passage is unbroken, so that no chunk runs over a seam, and starts and ends with a paragraph; one passage a
novel, since two passages of one novel would not be two independent documents. It is named by its title: OUT/pride-and-prejudice.txt.

All texts get one layout, that of most of the collection's files: a paragraph is one line that ends with a space, with an empty line between two; straight
quotation marks; no underscores for italics. Where some files do one thing and others another, a model takes the layout of a foreign text for information.
The same input gives the same bytes. Standard library only.
"""
import argparse
import pathlib
import re
import sys

TYPE = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "_": None})


def paragraphs(file: pathlib.Path) -> list[str]:
    """The novel's paragraphs, without title and author, each one line that ends with a space."""
    text = file.read_text(encoding="utf-8-sig").translate(TYPE)
    body = "\n".join(text.splitlines()[2:]).strip()
    return [" ".join(p.split()) + " " for p in re.split(r"\n[ \t]*\n\s*", body)]


def join(paragraphs: list[str]) -> str:
    return "\n\n".join(paragraphs) + "\n"


def passage(paragraphs: list[str], size: int) -> str:
    """The longest run of whole paragraphs within the middle `size` bytes."""
    lengths = [len(p.encode()) + 2 for p in paragraphs]
    start = max(0, (sum(lengths) - size) // 2)
    at, kept = 0, []
    for paragraph, length in zip(paragraphs, lengths):
        if start <= at and at + length <= start + size:
            kept.append(paragraph)
        at += length
    if not kept:
        raise ValueError("has no whole paragraph in its middle")
    return join(kept)


def names(works: pathlib.Path) -> list[str]:
    """The file names, without .txt, that a list names."""
    return [line.split("\t")[0] for line in works.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("novels", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--works", type=pathlib.Path, required=True, help="the novels to cut")
    parser.add_argument("--bytes", type=int, default=90_000, help="size of a passage, at most")
    args = parser.parse_args()
    files = [args.novels / f"{name}.txt" for name in names(args.works)]
    missing = [f.name for f in files if not f.exists()]
    if missing or not files:
        sys.exit(f"{args.novels}: no {', '.join(missing) or 'novels'}")
    args.out.mkdir(parents=True, exist_ok=True)
    for file in files:
        title = file.read_text(encoding="utf-8-sig").splitlines()[0].strip("\ufeff ")
        try:
            cut = passage(paragraphs(file), args.bytes)
        except ValueError as error:
            sys.exit(f"{file}: {error}")
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") + ".txt"
        (args.out / name).write_text(cut, encoding="utf-8", newline="\n")
        print(f"{name}: {len(cut.encode())} bytes of {title}")


if __name__ == "__main__":
    main()
