"""The solvers that `benchmarks/solvers.py` runs beside ours, each on the joint problem in (theta, C) from one start.

A peer takes a `Race` and returns when it first had a loss at or below a level, and its last loss. All of them are given
exact derivatives where they can use them, in closed form, and all count the seconds of their own evaluations.
"""

import contextlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
import torch
from scipy.optimize import least_squares

import grassvp as gv


@dataclass(frozen=True)
class Race:
    """A separable problem with closed-form joint residual and Jacobian.

    Attributes:
        problem: for our solvers and torch's.
        theta: where all start.
        features: theta -> Phi (m, n) and its slopes (m, q), D_j Phi being column `columns[j]` alone.
        columns: (q,) the column that each parameter moves.
    """

    problem: gv.SeparableProblem
    theta: np.ndarray
    features: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    columns: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """Y, (m, k)."""
        return self.problem.targets.numpy()

    def joint_start(self, seed: int) -> np.ndarray:
        """theta and small random coefficients."""
        shape = self.problem.width * self.problem.outputs
        return np.concatenate([self.theta, 0.01 * np.random.default_rng(seed).standard_normal(shape)])


@dataclass
class Trace:
    """Losses over seconds, as evaluations come in."""

    begin: float
    seconds: list[float]
    losses: list[float]

    @staticmethod
    def start() -> "Trace":
        return Trace(time.perf_counter(), [], [])

    def add(self, loss: float) -> None:
        self.seconds.append(time.perf_counter() - self.begin)
        self.losses.append(loss)

    def first_at(self, level: float) -> float:
        """Seconds to the first loss at or below a level; infinite where there is none."""
        found = [when for when, loss in zip(self.seconds, self.losses, strict=True) if loss <= level]
        return found[0] if found else float("inf")


class OutOfTimeError(Exception):
    """Raised inside a peer's evaluation to end it."""


