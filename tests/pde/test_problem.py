"""PDE and its collocation: rows, targets and points of the separable problem, and clear errors for what cannot be."""

import numpy as np
import pytest
import torch
from torch import nn

from grassvp import SeparableProblem, features, pde, solve
from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.features import mlp
from grassvp.pde import PDE, Box, Condition
from tests.oracles import torch_features, torch_operator

F64 = torch.float64
BOX = Box({"t": (0, 1), "x": (-1, 1)})
NETWORK = mlp(2, (6,), seed=1)


def laplace(u, x):
    return u.laplacian()


def heat(conditions=None, **changes):
    given = [pde.initial(lambda x: torch.cos(x["x"])), pde.neumann(("x", "both"), 2.0)]
    options = {"source": lambda x: x["t"] * x["x"]} | changes
    return PDE(
        BOX,
        options.pop("equation", lambda u, x: u.d("t") - (2 + x["x"]) * u.d("x", "x")),
        options.pop("source"),
        given if conditions is None else conditions,
        **options,
    )


def collocated(problem=None, network=NETWORK, **options):
    return (heat() if problem is None else problem).collocate(network, **({"interior": 30, "boundary": 12} | options))


class TestRows:
    def test_they_are_the_operators_on_the_network(self):
        """30 rows of the equation, 4 for each face, in this order; features against automatic differentiation."""
        problem = collocated()
        assert isinstance(problem, SeparableProblem) and problem.targets.shape == (30 + 12, 1)
        points, theta = problem.inputs, problem.initial_parameters
        t, x = points.T
        one, zero = torch.ones(42, dtype=F64), torch.zeros(42, dtype=F64)
        inside, start, edge = one.clone(), zero.clone(), zero.clone()
        inside[30:], start[30:34], edge[34:] = 0, 1, 1
        terms = {(0,): inside, (1, 1): -(2 + x) * inside, (): start, (1,): torch.sign(x) * edge}
        expected = torch_operator(lambda p: torch_features(theta, p, (6,)), points, terms)
        torch.testing.assert_close(problem.features(theta, points), expected, rtol=1e-11, atol=1e-11)
        targets = (t * x) * inside + torch.cos(x) * start + 2.0 * edge
        torch.testing.assert_close(problem.targets[:, 0], targets)
        assert set(t[30:34].tolist()) == {0.0} and set(x[34:].tolist()) == {-1.0, 1.0}
        assert int((x[34:] == 1.0).sum()) == 4

    def test_predictions_are_the_network_itself(self):
        solution = solve(collocated(), initial_parameters=None, max_iterations=0, seed=0)
        at = torch.rand(7, 2, dtype=F64, generator=torch.Generator().manual_seed(0))
        expected = torch_features(solution.parameters, at, (6,)) @ solution.coefficients
        torch.testing.assert_close(solution.predict(at), expected[:, 0])
        assert isinstance(solution.predict(at.numpy()), np.ndarray)

    def test_predictions_of_a_system_have_a_column_each(self):
        system = PDE(
            BOX,
            lambda u, x: (u["a"].laplacian(), u["b"].laplacian() - u["a"].value),
            (0.0, 0.0),
            [pde.dirichlet("boundary", 1.0, of="a"), pde.dirichlet("boundary", lambda x: x["x"], of="b")],
            unknowns=("a", "b"),
        )
        for networks in (NETWORK, (NETWORK, mlp(2, (4,), seed=2))):
            solution = solve(collocated(system, networks), max_iterations=0, seed=0)
            assert solution.predict(torch.zeros(5, 2, dtype=F64)).shape == (5, 2)

    def test_the_network_of_the_caller_is_left_alone(self):
        before = nn.utils.parameters_to_vector(NETWORK.parameters()).clone()
        solve(collocated(), max_iterations=2, seed=0)
        assert torch.equal(nn.utils.parameters_to_vector(NETWORK.parameters()), before)

    @pytest.mark.parametrize("kind", ["deep", "torch", "float32", "sin"])
    def test_networks_of_every_kind(self, kind):
        network = {
            "deep": mlp(2, (5, 6)),
            "sin": mlp(2, (6,), activation="sin"),
            "torch": nn.Sequential(nn.Linear(2, 6), nn.Tanh()).double(),
            "float32": nn.Sequential(nn.Linear(2, 6), nn.Tanh()),
        }[kind]
        problem = collocated(network=network)
        values = problem.features(problem.initial_parameters, problem.inputs)
        assert values.dtype == problem.targets.dtype == F64 and bool(torch.isfinite(values).all())

    def test_default_regularization_is_at_rounding_level_and_can_be_given(self):
        problem = collocated()
        assert 0 < problem.regularization < 1e-20 * float(torch.sum(problem.weights**2))  # pyright: ignore[reportOptionalOperand]
        assert collocated(regularization=1e-3).regularization == 1e-3
        assert collocated(regularization=0.0).regularization == 0.0

    def test_an_equation_that_is_linearised_again_and_again_is_held_by_a_hundred_times_as_much(self):
        again = collocated(heat(linear=False)).regularization
        np.testing.assert_allclose(again, 100 * collocated().regularization, rtol=1e-9)

    def test_weights_of_the_equation_and_the_conditions(self):
        plain = collocated().weights
        assert plain is not None
        weighted = collocated(heat(weight=3.0)).weights
        torch.testing.assert_close(weighted, torch.cat([3 * plain[:30], plain[30:]]))


