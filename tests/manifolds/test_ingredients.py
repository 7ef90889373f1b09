"""The laws notice a spoiled ingredient inside the library: one function at a time is replaced by a wrong one."""

import numpy as np
import pytest

from manifolds import geodesics
from tests.manifolds.test_laws import grassmann_sample
from tests.manifolds.test_mutations import GRASSMANN_LAWS, sound


def identity_like(matrix):
    return np.eye(matrix.shape[-1])


INGREDIENTS = {
    # name: (module, attribute, what replaces it, laws that must notice)
    "no alignment of bases in transport": (geodesics, "orthogonal_factor", identity_like, ("representative_law",)),
    "every basis counts as aligned": (geodesics, "is_aligned", lambda overlap: True, ("representative_law",)),
    "nothing is projected out in the geodesics": (
        geodesics,
        "project_out_once",
        lambda X, Z: Z,
        ("transport_law",),
    ),
    "the stretch of log is 1": (
        geodesics,
        "_stretch",
        lambda c, method: (np.ones_like(c), 0 * c),
        ("exp_log_law", "geodesic_law"),
    ),
    "a Newton-Schulz step with a wrong factor": (
        geodesics,
        "polish",
        lambda X: X @ (1.25 * np.eye(X.shape[-1]) - 0.25 * X.T @ X + 1e-9 * np.eye(X.shape[-1])),
        ("exp_log_law", "geodesic_law"),
    ),
}


@pytest.mark.parametrize("name", INGREDIENTS)
def test_a_spoiled_ingredient_of_the_library_is_noticed(name, monkeypatch):
    module, attribute, replacement, guards = INGREDIENTS[name]
    sample = grassmann_sample((6, 2, 1))
    sound(sample)
    monkeypatch.setattr(module, attribute, replacement)
    for guard in guards:
        with pytest.raises(AssertionError):
            GRASSMANN_LAWS[guard](sample)
