"""Networks with neurons planted that repeat others, are dead, saturated or spanned, and their columns by other code."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from grassvp import SeparableProblem
from grassvp.features import differential_operator, mlp, under_operator
from tests import oracles


@dataclass(frozen=True)
class Setting:
    """A network and its data."""

    activation: str = "tanh"
    d: int = 1
    widths: tuple[int, ...] = (8,)
    rows: int = 60
    outputs: int = 1
    weighted: bool = False
    bias_feature: bool = True
    operator: bool = False
    dtype: str = "float64"
    lam: float = 0.0
    seed: int = 0

    @property
    def terms(self):
        return {(): 1.0, (0,): np.linspace(0.5, 1.0, self.rows), (0, 0): -0.1}

    @property
    def inputs(self):
        rng = np.random.default_rng(self.seed)
        return rng.uniform(-1, 1, (self.rows, self.d)).astype(self.dtype)

    @property
    def targets(self):
        phases = np.arange(self.outputs)
        return np.sin(5 * self.inputs.sum(1, keepdims=True) + phases).astype(self.dtype)

    @property
    def weights(self):
        w = np.linspace(0.5, 2.0, self.rows)
        w[::7] = 0.0
        return w if self.weighted else None

    def problem(self, **options) -> SeparableProblem:
        module = mlp(self.d, self.widths, activation=self.activation, bias_feature=self.bias_feature, seed=self.seed)
        features = module
        if self.operator:
            features = under_operator(module, differential_operator(self.rows, self.d, self.terms))
        return SeparableProblem(
            features, self.inputs, self.targets, weights=self.weights, regularization=self.lam, **options
        )

    def theta(self):
        """Parameters whose neurons are far from parallel."""
        parameters = mlp(self.d, self.widths, activation=self.activation, seed=self.seed + 1).parameters()
        return torch.nn.utils.parameters_to_vector(parameters).detach().numpy() * 2.0

    def matrix(self, theta, width=None):
        """W Phi of the network with so many neurons in its last layer, (m, n), by plain torch operations."""
        widths = self.widths if width is None else (*self.widths[:-1], width)
        x, at = torch.from_numpy(self.inputs.astype(float)), torch.as_tensor(np.asarray(theta, dtype=float))

        def plain(point):
            return oracles.torch_features(at, point, widths, self.activation, self.bias_feature)

        Phi = oracles.torch_operator(plain, x, self.terms) if self.operator else plain(x)
        return Phi.numpy() if self.weights is None else self.weights[:, None] * Phi.numpy()

    @property
    def sides(self):
        """W Y, (m, k)."""
        return self.targets.astype(float) * (1.0 if self.weights is None else self.weights[:, None])

    def value(self, theta, width=None):
        """The value by singular values of W Phi."""
        return value_of(self.matrix(theta, width), self.sides, self.lam)

    def last(self, theta):
        """Weights (width, d) and biases (width,) of the last hidden layer, views of theta."""
        width, d = self.widths[-1], (self.d, *self.widths)[-2]
        start = len(theta) - width * (d + 1)
        return theta[start : start + width * d].reshape(width, d), theta[start + width * d :]

    def kept(self, theta, neurons):
        """Theta of the network with some neurons of the last hidden layer alone."""
        W, b = self.last(theta)
        neurons = list(neurons)
        return np.concatenate([theta[: len(theta) - W.size - b.size], W[neurons].ravel(), b[neurons]])

    def copied(self, theta, source, target, *, factor=1.0, shift=0.0):
        """Theta with one neuron a multiple of another, and its bias moved."""
        moved = theta.copy()
        W, b = self.last(moved)
        W[target], b[target] = factor * W[source], factor * b[source] + shift
        return moved

    def placed(self, theta, target, slope, bias):
        """Theta with a neuron of equal weights `slope` and a bias."""
        moved = theta.copy()
        W, b = self.last(moved)
        W[target], b[target] = slope, bias
        return moved


def value_of(A, Y, lam, cut=1e-10):
    """1/2 ||Y - U U^T Y||^2 + 1/2 sum lam / (s^2 + lam) ||u^T Y||^2, directions below the cut left out at lam = 0."""
    U, s, _ = np.linalg.svd(A, full_matrices=False)
    if lam == 0.0:
        U, s = U[:, s > cut * s[0]], s[s > cut * s[0]]
    inside = U.T @ Y
    outside = Y - U @ inside
    outside -= U @ (U.T @ outside)
    return 0.5 * float((outside**2).sum() + ((lam / (s**2 + lam))[:, None] * inside**2).sum())


def basis_of(A, cut=1e-7):
    """Orthonormal basis of the span of the columns scaled to length one."""
    norms = np.linalg.norm(A, axis=0)
    U, s, _ = np.linalg.svd(A / np.where(norms > 0, norms, 1.0), full_matrices=False)
    return U[:, s > cut * s[0]]


SETTINGS = {
    "tanh": Setting(),
    "sin, d = 2, 3 outputs": Setting("sin", d=2, outputs=3),
    "weights, some zero": Setting("gelu", d=2, weighted=True),
    "no constant": Setting("erf", bias_feature=False, widths=(7,)),
    "two layers": Setting("tanh", widths=(5, 6), d=2),
    "three layers, weights": Setting("softplus", widths=(4, 3, 5), d=2, weighted=True, outputs=2),
    "operator": Setting("tanh", operator=True, widths=(6,)),
    "operator, weights, d = 2": Setting("sin", operator=True, widths=(6,), d=2, weighted=True, outputs=2),
}

LAMS = (0.0, 1e-6, 1e-2)


def with_copies(setting):
    """Theta in which neurons 0, 2 and the last are the same, and 4 is 1 with the other sign where sigma is odd."""
    theta = setting.theta()
    last = setting.widths[-1] - 1
    theta = setting.copied(setting.copied(theta, 0, 2), 0, last)
    odd = setting.activation in ("tanh", "sin", "erf")
    if last > 4 and not setting.operator:
        return setting.copied(theta, 1, 4, factor=-1.0 if odd else 1.0), [{0, 2, last}, {1, 4}]
    return theta, [{0, 2, last}]


def at(setting, lam):
    return replace(setting, lam=lam)
