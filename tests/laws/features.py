"""Laws of feature maps: every product with DPhi beside one dense tensor of derivatives, every second derivative.

`function` is theta -> Phi in plain torch operations; tolerances are relative to the largest entry of what is compared.
"""

import numpy as np
import torch
from torch.func import hessian, jacfwd, jvp, vjp

from grassvp.features import FeatureMap


def random_tensors(seed: int, *shapes) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.standard_normal(shape)) for shape in shapes]


def near(found, expected, digits: float = 1e-12) -> None:
    torch.testing.assert_close(found, expected, rtol=digits, atol=digits * (1 + float(expected.abs().max())))


def values_law(features: FeatureMap, theta, x, function) -> None:
    """Phi from the map and from its derivatives."""
    near(features(theta, x), function(theta))
    near(features.derivatives(theta, x).values, function(theta))


def products_law(features: FeatureMap, theta, x, function, blocks=((2, 5), (0, 1), (6, 9))) -> None:
    """All products, of all rows and of blocks of them, and of a block of a block."""
    D = jacfwd(function)(theta)
    (m, n, q), whole = D.shape, features.derivatives(theta, x)
    v, S, C, L = random_tensors(3, (q,), (m, 2), (n, 2), (3, n))
    parts = [(whole, slice(None)), *((whole.block(*rows), slice(*rows)) for rows in blocks)]
    parts.append((whole.block(1, m).block(1, m - 1), slice(2, m)))
    for part, rows in parts:
        near(part.values, function(theta)[rows])
        near(part.pushforward(v), D[rows] @ v)
        near(part.pullback(S[rows], C), torch.einsum("iaj,il,al->j", D[rows], S[rows], C))
        near(part.contract(C), torch.einsum("iaj,al->ilj", D[rows], C))
        near(part.contract_adjoint(S[rows], L), torch.einsum("pa,iaj,il->plj", L, D[rows], S[rows]))
    near(part.contract(C), whole.contract(C)[2:])  # a product leaves what it was made from alone


def gram_law(features: FeatureMap, theta, x, function) -> None:
    """<(I - B B^T) W D_i L^T, W D_j L^T>, entry by entry, with and without weights and a tail."""
    D = jacfwd(function)(theta)
    (m, n, _), rng = D.shape, np.random.default_rng(5)
    L, w = torch.from_numpy(rng.standard_normal((2, n))), torch.from_numpy(rng.uniform(0.5, 2, m))
    basis = torch.from_numpy(np.linalg.qr(rng.standard_normal((m + 4, 3)))[0])
    found = features.derivatives(theta, x)
    for B, tail in ((torch.linalg.qr(basis[:m]).Q, None), (basis[:m], basis[m:])):
        for weights in (None, w):
            T = torch.einsum("iaj,pa,i->ipj", D, L, torch.ones_like(w) if weights is None else w)
            expected = torch.einsum("ipj,ipl->jl", T - torch.einsum("ir,sr,spj->ipj", B, B, T), T)
            near(found.gram(B, tail, L, weights), expected)
    assert found.gram_entries(2, 7) > 0


def curvature_law(features: FeatureMap, theta, x, function) -> None:
    """Hessian of <S C^T, Phi>, and its product with a vector."""
    m, n = function(theta).shape
    S, C, v = random_tensors(4, (m, 2), (n, 2), (theta.numel(),))
    expected = hessian(lambda at: ((function(at) @ C) * S).sum())(theta)
    near(features.curvature(theta, x, S, C), expected, 1e-11)
    near(features.curvature_product(theta, x, S, C, v), expected @ v, 1e-11)


def differentiable_law(features: FeatureMap, theta, x, function) -> None:
    """torch.func differentiates the map itself, forward and in reverse."""
    S, v = random_tensors(6, function(theta).shape, theta.shape)
    near(jvp(lambda at: features(at, x), (theta,), (v,))[1], jvp(function, (theta,), (v,))[1])
    near(*(vjp(f, theta)[1](S)[0] for f in (lambda at: features(at, x), function)))


LAWS = (values_law, products_law, gram_law, curvature_law, differentiable_law)
