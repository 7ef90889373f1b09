"""The value of regularised least squares on the regularised Grassmannian, in four equal forms."""

from typing import Any, NamedTuple

from array_api_compat import array_namespace

from manifolds.graphs import Graph

__all__ = ["ValueForms", "value_forms"]


class ValueForms(NamedTuple):
    """Four equal forms of the value of regularised least squares, f(Phi) = min over C of |Y - Phi C|^2/2 + lam
    |C|^2/2.
    """

    augmented: Any
    objective: Any
    projector: Any
    kernel: Any


def value_forms(graph: Graph, Phi: Any, Y: Any) -> ValueForms:
    """Each form from its own formula.

    augmented: |(I - P_aug) [Y; 0]|^2 / 2; objective: |Y - Phi C|^2 / 2 + lam |C|^2 / 2 at its minimiser C;
    projector: tr Y^T (I - P) Y / 2; kernel: lam tr Y^T (Phi Phi^T + lam I)^-1 Y / 2, which is convex in Phi Phi^T.
    """
    xp, m, lam = array_namespace(Phi, Y), Phi.shape[0], graph.root**2
    U = graph.basis()
    inside = U[:m].mT @ Y
    augmented = _square(Y - U[:m] @ inside) + _square(U[m:] @ inside)
    C = graph.solve(Phi.mT @ Y)
    objective = _square(Y - Phi @ C) + lam * _square(C)
    projector = xp.sum(Y * (Y - graph.project(Y)))
    components = graph.Q.mT @ Y
    kernel = _square(Y - graph.Q @ components) + lam * _square(components / graph.rho[: graph.rank, None])
    return ValueForms(0.5 * augmented, 0.5 * objective, 0.5 * projector, 0.5 * kernel)


def _square(array: Any) -> Any:
    """Squared Frobenius norm."""
    return array_namespace(array).sum(array * array)