class TestPoints:
    def test_the_seed_decides_and_grids_need_none(self):
        for sampling in ("random", "latin-hypercube", "sobol"):
            one, same, other = (collocated(sampling=sampling, seed=seed).inputs for seed in (0, 0, 1))
            assert torch.equal(one, same) and not torch.equal(one, other)
            assert torch.equal(collocated(sampling=sampling, seed=np.random.default_rng(0)).inputs, one)
        assert torch.equal(collocated(seed=0).inputs, collocated(seed=1).inputs)

    @pytest.mark.parametrize("kind", [torch.Tensor, np.ndarray, list])
    def test_points_can_be_given(self, kind):
        points = BOX.scaled(torch.rand(9, 2, dtype=F64, generator=torch.Generator().manual_seed(0)))
        given = {torch.Tensor: points, np.ndarray: points.numpy(), list: points.tolist()}[kind]
        assert torch.equal(collocated(interior=given).inputs[:9], points)

    def test_points_of_one_coordinate_can_be_a_plain_array(self):
        line = PDE(Box({"x": (0, 1)}), lambda u, x: u.d("x", "x"), 0.0, [pde.dirichlet("boundary")])
        problem = line.collocate(mlp(1, (3,)), interior=np.linspace(0.1, 0.9, 5), boundary=2)
        assert problem.inputs[:, 0].tolist() == [*np.linspace(0.1, 0.9, 5), 0.0, 1.0]

    def test_no_rows_where_all_conditions_are_exact(self):
        problem = collocated(heat([pde.initial(exact=True)]), boundary=0)
        assert problem.targets.shape == (30, 1)

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"interior": 0}, ArgumentError, "interior must be an integer >= 1, got 0"),
            ({"interior": -5}, ArgumentError, "interior must be an integer >= 1"),
            ({"interior": 2.5}, ArgumentTypeError, "interior must be an integer"),
            ({"interior": True}, ArgumentTypeError, "interior must be an integer"),
            ({"interior": None}, ArgumentTypeError, "interior must be an integer"),
            ({"interior": "many"}, ArgumentTypeError, "interior must be an integer"),
            ({"interior": np.zeros((0, 2))}, ArgumentError, "interior is empty"),
            ({"interior": np.zeros((3, 3))}, ArgumentError, r"interior must have shape \(rows, 2\), got \(3, 3\)"),
            ({"interior": [[0.5, 1.5]]}, ArgumentError, r"interior: 1 of 1 points lie outside of Box.*\[0.5, 1.5\]"),
            ({"interior": [[0.5, float("nan")]]}, ArgumentError, "interior has 1 NaN"),
            ({"boundary": 2}, ArgumentError, "boundary must be >= 3, a point on each face of each condition, got 2"),
            ({"boundary": 0}, ArgumentError, "boundary must be >= 3"),
            ({"boundary": -1}, ArgumentError, "boundary must be an integer >= 0"),
            ({"boundary": 12.0}, ArgumentTypeError, "boundary must be an integer"),
            ({"sampling": "uniform"}, ArgumentError, "sampling must be one of 'grid', 'random', 'latin-hypercube'"),
            ({"seed": "a"}, ArgumentError, "seed must be"),
            ({"seed": -1}, ArgumentError, "seed must be"),
            ({"regularization": -1.0}, ArgumentError, "regularization must be"),
        ],
    )
    def test_what_is_refused(self, options, error, message):
        with pytest.raises(error, match=message):
            collocated(**options)


SYSTEM = {"equation": lambda u, x: (u["a"].laplacian(), u["b"].laplacian()), "unknowns": ("a", "b"), "source": 0.0}
BOTH = [pde.dirichlet("boundary", of="a"), pde.dirichlet("boundary", of="b")]


def bratu(equation=lambda u, x: u.d("x", "x") + torch.exp(u.value), **options):
    return PDE(Box({"x": (0, 1)}), equation, conditions=[Condition("boundary")], linear=False, **options)


