"""Discovery side by side: the shared Krylov space against Algorithm 2 of the paper, on the embedded model.

Both find the same regions' and complements' leading right singular vectors of the same Jacobian to the same residual.
The baseline is the generalized power method written from the paper: one block for each region and each complement,
each iterated alone, stopped by the same residual test (the paper's own test compares signs and seldom stops before its
50 rounds). What counts is the ratio: absolute times belong to the machine.

    python benchmarks/discover.py [FACES]
"""

import json
import sys
import time
from functools import partial

import torch

from loco.diffusion.sampling import invert
from loco.linalg.jacobian import JacobianOperator
from loco.linalg.krylov import Rows, row_svds
from loco.models.diffusers_folder import open_folder
from loco.models.source import model_folder
from loco.zoo.faces import faces

ROIS = ("mouth", "eyes", "hair")
RANK, NULL_RANK, TOL, MAX_ROUNDS = 3, 5, 0.02, 50


def power(operator: JacobianOperator, request: Rows, seed: int) -> torch.Tensor:
    """Algorithm 2 for one set of rows: V <- SVD(J' M J V), until the residual is within TOL; returns s [r]."""
    generator = torch.Generator().manual_seed(seed)
    v = torch.linalg.qr(torch.randn((operator.size, request.rank), generator=generator)).Q.T
    values = torch.zeros(request.rank)
    for _ in range(MAX_ROUNDS):
        pulled = operator.rmv(operator.mv(v) * request.mask)
        small = v @ pulled.T
        eigenvalues, rotation = torch.linalg.eigh((small + small.T) / 2)
        values = eigenvalues.clamp_min(1e-30).sqrt()
        residual = (rotation.T @ pulled - eigenvalues[:, None] * (rotation.T @ v)).norm(
            dim=1
        ) / eigenvalues.abs()
        if bool((residual <= TOL).all()):
            break
        v = torch.linalg.svd(pulled, full_matrices=False).Vh
    return values.flip(0)


def main(count: int) -> None:
    """Measure on `count` faces and print one JSON object."""
    card, denoiser = open_folder(model_folder("zoo:faces32"))
    t = card.recommended_t or 0.5
    rendered = faces(2**20, count, card.shape[1])
    x0 = torch.from_numpy(rendered.images).permute(0, 3, 1, 2).float() / 127.5 - 1
    x_t = invert(denoiser, x0, t, 20)
    totals = {"krylov": [0, 0, 0.0], "power": [0, 0, 0.0]}
    worst = 0.0
    for face in range(count):
        masks = [torch.from_numpy(rendered.masks[roi][face]).expand(card.shape).flatten() for roi in ROIS]
        requests = [Rows(mask, RANK) for mask in masks] + [Rows(~mask, NULL_RANK) for mask in masks]
        for name in totals:
            operator = JacobianOperator(partial(denoiser.posterior_mean, t=t), x_t[face])
            started = time.perf_counter()
            if name == "krylov":
                shared = [one.values for one in row_svds(operator, requests, tol=TOL, max_rounds=MAX_ROUNDS)]
            else:
                alone = [power(operator, request, 0) for request in requests]
            spent = time.perf_counter() - started
            totals[name][0] += operator.products
            totals[name][1] += operator.evaluations
            totals[name][2] += spent
        worst = max(worst, *(float(((a - b) / a).abs().max()) for a, b in zip(shared, alone, strict=True)))
    (k_products, _, k_seconds), (p_products, _, p_seconds) = totals["krylov"], totals["power"]
    result = {
        "faces": count,
        "rois": list(ROIS),
        "t": t,
        "device": "cpu",
        "products": {"krylov": k_products / count, "power": p_products / count},
        "products_ratio": round(p_products / k_products, 2),
        "wall_ratio": round(p_seconds / k_seconds, 2),
        "seconds_a_face": {"krylov": round(k_seconds / count, 2), "power": round(p_seconds / count, 2)},
        "largest_relative_difference_of_values": round(worst, 5),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
