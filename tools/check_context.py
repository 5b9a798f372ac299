#!/usr/bin/env python3
"""Holds what `hilberg context --kernel-entropy` computed against NumPy in float64, from the hidden states in its record.

    python tools/check_context.py OUT                          # every context length of the output folder OUT
    python tools/check_context.py OUT --fixture C FILE         # and writes the states at context length C with NumPy's numbers, for tests/context.rs
    python tools/check_context.py --laws                       # SciPy's fit of C0 + C c^-gamma to the published losses

Needs NumPy alone (SciPy for --laws). The covariance is numpy.cov of the states, its eigenvalues numpy.linalg.eigvalsh's, distances are those of float64
differences, and logarithms of sums numpy.logaddexp.reduce's. Prints the largest deviation of each quantity.
"""

import argparse
import json
from pathlib import Path

import numpy as np

TYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
PUBLISHED = {8: 3.9531, 12: 3.5390, 16: 3.28283, 24: 2.99618, 32: 2.83873, 48: 2.65246, 64: 2.53125, 128: 2.36169, 256: 2.21765, 512: 2.12716}


def load(path):
    """The tensors of a safetensors file."""
    data = path.read_bytes()
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    header.pop("__metadata__", None)
    start = 8 + n
    return {k: np.frombuffer(data[start + t["data_offsets"][0] : start + t["data_offsets"][1]], TYPES[t["dtype"]]).reshape(t["shape"]) for k, t in header.items()}


def save(path, tensors):
    """Writes tensors as a safetensors file."""
    names = {np.float32: "F32", np.float64: "F64", np.int64: "I64"}
    header, blobs, at = {}, [], 0
    for name, x in tensors.items():
        blob = np.ascontiguousarray(x).tobytes()
        header[name] = {"dtype": names[x.dtype.type], "shape": list(x.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def numbers(states, thresholds, leading, sigma=None):
    """Eigenvalues, dimensions, entropies, sigma and kernel entropy."""
    x = states.astype(np.float64)
    m, d = x.shape
    cov = np.cov(x, rowvar=False)
    eigenvalues = np.linalg.eigvalsh(cov)[::-1]
    ratio = eigenvalues / eigenvalues[0]
    dimensions = [int(np.sum(ratio > t)) for t in thresholds]
    with np.errstate(invalid="ignore"):
        entropies = [np.log(ratio[:n]).sum() for n in leading]
        unnormalised = [0.5 * np.log(eigenvalues[:n]).sum() for n in leading]
    if sigma is None:
        sigma = np.sqrt(np.trace(cov) / d) * (4 / ((d + 2) * m)) ** (1 / (d + 4))
    logs = []
    for i in range(m):
        exponents = -((x[i] - x) ** 2).sum(axis=1) / (2 * sigma**2)
        logs.append(np.logaddexp.reduce(np.delete(exponents, i)))
    kernel = d / 2 * np.log(2 * np.pi * sigma**2) + np.log(m - 1) - np.mean(logs)
    return eigenvalues, dimensions, entropies, unnormalised, sigma, kernel


def check(out, fixture):
    result = json.loads((out / "result.json").read_text())["analysis"]
    worst = {}

    def note(what, got, want, scale=1.0):
        worst[what] = max(worst.get(what, 0.0), abs(got - want) / scale)

    for point in result["points"]:
        c = point["context"]
        parts = [load(p) for p in sorted((out / "record").glob("*.safetensors"))]
        parts = [p for p in parts if f"states.{c}" in p]
        if not parts:
            raise SystemExit(f"{out} holds no states at context length {c}; measure with --kernel-entropy")
        states = np.concatenate([p[f"states.{c}"] for p in parts])
        thresholds, leading = [r["at"] for r in point["dimensions"]], [int(r["at"]) for r in point["entropies"]]
        given = result["options"]["sigma"]
        eigenvalues, dimensions, entropies, unnormalised, sigma, kernel = numbers(states, thresholds, leading, given)
        loss = -np.mean(np.concatenate([p[f"logprobs.{c}"] for p in parts]).astype(np.float64))
        note("loss (nats)", point["loss"]["value"], loss)
        for got, want in zip(point["eigenvalues"], eigenvalues, strict=True):
            note("eigenvalues (share of the largest)", got, want, eigenvalues[0])
        for got, want in zip(point["dimensions"], dimensions, strict=True):
            note("dimensions", got["value"], want)
        for got, want in zip(point["entropies"], entropies, strict=True):
            note("S (relative)", got["value"], want, abs(want))
        for got, want in zip(point["unnormalised"], unnormalised, strict=True):
            note("half sum of logarithms (nats)", got["value"], want)
        note("sigma (relative)", point["kernel"]["sigma"], sigma, sigma)
        note("kernel entropy (nats)", point["kernel"]["value"], kernel)
        if fixture and int(fixture[0]) == c:
            thresholds, leading = np.array(thresholds), np.array(leading, np.int64)
            save(Path(fixture[1]), {
                "states": states, "eigenvalues": np.ascontiguousarray(eigenvalues), "thresholds": thresholds, "dimensions": np.array(dimensions, np.int64),
                "leading": leading, "entropies": np.array(entropies), "unnormalised": np.array(unnormalised), "sigma": np.array([sigma]), "kernel": np.array([kernel]),
            })
        print(f"c = {c}: {states.shape[0]} states of {states.shape[1]} numbers")
    for what, x in worst.items():
        print(f"{what}: at most {x:.2e}")


def laws():
    from scipy.optimize import curve_fit

    c, ce = np.array(list(PUBLISHED), float), np.array(list(PUBLISHED.values()))
    values, _ = curve_fit(lambda c, c0, a, g: c0 + a * c**-g, c, ce, p0=[2.0, 5.0, 0.5], xtol=1e-14, ftol=1e-14, gtol=1e-14)
    left = ce - (values[0] + values[1] * c ** -values[2])
    print(f"C0 {values[0]:.8f} C {values[1]:.8f} gamma {values[2]:.8f} sum of squares {np.sum(left**2):.8e} R2 {1 - np.sum(left**2) / np.sum((ce - ce.mean())**2):.8f}")


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("out", nargs="?", type=Path)
parser.add_argument("--fixture", nargs=2, metavar=("C", "FILE"))
parser.add_argument("--laws", action="store_true")
args = parser.parse_args()
if args.laws:
    laws()
elif args.out:
    check(args.out, args.fixture)
else:
    parser.error("name an output folder of hilberg context, or --laws")
