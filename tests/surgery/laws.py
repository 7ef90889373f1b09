"""What every operation must leave as it was."""

import numpy as np
import torch
from scipy.linalg import subspace_angles

from manifolds import principal_angles
from tests.surgery.cases import basis_of


def narrowed_law(setting, theta, result, kept):
    """The result is the network of the kept neurons: theta, width, and the value by other code."""
    expected = setting.kept(theta.astype(setting.dtype), kept)
    np.testing.assert_array_equal(result.parameters.numpy(), expected)
    assert result.width_after == len(kept) and result.width_before == setting.widths[-1]
    assert result.problem.width == len(kept) + setting.bias_feature
    size = float((setting.sides**2).sum())
    eps = 2e-16 if setting.dtype == "float64" else 1e-7
    for value, at, width in (
        (result.value_before, theta, setting.widths[-1]),
        (result.value_after, expected, len(kept)),
    ):
        s = np.linalg.svd(setting.matrix(at.astype(float), width), compute_uv=False)
        rounding = eps * (100 + 10 * s[0] / s[s > 1e-10 * s[0]].min())
        assert abs(value - setting.value(at.astype(float), width)) <= rounding * size


def value_law(setting, result, rise=0.0, *, relative=1e-9):
    """The value has changed by `rise`."""
    size = float((setting.sides**2).sum())
    assert abs(result.value_change - rise) <= relative * abs(rise) + 1e-13 * size, (result.value_change, rise)


def span_law(setting, theta, result, kept, *, angle=1e-9):
    """No principal angle between the old span and the new one, and the result says so."""
    old = basis_of(setting.matrix(theta))
    new = basis_of(setting.matrix(setting.kept(theta, kept), len(kept)), 1e-13)
    assert new.shape[1] == old.shape[1]
    assert subspace_angles(old, new).max() < angle
    assert float(principal_angles(torch.from_numpy(old), torch.from_numpy(new)).max()) < angle
    assert result.span_angle < angle and result.span_preserved
