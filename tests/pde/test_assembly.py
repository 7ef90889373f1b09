"""How blocks of rows are balanced and joined, and that solutions do not depend on units."""

import math

import numpy as np
import pytest
import torch

from grassvp import pde, solve
from grassvp.errors import ArgumentError
from grassvp.features import mlp
from grassvp.features.mlp import sample_weights
from grassvp.pde import Box, assembly
from grassvp.pde.assembly import SLOPE, Block, balanced_weights, joined_terms

BOX = Box({"t": (0.0, 2.0), "x": (-1.0, 3.0)})
ROWS = 6
F64 = torch.float64


def block(terms, rows=ROWS, weight=1.0, name="it"):
    columns = {key: torch.as_tensor(c, dtype=F64).expand(rows) for key, c in terms.items()}
    return Block(name, torch.zeros(rows, 2, dtype=F64), columns, torch.zeros(rows, dtype=F64), weight)


class TestWeights:
    def test_the_size_of_an_operator(self):
        """Half-ranges are 1 and 2, so that d_t counts SLOPE, d_x SLOPE / 2, d_xx its square, and values 1."""
        for terms, size in [
            ({(0, ()): 3.0}, 3.0),
            ({(0, (0,)): 1.0}, SLOPE),
            ({(0, (1,)): 1.0}, SLOPE / 2),
            ({(0, (1, 1)): -2.0}, 2 * SLOPE**2 / 4),
            ({(0, (0, 0, 1, 1)): 1.0}, SLOPE**4 / 4),
            ({(0, ()): 3.0, (1, (0,)): 4.0 / SLOPE}, 5.0),
            ({(0, ()): torch.tensor([0.0, 0, 0, 0, 0, 6.0])}, math.sqrt(6.0)),
        ]:
            assert block(terms).size(BOX) == pytest.approx(size, rel=1e-14)

    def test_it_is_the_size_of_neurons_under_the_operator(self):
        """Of neurons exp(w . x + b), all derivatives of which are products of slopes, where the exponential is 1."""
        rng = np.random.default_rng(0)
        signs = torch.from_numpy(rng.choice([-1.0, 1.0], (4000, 2)))
        slopes = signs * SLOPE / (BOX.lengths / 2)
        terms = {(0, ()): 1.5, (0, (0,)): -2.0, (0, (1, 1)): 0.7, (0, (0, 1)): 1.1}
        values = sum(c * slopes[:, list(index)].prod(1) for (_, index), c in terms.items())
        assert isinstance(values, torch.Tensor)
        spread = float((values**2).mean()) ** 0.5
        even = 1.5 * 2 * 0.7 * SLOPE**2 / 4  # terms whose signs agree do not average out
        assert spread == pytest.approx(math.sqrt(block(terms).size(BOX) ** 2 + even), rel=0.05)

    @pytest.mark.parametrize("factor", [1e-12, 1e-3, 7.0, 1e9])
    def test_scaling_an_equation_scales_its_weights_back(self, factor):
        terms = {(0, (0,)): 1.0, (0, (1, 1)): torch.linspace(1, 2, ROWS, dtype=F64)}
        other = block({(0, ()): 1.0}, 3)
        before = balanced_weights([block(terms), other], BOX)
        after = balanced_weights([block({key: factor * c for key, c in terms.items()}), other], BOX)
        torch.testing.assert_close(after[:ROWS] * factor, before[:ROWS], rtol=1e-13, atol=0.0)
        torch.testing.assert_close(after[ROWS:], before[ROWS:])

    def test_the_number_of_rows_does_not_decide(self):
        """The squared sum over a block, rows (weight size)^2, is the same for all."""
        blocks = [block({(0, (0,)): 1.0}, rows) for rows in (1, 10, 1000)]
        weights = balanced_weights(blocks, BOX).split([1, 10, 1000])
        sums = [float((w**2).sum()) * each.size(BOX) ** 2 for w, each in zip(weights, blocks, strict=True)]
        assert sums == pytest.approx([1011.0] * 3)

    def test_user_weights_multiply(self):
        plain = balanced_weights([block({(0, ()): 1.0}), block({(0, (0,)): 1.0})], BOX)
        weighted = balanced_weights([block({(0, ()): 1.0}, weight=5.0), block({(0, (0,)): 1.0})], BOX)
        torch.testing.assert_close(weighted, torch.cat([5 * plain[:ROWS], plain[ROWS:]]))

    def test_units_of_the_box(self):
        small = Box({"t": (0.0, 2e-3), "x": (-1e3, 3e3)})
        terms = {(0, (0,)): 1.0, (0, (1, 1)): 1.0}
        scaled = {(0, (0,)): 1e-3, (0, (1, 1)): 1e6}
        torch.testing.assert_close(balanced_weights([block(terms)], BOX), balanced_weights([block(scaled)], small))

    @pytest.mark.parametrize("terms", [{(0, ()): 0.0}, {(0, (0,)): 0.0, (0, ()): 0.0}, {(0, ()): 1e300}])
    def test_operators_without_a_size_are_refused(self, terms):
        with pytest.raises(ArgumentError, match="condition 3: the coefficients of the operator are all zero, or too"):
            balanced_weights([block({(0, ()): 1.0}), block(terms, name="condition 3")], BOX)