class TestEquations:
    @pytest.mark.parametrize(
        ("make", "error", "message"),
        [
            (lambda: heat([]), ArgumentError, "conditions is empty: without any the solution is not determined"),
            (lambda: heat(()), ArgumentError, "conditions is empty"),
            (lambda: heat(["boundary"]), ArgumentTypeError, "conditions must be pde.Condition or pde.Periodic"),
            (lambda: heat([pde.dirichlet(("z", "lower"))]), ArgumentError, "'z' is no coordinate of the box"),
            (
                lambda: heat([pde.dirichlet(("x", "left"))]),
                ArgumentError,
                "the side must be 'lower', 'upper' or 'both'",
            ),
            (lambda: heat([pde.periodic("z")]), ArgumentError, "'z' is no coordinate of the box"),
            (lambda: heat([pde.dirichlet("boundary", of="a")]), ArgumentError, "of must name one of the unknowns"),
            (lambda: heat(equation=lambda u, x: u.value**2), ArgumentError, "equation is not linear in u"),
            (lambda: heat(equation=lambda u, x: u.value + 1), ArgumentError, "equation is not linear .* source"),
            (lambda: heat(equation=3), ArgumentTypeError, r"equation must be callable as equation\(u, x\)"),
            (lambda: heat(equation=lambda u, x: u.d("y")), ArgumentError, "'y' is no coordinate of the box"),
            (lambda: heat(equation=lambda u, x: (u.value, u.value)), ArgumentError, "returns 2 tensors for 1 unknowns"),
            (lambda: heat(equation=lambda u, x: u.value.sum()), ArgumentError, "as large as u.value"),
            (lambda: heat(equation=lambda u, x: 0 * u.value / 0), ArgumentError, "equation is NaN or infinite"),
            (lambda: heat(source=lambda x: x["x"][:, None]), ArgumentError, r"source must be a number or have shape"),
            (lambda: heat(source=lambda x: x["x"][1:]), ArgumentError, "source must be a number or have shape"),
            (lambda: heat(source=float("nan")), ArgumentError, "source is NaN"),
            (lambda: heat(source=lambda x: torch.log(-x["t"])), ArgumentError, "source is NaN or infinite at 16 of 16"),
            (lambda: heat(source=lambda x: x["y"]), ArgumentError, "source failed: KeyError: 'y'"),
            (lambda: heat(source=(0.0, 1.0)), ArgumentError, "source must have one entry for each of 1 equations"),
            (lambda: heat(source="0"), ArgumentTypeError, "source must be a number"),
            (lambda: heat(linear=1), ArgumentTypeError, "linear must be True or False, got 1"),
            (lambda: heat(weight=0), ArgumentError, "weight must be > 0"),
            (lambda: heat(weight=-1.0), ArgumentError, "weight must be finite and >= 0"),
            (lambda: heat(exact=lambda x: x["x"] / 0), ArgumentError, "exact is NaN or infinite"),
            (lambda: heat(exact=lambda x: x["x"][:3]), ArgumentError, "exact must be a number or have shape"),
            (lambda: heat(exact=(lambda x: x["x"],) * 2), ArgumentError, "exact must have one function for each of 1"),
            (lambda: PDE({"x": (0, 1)}, laplace, 0.0, BOTH), ArgumentTypeError, "domain must be a pde.Box, got dict"),
            (lambda: heat(BOTH, **SYSTEM | {"unknowns": ("a", "a")}), ArgumentError, "unknowns must have different"),
            (lambda: heat(BOTH, **SYSTEM | {"unknowns": ("a", 1)}), ArgumentTypeError, "unknowns must be a seq"),
            (lambda: heat(BOTH, **SYSTEM | {"source": (0.0,)}), ArgumentError, "one entry for each of 2 equations"),
            (
                lambda: heat(BOTH, **SYSTEM | {"equation": lambda u, x: u["a"].value}),
                ArgumentError,
                "equation returns 1 tensors for 2 unknowns: it needs one for each",
            ),
            (lambda: heat([pde.dirichlet("boundary")], **SYSTEM), ArgumentError, "of must name one of the unknowns"),
            (lambda: heat([pde.dirichlet("boundary", of="c")], **SYSTEM), ArgumentError, "got 'c'"),
            (lambda: heat([pde.neumann("boundary", of="c")], **SYSTEM), ArgumentError, "of must name .* got 'c'"),
            (lambda: heat([pde.neumann("boundary")], **SYSTEM), ArgumentError, "of must name .* got None"),
            (
                lambda: heat(BOTH, exact=lambda x: x["x"], **SYSTEM),
                ArgumentError,
                "one function for each of 2 unknowns",
            ),
            (
                lambda: heat([pde.initial(1.0, exact=True), pde.dirichlet(("x", "lower"), exact=True)]),
                ArgumentError,
                "conditions: the exact values on .* disagree where they meet",
            ),
            (lambda: PDE(BOX, laplace, 0.0, None), ArgumentTypeError, "conditions must be a list of pde.Condition"),
            (lambda: heat(3), ArgumentTypeError, "conditions must be a list of pde.Condition"),
            (lambda: heat(BOTH, **SYSTEM | {"unknowns": "ab"}), ArgumentTypeError, "unknowns must be a sequence"),
            (
                lambda: heat([pde.periodic("x", exact=True), pde.dirichlet(("x", "lower"), exact=True)]),
                ArgumentError,
                "x is exactly periodic and has an exact value on one of its faces",
            ),
            (
                lambda: heat([pde.periodic("x", exact=True), pde.initial(lambda x: x["x"], exact=True)]),
                ArgumentError,
                "x is exactly periodic and the exact values on other faces are not",
            ),
            (
                lambda: heat([pde.initial(1.0, exact=True), pde.initial(2.0, exact=True)]),
                ArgumentError,
                r"an exact value is given twice on \[\('t', 'lower'\)\]",
            ),
            (lambda: bratu(guess=(0.0, 0.0)), ArgumentError, "guess must have one entry for each of 1 unknowns, got 2"),
            (lambda: bratu(guess="zero"), ArgumentTypeError, "guess must be a number or a function"),
        ],
    )
    def test_what_is_refused(self, make, error, message):
        with pytest.raises(error, match=message):
            make()

    def test_a_condition_whose_operator_vanishes_is_named(self):
        problem = heat([pde.initial(), Condition(("t", "lower"), operator=lambda u, x: x["t"] * u.value)])
        with pytest.raises(ArgumentError, match=r"condition 2 of 2 .* coefficients of the operator are all zero"):
            collocated(problem)

    def test_a_guess_at_which_the_equation_is_not_finite_is_told(self):
        with pytest.raises(ArgumentError, match="equation is NaN or infinite where it is linearised: give a guess"):
            collocated(bratu(lambda u, x: u.d("x", "x") + torch.log(u.value)), mlp(1, (5,)), boundary=2)

    def test_a_single_condition_needs_no_list(self):
        assert len(heat(pde.dirichlet("boundary")).equations.conditions) == 1

    def test_its_text(self):
        assert repr(heat()) == "PDE(linear, on Box(t: [0, 1], x: [-1, 1]), 2 conditions)"


