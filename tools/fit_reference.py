#!/usr/bin/env python3
"""SciPy's fits that `src/estimate/laws/tests.rs` and `tests/cli/fit.rs` hold ours against.

usage: fit_reference.py

CE(c) of Llama-3.1-8B as published (NLPCtlScalingAndBounds), fitted by C0 + C c^-gamma without errors; and a small curve under a full covariance by each law of
information. Needs numpy and scipy; run with numpy 2.4.6 and scipy 1.17.1.
"""
import numpy as np
from scipy.optimize import curve_fit

CONTEXT = [8, 12, 16, 24, 32, 48, 64, 128, 256, 512]
LOSS = [3.9531, 3.5390, 3.28283, 2.99618, 2.83873, 2.65246, 2.53125, 2.36169, 2.21765, 2.12716]

LENGTHS = [2, 4, 8, 16, 32, 64, 128, 256]
INFORMATION = [0.85, 1.4, 2.3, 3.2, 4.0, 4.8, 5.2, 5.6]
ERRORS = [0.05, 0.07, 0.1, 0.12, 0.15, 0.17, 0.2, 0.22]

LAWS = {
    "power": (lambda x, a, b: a * x**b, (2, 0.3), ([0, -1], [np.inf, 2])),
    "logarithm": (lambda x, a, b: a + b * np.log(x), (1, 1), (-np.inf, np.inf)),
    "saturating": (lambda x, i, l, g: -i * np.expm1(-g * np.log1p(x / l)), (6, 10, 0.8), ([0, 1e-3, 0.25], [np.inf, 1e5, 8])),
}


def show(name: str, parameters: np.ndarray, covariance: np.ndarray, chi_squared: float) -> None:
    told = [f"{v:.10f}" for v in [*parameters, *np.sqrt(np.diag(covariance)), chi_squared]]
    print(f"{name}: parameters, standard errors, chi squared: {', '.join(told)}")


def main() -> None:
    import scipy

    print(f"numpy {np.__version__}, scipy {scipy.__version__}")
    tight = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15, "max_nfev": 100000}
    c, loss = np.array(CONTEXT, float), np.array(LOSS)

    def context(x, c0, c1, g):
        return c0 + c1 * x**-g

    p, v = curve_fit(context, c, loss, p0=(1.9, 6, 0.5), method="trf", x_scale="jac", **tight)
    show("context", p, v, float(np.sum((loss - context(c, *p)) ** 2)))

    x, y, e = np.array(LENGTHS, float), np.array(INFORMATION), np.array(ERRORS)
    # Neighbours are correlated by 0.8, others by a power of it.
    sigma = 0.8 ** np.abs(np.subtract.outer(np.arange(len(x)), np.arange(len(x)))) * np.outer(e, e)
    for name, (law, start, bounds) in LAWS.items():
        p, v = curve_fit(law, x, y, p0=start, sigma=sigma, absolute_sigma=True, bounds=bounds, method="trf", x_scale="jac", **tight)
        r = y - law(x, *p)
        show(name, p, v, float(r @ np.linalg.solve(sigma, r)))


if __name__ == "__main__":
    main()