def test_joined_terms():
    one, two = block({(0, ()): 1.0, (0, (0,)): 2.0}, 2), block({(1, ()): 3.0, (0, ()): 4.0}, 3)
    found = joined_terms([(each.rows, each.terms) for each in (one, two)])
    assert list(found) == [(0, ()), (0, (0,)), (1, ())]
    assert {key: c.tolist() for key, c in found.items()} == {
        (0, ()): [1, 1, 4, 4, 4],
        (0, (0,)): [2, 2, 0, 0, 0],
        (1, ()): [0, 0, 3, 3, 3],
    }


def poisson(*, equation=1.0, condition=1.0, length=1.0, weight=1.0, interior=300, boundary=80, width=100, iterations=0):
    """A Poisson equation in some units and the solution of it from the same neurons; the error on the check points."""
    box = pde.Box({"x": (0, length), "y": (0, length)})

    def u(x):
        return torch.sin(2 * x["x"] / length) * torch.exp(x["y"] / length)

    problem = pde.PDE(
        box,
        lambda u, x: equation * u.laplacian(),
        lambda x: equation * -3 * u(x) / length**2,
        [
            pde.Condition(("x", "both"), lambda x: condition * u(x), lambda u, x: condition * u.value, weight=weight),
            pde.dirichlet(("y", "both"), lambda x: u(x) + (0.0 if weight == 1.0 else 1.0)),
        ],
        exact=u,
    )
    module = mlp(2, (width,))
    found = problem.collocate(module, interior=interior, boundary=boundary)
    theta = sample_weights(module, np.random.default_rng(0), torch.stack([box.lower, box.upper]), 1.0)
    solution = solve(found, initial_parameters=theta, max_iterations=iterations)
    unit = torch.cartesian_prod(*[torch.linspace(0, 1, 21, dtype=F64)] * 2)
    return problem.relative_l2_error(solution), solution.predict(length * unit), solution


class TestUnits:
    """A solution is the same function whatever units the equation, the conditions and the box are written in."""

    CHANGES = (
        {"equation": 1e6},
        {"equation": -1e-6},
        {"condition": 1e-3},
        {"equation": 1e-8, "condition": 1e8},
        {"length": 1e2},
        {"length": 1e-3},
        {"length": 10.0, "equation": 1e3},
    )

    @pytest.mark.parametrize("change", CHANGES, ids=str)
    def test_of_the_linear_solve(self, change):
        error, values, _ = poisson()
        other, same, _ = poisson(**change)
        assert error < 1e-4
        assert other == pytest.approx(error, rel=1e-6)
        assert float((same - values).abs().max()) < 1e-9

    @pytest.mark.parametrize("change", [{"equation": 1e6}, {"condition": 1e-3}, {"equation": 1e-6, "condition": 1e3}])
    def test_of_the_path(self, change):
        """Three steps of Levenberg-Marquardt lead to the same parameters."""
        _, _, one = poisson(width=12, iterations=3)
        _, _, two = poisson(width=12, iterations=3, **change)
        torch.testing.assert_close(two.parameters, one.parameters, rtol=1e-6, atol=1e-6)
        assert not torch.equal(one.parameters, one.problem.initial_parameters)

    def test_numbers_of_points_hardly_matter(self):
        errors = [
            poisson(interior=interior, boundary=boundary)[0]
            for interior, boundary in [(400, 120), (1600, 120), (400, 960), (1600, 960)]
        ]
        assert max(errors) < 2 * min(errors) < 1e-5

    def test_without_the_balance_they_do(self, monkeypatch):
        monkeypatch.setattr(assembly.Block, "size", lambda self, box: 1.0)
        error, _, _ = poisson()
        other, _, _ = poisson(equation=1e6)
        assert other > 3 * error or error > 3 * other

    def test_user_weights_act(self):
        """Conditions that contradict the equation are met the better the more they weigh."""
        misfits = []
        for weight in (1e-3, 1.001, 1e3):
            _, values, _ = poisson(weight=weight)
            edge = values.view(21, 21)[[0, -1]]
            exact = torch.stack([torch.zeros(21), math.sin(2.0) * torch.exp(torch.linspace(0, 1, 21))]).double()
            misfits.append(float((edge - exact).abs().mean()))
        assert misfits[0] > 2 * misfits[1] > 20 * misfits[2]