class TestFeatures:
    @pytest.mark.parametrize(
        ("network", "error", "message"),
        [
            (mlp(3, (4,)), ArgumentError, r"features must take 2 inputs, t, x"),
            (mlp(1, (4,)), ArgumentError, r"features must take 2 inputs, t, x"),
            (nn.Sequential(nn.Linear(3, 4), nn.Tanh()), ArgumentError, r"features must take 2 inputs, t, x"),
            (nn.Flatten(0), ArgumentError, "features has no parameters"),
            (None, ArgumentTypeError, "features must be a torch.nn.Module"),
            ("tanh", ArgumentTypeError, "features must be a torch.nn.Module"),
            ((), ArgumentError, "features must be one network, or one for each of 1 unknowns, got 0"),
            ((NETWORK, NETWORK), ArgumentError, "features must be one network, or one for each of 1 unknowns, got 2"),
            (features.from_function(lambda p, x: x * p, [1.0, 2.0]), ArgumentError, "features must be a network"),
        ],
    )
    def test_what_is_refused(self, network, error, message):
        with pytest.raises(error, match=message):
            collocated(network=network)

    def test_exactly_periodic_coordinates_take_two_inputs(self):
        problem = heat([pde.initial(), pde.periodic("x", exact=True)])
        assert collocated(problem, mlp(3, (4,))).inputs.shape[1] == 3
        with pytest.raises(ArgumentError, match=r"features must take 3 inputs, t, cos\(x\), sin\(x\)"):
            collocated(problem, mlp(2, (4,)))

    def test_systems(self):
        problem = heat(BOTH, **SYSTEM)
        with pytest.raises(ArgumentError, match="one for each of 2 unknowns, got 3"):
            collocated(problem, (NETWORK,) * 3)
        with pytest.raises(ArgumentError, match="features must take 2 inputs"):
            collocated(problem, (NETWORK, mlp(3, (4,))))
        assert collocated(problem).width == 14 and collocated(problem, (NETWORK, mlp(2, (3,)))).width == 7 + 4
