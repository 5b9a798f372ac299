#!/usr/bin/env python3
"""Writes model.safetensors from the pytorch_model.bin (or its shards) of a model folder.

    python tools/convert_bin.py FOLDER

Only tensors are read (torch.load with weights_only=True: nothing in the file is executed). Where several names share one piece of memory, as tied heads
do, each name gets a copy: which of them a model needs is not this program's to guess, and equal duplicates are accepted.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


def bin_files(folder):
    index = folder / "pytorch_model.bin.index.json"
    if index.is_file():
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        if any(Path(n).name != n for n in names):
            sys.exit(f"{index}: names a file outside the folder")
        return [folder / n for n in names]
    return [folder / "pytorch_model.bin"]


def tensors_of(file):
    state = torch.load(file, map_location="cpu", weights_only=True)
    while isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    strange = [k for k, v in state.items() if not isinstance(v, torch.Tensor)]
    if strange:
        sys.exit(f"{file}: `{strange[0]}` is no tensor")
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    target = folder / "model.safetensors"
    if target.exists():
        sys.exit(f"{target}: is there already")
    kept = {}
    for file in bin_files(folder):
        if not file.is_file():
            sys.exit(f"{file}: is missing")
        for name, tensor in tensors_of(file).items():
            if name in kept:
                sys.exit(f"{file}: holds `{name}`, which another file holds too")
            # A copy of its own: safetensors holds neither views nor shared memory.
            kept[name] = tensor.detach().clone(memory_format=torch.contiguous_format)
    partial = target.with_suffix(".safetensors.partial")
    save_file(kept, partial, metadata={"format": "pt"})
    os.replace(partial, target)
    print(f"wrote {target}: {len(kept)} tensors")


if __name__ == "__main__":
    main()
