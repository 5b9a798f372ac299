#!/usr/bin/env python3
"""Cuts one passage out of the middle of each novel: the texts in assets/texts.

usage: make_excerpts.py NOVELS OUT [--bytes 170000] [--only NAME ...]

NOVELS is a folder of plain texts, one novel a file, whose first line is the title and whose second is the author. A passage
is unbroken, so that no chunk runs over a seam, and starts and ends with a paragraph; one passage a novel, since two passages of
one novel would not be two independent documents. A paragraph becomes one line that ends with a space, with an empty line between
two, which is how most of the collection's files are laid out: where some files break lines and others do not, a model takes the
layout of a foreign text for information. A passage is named by its title: OUT/pride-and-prejudice.txt. The same input gives the
same bytes. Standard library only.
"""
import argparse
import pathlib
import re
import sys


def passage(text: str, size: int) -> str:
    """The paragraphs that lie whole within the middle `size` characters, one a line."""
    start = max(0, (len(text) - size) // 2)
    breaks = [m.end() for m in re.finditer(r"\n[ \t]*\n\s*", text)]
    within = [b for b in breaks if start <= b <= start + size]
    if len(within) < 2:
        raise ValueError("has no two paragraph breaks in its middle")
    paragraphs = re.split(r"\n[ \t]*\n\s*", text[within[0] : within[-1]].strip())
    return "\n\n".join(" ".join(p.split()) + " " for p in paragraphs) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("novels", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--bytes", type=int, default=170_000, help="size of a passage, at most")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="file names without .txt [default: all]")
    args = parser.parse_args()
    files = sorted(f for f in args.novels.glob("*.txt") if args.only is None or f.stem in args.only)
    missing = set(args.only or []) - {f.stem for f in files}
    if missing or not files:
        sys.exit(f"{args.novels}: no {', '.join(sorted(missing)) or 'novels'}")
    args.out.mkdir(parents=True, exist_ok=True)
    for file in files:
        text = file.read_text(encoding="utf-8-sig")
        title = text.splitlines()[0].strip()
        try:
            cut = passage(text, args.bytes)
        except ValueError as error:
            sys.exit(f"{file}: {error}")
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") + ".txt"
        (args.out / name).write_text(cut, encoding="utf-8", newline="\n")
        print(f"{name}: {len(cut.encode())} bytes of {title}")


if __name__ == "__main__":
    main()
