"""Muon for the matrices of hidden layers, AdamW for the rest, as train_demo.py uses them.

Muon: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks", https://kellerjordan.github.io/posts/muon/: the momentum of a matrix is
replaced by (about) the nearest matrix with orthonormal rows or columns, so that every direction moves equally fast.
"""

import torch

# Σ coefficients X (X Xᵀ)^k: the quintic of the source, whose iterates bring all singular values near to 1.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonalize(g):
    """g [n, rows, columns], each matrix by itself; in bfloat16, which the source found to be enough."""
    a, b, c = QUINTIC
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised; matrices of one shape are done together."""

    def __init__(self, parameters, lr, momentum=0.95):
        super().__init__(parameters, dict(lr=lr, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                shapes.setdefault(p.shape, []).append(p)
            for shape, parameters in shapes.items():
                updates = []
                for p in parameters:
                    m = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    m.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(m, group["momentum"]))
                scale = group["lr"] * max(1, shape[0] / shape[1]) ** 0.5
                for p, update in zip(parameters, orthogonalize(torch.stack(updates))):
                    p.sub_(update, alpha=scale)


def optimizers(model, muon_lr, adam_lr):
    """The hidden layers' matrices to the first, everything else to the second."""
    embedding = model.embedding
    matrices = [p for p in model.parameters() if p.ndim == 2 and p is not embedding]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [Muon(matrices, lr=muon_lr), torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.95), weight_decay=0.0)]