def joint_residual(race: Race, lam: float, trace: Trace, limit: float) -> tuple[Callable, Callable]:
    """Residual and Jacobian of 1/2 ||Phi C - Y||^2 + lam/2 ||C||^2 by (theta, C), Phi shared between the two."""
    q, (n, k) = len(race.theta), (race.problem.width, race.problem.outputs)
    Y, memory = race.targets, {}

    def at(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if memory.get("x") is None or not np.array_equal(memory["x"], x):
            memory.update(x=x.copy(), found=race.features(x[:q]))
        return memory["found"]

    def residual(x: np.ndarray) -> np.ndarray:
        if time.perf_counter() - trace.begin > limit:
            raise OutOfTimeError
        C = x[q:].reshape(n, k)
        r = (at(x)[0] @ C - Y).ravel()
        r = np.concatenate([r, np.sqrt(lam) * x[q:]]) if lam > 0 else r
        trace.add(0.5 * float(r @ r))
        return r

    def jacobian(x: np.ndarray) -> Any:
        Phi, slopes = at(x)
        C, m = x[q:].reshape(n, k), len(Y)
        by_theta = (slopes[:, None, :] * C.T[:, race.columns]).reshape(m * k, q)
        if k > 100:  # dense it would have m k (q + n k) entries
            by_C = scipy.sparse.kron(Phi, scipy.sparse.identity(k), format="csr")
            return scipy.sparse.hstack([scipy.sparse.csr_matrix(by_theta), by_C], format="csr")
        J = np.concatenate([by_theta, np.kron(Phi, np.eye(k))], axis=1)
        ridge = np.concatenate([np.zeros((n * k, q)), np.sqrt(lam) * np.eye(n * k)], axis=1)
        return np.concatenate([J, ridge]) if lam > 0 else J

    return residual, jacobian


def scipy_trf(race: Race, seed: int, limit: float, *, exact: bool = True) -> Trace:
    """scipy.optimize.least_squares at its defaults, or with the exact Jacobian."""
    trace = Trace.start()
    residual, jacobian = joint_residual(race, race.problem.regularization, trace, limit)
    with contextlib.suppress(OutOfTimeError):
        start = race.joint_start(seed)
        least_squares(residual, start, jac=jacobian if exact else "2-point")  # pyright: ignore[reportArgumentType]
    return trace


def lmfit_leastsq(race: Race, seed: int, limit: float) -> Trace | None:
    """lmfit.minimize at its defaults, until it ends, also by an error; None where it is not installed."""
    try:
        import lmfit
    except ImportError:
        return None
    trace = Trace.start()
    residual, _ = joint_residual(race, race.problem.regularization, trace, limit)
    parameters = lmfit.Parameters()
    for number, value in enumerate(race.joint_start(seed)):
        parameters.add(f"p{number}", value=value)
    with contextlib.suppress(OutOfTimeError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lmfit.minimize(lambda p: residual(np.fromiter(p.valuesdict().values(), dtype=float)), parameters)
    return trace


def torch_joint(race: Race, seed: int, limit: float, optimizer: str) -> Trace:
    """Adam or L-BFGS on the joint problem, from the least-squares coefficients at theta."""
    trace = Trace.start()
    gv.solve(
        race.problem,
        gv.FirstOrder(optimizer, objective="joint", coefficients="projected"),
        initial_parameters=race.theta,
        max_iterations=10**7,
        max_time=limit,
        tolerance=0.0,
        callbacks=[lambda record: trace.add(record.value)],
    )
    return trace


def ours(race: Race, limit: float, method: Any = None, iterations: int = 10**6) -> Trace:
    """One of our methods from the same theta."""
    trace = Trace.start()
    gv.solve(
        race.problem,
        method,
        initial_parameters=race.theta,
        max_iterations=iterations,
        max_time=limit,
        callbacks=[lambda record: trace.add(record.value)],
    )
    return trace


def tanh_race(seed: int, *, width: int = 50, rows: int = 1000, lam: float = 1e-6) -> Race:
    """sin 2 pi x + cos(4 pi x) / 2 by a tanh network, from random slopes and centres."""
    x = np.linspace(0.0, 1.0, rows)
    y = np.sin(2 * np.pi * x) + 0.5 * np.cos(4 * np.pi * x)
    network = gv.features.mlp(1, (width,))
    problem = gv.SeparableProblem(network, x, y, regularization=lam)
    theta = problem.features.sample(np.random.default_rng(seed), problem.inputs, 4.0).numpy()

    def features(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        t = np.tanh(x[:, None] * theta[:width] + theta[width:])
        slope = 1.0 - t * t
        return np.concatenate([t, np.ones((rows, 1))], axis=1), np.concatenate([x[:, None] * slope, slope], axis=1)

    return Race(problem, theta, features, np.tile(np.arange(width), 2))


def decay_race(seed: int, outputs: int, *, rows: int = 100, noise: float = 1e-2) -> Race:
    """Two decays with rates 0.5 and 2 mixed into many outputs, with noise, from rates 0.2 and 4."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0.0, 4.0, rows)
    truth = np.exp(-t[:, None] * [0.5, 2.0]) @ rng.uniform(0.5, 2.0, (2, outputs))
    Y = truth + noise * rng.standard_normal(truth.shape)
    start = np.array([0.2, 4.0])
    model = gv.features.from_function(lambda p, x: torch.exp(-x[:, None] * p), start)

    def features(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        Phi = np.exp(-t[:, None] * theta)
        return Phi, -t[:, None] * Phi

    return Race(gv.SeparableProblem(model, t, Y), start, features, np.arange(2))


def glotaran(race: Race, limit: float) -> Trace | None:
    """pyglotaran's variable projection of parallel decays, timed as a whole; None where it is not installed."""
    try:
        import xarray
        from glotaran.builtin.megacomplexes.decay import DecayParallelMegacomplex
        from glotaran.model import Model
        from glotaran.optimization.optimize import optimize
        from glotaran.parameter import Parameters
        from glotaran.project.scheme import Scheme
    except ImportError:
        return None
    decays = {"type": "decay-parallel", "compartments": ["s1", "s2"], "rates": ["rates.1", "rates.2"]}
    kind = Model.create_class_from_megacomplexes([DecayParallelMegacomplex])
    model = kind(megacomplex={"m1": decays}, dataset={"d": {"megacomplex": ["m1"]}})
    axes = [("time", race.problem.inputs.numpy()), ("spectral", np.arange(float(race.problem.outputs)))]
    data = xarray.DataArray(race.targets, coords=axes).to_dataset(name="data")
    scheme = Scheme(
        model=model,
        parameters=Parameters.from_dict({"rates": race.theta.tolist()}),
        data={"d": data},
        maximum_number_function_evaluations=200,
    )
    trace = Trace.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = optimize(scheme, verbose=False)
    trace.add(float(result.cost))
    return trace
