"""Coefficients of users' operators against closed forms, and of linearisations against differences."""

from itertools import combinations_with_replacement

import numpy as np
import pytest
import torch

from grassvp.errors import ArgumentError, ArgumentTypeError
from grassvp.pde import Box
from grassvp.pde.fields import Normal
from grassvp.pde.operators import Local, linear_terms, linearized_terms, values_of

NAMES, ROWS = "txyz", 11
COEFFICIENTS = (
    lambda x: 1.7 * torch.ones_like(x["t"]),
    lambda x: torch.sin(3 * x["t"]),
    lambda x: torch.exp(sum(x.values())),
    lambda x: x["t"] ** 2 - 0.5,
    lambda x: -1e5 * x["t"],
    lambda x: 1e-6 * torch.cos(sum(x.values())),
)


def box_of(d):
    return Box({name: (-1.0, 1.0 + k) for k, name in enumerate(NAMES[:d])})


def points_of(box, rows=ROWS, seed=0):
    return box.scaled(torch.from_numpy(np.random.default_rng(seed).random((rows, box.dimension))))


def local_of(function, d=2, unknowns=(), rows=ROWS, normal=None):
    box = box_of(d)
    return Local(function, box, points_of(box, rows), unknowns, "equation", normal)


def asked(u, index):
    return u.d(*(NAMES[i] for i in index)) if index else u.value


def all_indices(d, order):
    return [index for k in range(order + 1) for index in combinations_with_replacement(range(d), k)]


class TestLinear:
    @pytest.mark.parametrize("d", [1, 2, 3, 4])
    @pytest.mark.parametrize("seed", range(4))
    def test_random_operators_with_variable_coefficients(self, d, seed):
        rng = np.random.default_rng(seed)
        possible = all_indices(d, 4)
        chosen = [possible[k] for k in rng.choice(len(possible), min(5, len(possible)), replace=False)]
        functions = [COEFFICIENTS[k] for k in rng.choice(len(COEFFICIENTS), len(chosen), replace=False)]
        local = local_of(lambda u, x: sum(c(x) * asked(u, i) for c, i in zip(functions, chosen, strict=True)), d)
        (found,) = linear_terms(local)
        assert set(found) == {(0, index) for index in chosen}
        columns = local.box.columns(local.points)
        for c, index in zip(functions, chosen, strict=True):
            torch.testing.assert_close(found[0, index], c(columns), rtol=1e-15, atol=0.0)

    def test_terms_of_one_derivative_are_added(self):
        (found,) = linear_terms(local_of(lambda u, x: u.d("t", "x") + 2 * u.d("x", "t") - x["x"] * u.d("t", "x")))
        assert list(found) == [(0, (0, 1))]
        torch.testing.assert_close(found[0, (0, 1)], 3 - points_of(box_of(2))[:, 1])

    def test_one_row_and_one_point(self):
        for rows in (1, 2):
            (found,) = linear_terms(local_of(lambda u, x: x["t"] * u.value, 1, rows=rows))
            torch.testing.assert_close(found[0, ()], points_of(box_of(1), rows)[:, 0])

    def test_as_many_rows_as_features(self):
        """Where (n, rows) is square a wrong axis would go unnoticed by shapes alone."""
        for rows in (2, 3, 4):
            local = local_of(lambda u, x: x["t"] * u.value + x["x"] * u.d("x"), rows=rows)
            (found,) = linear_terms(local)
            t, x = local.points.T
            torch.testing.assert_close(found[0, ()], t)
            torch.testing.assert_close(found[0, (1,)], x)

    def test_a_system_has_a_block_for_each_equation(self):
        local = local_of(
            lambda u, x: (u["p"].laplacian() - x["t"] * u["q"].value, u["q"].d("x") + 3 * u["p"].d("t")),
            unknowns=("p", "q"),
        )
        first, second = linear_terms(local)
        t = local.points[:, 0]
        expected = [
            {(0, (0, 0)): 1.0, (0, (1, 1)): 1.0, (1, ()): -t, (1, (1,)): 0.0, (0, (0,)): 0.0},
            {(1, (1,)): 1.0, (0, (0,)): 3.0, (0, (0, 0)): 0.0, (0, (1, 1)): 0.0, (1, ()): 0.0},
        ]
        for found, wanted in zip((first, second), expected, strict=True):
            assert set(found) == set(wanted)
            for key, c in wanted.items():
                torch.testing.assert_close(found[key], c + torch.zeros(ROWS).double())

    def test_normals(self):
        (found,) = linear_terms(local_of(lambda u, x: 2 * u.normal + u.value, normal=Normal(1, -1.0)))
        assert {key: set(c.tolist()) for key, c in found.items()} == {(0, (1,)): {-2.0}, (0, ()): {1.0}}

    def test_a_divergence_written_out(self):
        """div(a grad u) = a lap u + grad a . grad u, held to the divergence of a polynomial's flux."""
        local = local_of(
            lambda u, x: torch.exp(x["t"]) * x["x"] * u.laplacian() + torch.exp(x["t"]) * (x["x"] * u.d("t") + u.d("x"))
        )
        (found,) = linear_terms(local)
        t, x = local.points.T
        derivatives = {(0,): 2 * t * x, (1,): t**2 + 3 * x**2, (0, 0): 2 * x, (1, 1): 6 * x}  # of t^2 x + x^3
        applied = sum(c * derivatives[index] for (_, index), c in found.items())
        flux_t = torch.exp(t) * x * (2 * t * x + 2 * x)  # d_t of e^t x 2 t x
        flux_x = torch.exp(t) * (t**2 + 9 * x**2)  # d_x of e^t x (t^2 + 3 x^2)
        assert isinstance(applied, torch.Tensor)
        torch.testing.assert_close(applied, flux_t + flux_x)

    def test_a_term_that_is_always_zero_stays(self):
        (found,) = linear_terms(local_of(lambda u, x: u.value + 0.0 * u.d("x")))
        assert found[0, (1,)].tolist() == [0.0] * ROWS

    @pytest.mark.parametrize("size", [1e-30, 1e-6, 1.0, 1e12, 1e100])
    def test_linearity_is_judged_by_scale(self, size):
        (found,) = linear_terms(local_of(lambda u, x: size * (u.d("t") - 0.3 * u.d("x", "x"))))
        torch.testing.assert_close(found[0, (0,)], torch.full((ROWS,), size, dtype=torch.float64))
        with pytest.raises(ArgumentError, match="not linear"):
            linear_terms(local_of(lambda u, x: size * (u.d("t") + 1e-3 * u.value * u.d("x"))))

    def test_coefficients_of_any_float_type(self):
        for coefficient in (lambda x: x["t"].float(), lambda x: torch.tensor(2), lambda x: np.float32(2.0)):
            (found,) = linear_terms(local_of(lambda u, x, c=coefficient: c(x) * u.value))
            assert found[0, ()].dtype == torch.float64

    @pytest.mark.parametrize(
        ("function", "error", "message"),
        [
            (lambda u, x: u.value**2, ArgumentError, "equation is not linear in u. For an equation .* linear=False"),
            (lambda u, x: u.value * u.d("x"), ArgumentError, "equation is not linear"),
            (lambda u, x: torch.sin(u.d("x")), ArgumentError, "equation is not linear"),
            (lambda u, x: torch.abs(u.value), ArgumentError, "equation is not linear"),
            (lambda u, x: u.value + 1e-3 * u.value**3, ArgumentError, "equation is not linear"),
            (lambda u, x: u.d("t") - 2, ArgumentError, "equation is not linear in u: it is 2 at u = 0. Move"),
            (lambda u, x: u.value + x["t"], ArgumentError, "not linear in u: it is .* at u = 0"),
            (lambda u, x: u.value - u.value.mean(-1, keepdim=True), ArgumentError, "equation couples points"),
            (lambda u, x: u.value.flip(-1), ArgumentError, "equation couples points"),
            (lambda u, x: torch.cumsum(u.value, -1), ArgumentError, "equation couples points"),
            (lambda u, x: x["t"], ArgumentError, "equation does not depend on u"),
            (lambda u, x: torch.zeros(()), ArgumentError, "equation does not depend on u"),
            (lambda u, x: u.value.sum(), ArgumentError, r"as large as u.value, \(3, 11\).*got \(\)"),
            (lambda u, x: u.value[..., None], ArgumentError, r"got \(3, 11, 1\)"),
            (lambda u, x: x["t"][:, None] * u.value[:1], ArgumentError, r"got \(11, 11\)"),
            (lambda u, x: u.value * float("nan"), ArgumentError, "equation is NaN or infinite at 11 of 11 points"),
            (lambda u, x: u.value / (x["t"] * 0), ArgumentError, "equation is NaN or infinite at 11"),
            (lambda u, x: u.value.numpy(), ArgumentTypeError, "equation must return a torch tensor .* got ndarray"),
            (lambda u, x: None, ArgumentTypeError, "equation must return a torch tensor .* got NoneType"),
            (lambda u, x: (u.value, 0), ArgumentTypeError, "equation must return a torch tensor"),
            (lambda u, x: u.d("z"), ArgumentError, "'z' is no coordinate of the box, which has t, x"),
            (lambda u, x: u.normal, ArgumentError, "u.normal is for the operators of conditions"),
            (lambda u, x: x["w"] * u.value, ArgumentError, "equation failed: KeyError: 'w'"),
            (lambda u: u.value, ArgumentError, "equation failed: TypeError"),
            (lambda u, x: u["v"].value, ArgumentError, "equation failed: TypeError"),
            (lambda u, x: u.laplace(), ArgumentError, "equation failed: AttributeError"),
            (lambda u, x: u.value * torch.ones(4), ArgumentError, "equation failed: RuntimeError"),
        ],
    )
    def test_what_is_refused(self, function, error, message):
        with pytest.raises(error, match=message):
            linear_terms(local_of(function))

    def test_a_result_that_is_a_list_or_empty(self):
        assert len(linear_terms(local_of(lambda u, x: [u.value]))) == 1
        with pytest.raises(ArgumentError):
            linear_terms(local_of(lambda u, x: ()))

    def test_what_changes_with_u_is_refused(self):
        def moody(u, x):
            return u.value + 0 * u.d("x") if float(u.value[0, 0]) == 1.0 else u.value

        with pytest.raises(ArgumentError, match="equation asks for other derivatives at other values of u"):
            linear_terms(local_of(moody))


NONLINEAR = {
    "Burgers": (lambda u, x: u.d("t") + u.value * u.d("x") - 0.01 * u.d("x", "x"), [(0,), (), (1,), (1, 1)]),
    "Allen-Cahn": (lambda u, x: u.d("t") - 1e-3 * u.d("x", "x") + 5 * (u.value**3 - u.value), [(0,), (1, 1), ()]),
    "exponential": (lambda u, x: u.laplacian() + torch.exp(u.value) * x["t"], [(0, 0), (1, 1), ()]),
    "eikonal": (lambda u, x: torch.sqrt(1 + u.d("t") ** 2 + u.d("x") ** 2), [(0,), (1,)]),
    "Monge-Ampere": (lambda u, x: u.d("t", "t") * u.d("x", "x") - u.d("t", "x") ** 2, [(0, 0), (1, 1), (0, 1)]),
    "p-Laplace": (
        lambda u, x: (u.d("x") ** 2 + 0.1) * u.d("x", "x") + torch.tanh(x["x"] * u.value),
        [(1,), (1, 1), ()],
    ),
    "fourth order": (lambda u, x: u.d("x", "x", "x", "x") * torch.cos(u.value), [(1, 1, 1, 1), ()]),
    "linear": (lambda u, x: x["t"] * u.d("x") - u.value, [(1,), ()]),
}


class TestLinearised:
    @pytest.mark.parametrize("name", NONLINEAR)
    @pytest.mark.parametrize("seed", [0, 1])
    def test_against_central_differences(self, name, seed):
        function, indices = NONLINEAR[name]
        rng = np.random.default_rng(seed)
        at = {(0, index): torch.from_numpy(rng.uniform(-1, 1, ROWS)) for index in indices}
        local = local_of(function)
        ((terms, F),) = linearized_terms(local, lambda j, index: at[j, index])
        assert set(terms) == set(at)
        torch.testing.assert_close(F, local(lambda j, index: at[j, index])[0])
        h = 1e-6
        for key in at:
            ends = [local(lambda j, i, s=s: at[j, i] + s * h * ((j, i) == key))[0] for s in (1, -1)]  # noqa: B023
            torch.testing.assert_close(terms[key], (ends[0] - ends[1]) / (2 * h), rtol=1e-8, atol=1e-8)

    def test_closed_forms(self):
        """Burgers: the derivatives of u_t + u u_x - nu u_xx are u_x, 1, u and -nu."""
        function, indices = NONLINEAR["Burgers"]
        rng = np.random.default_rng(0)
        at = {index: torch.from_numpy(rng.standard_normal(ROWS)) for index in indices}
        ((terms, _),) = linearized_terms(local_of(function), lambda j, index: at[index])
        torch.testing.assert_close(terms[0, ()], at[(1,)])
        torch.testing.assert_close(terms[0, (1,)], at[()])
        torch.testing.assert_close(terms[0, (0,)], torch.ones(ROWS).double())
        torch.testing.assert_close(terms[0, (1, 1)], torch.full((ROWS,), -0.01).double())

    def test_a_linear_operator_is_its_own_linearisation(self):
        local = local_of(lambda u, x: x["t"] * u.d("x") - torch.exp(x["x"]) * u.d("t", "x", "x"))
        (linear,) = linear_terms(local)
        ((terms, _),) = linearized_terms(local, lambda j, index: torch.full((ROWS,), 0.3).double())
        assert set(terms) == set(linear)
        for key, c in linear.items():
            torch.testing.assert_close(terms[key], c)

    def test_a_system(self):
        """A reaction: the derivatives of u v and of u - v^2."""
        local = local_of(lambda u, x: (u["a"].value * u["b"].value, u["a"].value - u["b"].d("x") ** 2), 2, ("a", "b"))
        at = {(0, ()): 2.0, (1, ()): 3.0, (1, (1,)): 5.0}
        (first, F), (second, G) = linearized_terms(local, lambda j, index: torch.full((ROWS,), at[j, index]).double())
        values = lambda terms: {key: float(c[0]) for key, c in terms.items()}  # noqa: E731
        assert values(first) == {(0, ()): 3.0, (1, ()): 2.0, (1, (1,)): 0.0}
        assert values(second) == {(0, ()): 1.0, (1, ()): 0.0, (1, (1,)): -10.0}
        assert F.tolist() == [6.0] * ROWS and G.tolist() == [2.0 - 25.0] * ROWS

    @pytest.mark.parametrize(
        ("function", "error", "message"),
        [
            (lambda u, x: x["t"] ** 2, ArgumentError, "does not depend on u"),
            (lambda u, x: (u.value**2)[..., None], ArgumentError, r"got \(11, 1\)"),
            (lambda u, x: u.value.sum(), ArgumentError, r"as large as u.value, \(11,\)"),
            (lambda u, x: u.d("q") * u.value, ArgumentError, "'q' is no coordinate"),
            (lambda u, x: 3.0, ArgumentTypeError, "must return a torch tensor"),
            (lambda u, x: u.value.numpy() ** 2, ArgumentTypeError, "must return a torch tensor"),
        ],
    )
    def test_what_is_refused(self, function, error, message):
        with pytest.raises(error, match=message):
            linearized_terms(local_of(function), lambda j, index: torch.ones(ROWS).double())

    def test_coupled_points_are_refused(self):
        """Their derivatives by forward differentiation would be sums over the points."""
        for size in (1e-30, 1.0, 1e30):
            for function in (lambda u, x: u.value**2 + u.value.mean(), lambda u, x: u.value * u.d("x").flip(-1)):
                local = local_of(lambda u, x, f=function, s=size: s * f(u, x))
                with pytest.raises(ArgumentError, match="equation couples points"):
                    linearized_terms(local, lambda j, i: torch.ones(ROWS).double())

    def test_an_operator_that_is_not_finite_everywhere_is_still_pointwise(self):
        """The logarithm of random fields is NaN in places: only where it is linearised does it have to be finite."""
        ((terms, F),) = linearized_terms(
            local_of(lambda u, x: torch.log(u.value)), lambda j, i: torch.full((ROWS,), 2.0).double()
        )
        assert terms[0, ()].tolist() == [0.5] * ROWS
        torch.testing.assert_close(F, torch.full((ROWS,), 2.0).double().log())


class TestValues:
    BOX = box_of(2)

    @pytest.mark.parametrize("kind", ["number", "integer", "numpy", "zero-d", "tensor", "function"])
    def test_every_kind(self, kind):
        given = {
            "number": 2.0,
            "integer": 2,
            "numpy": np.float32(2.0),
            "zero-d": torch.tensor(2),
            "tensor": torch.full((ROWS,), 2.0),
            "function": lambda x: 2.0 + 0 * x["t"],
        }[kind]
        found = values_of(given, self.BOX, points_of(self.BOX), "source")
        assert found.dtype == torch.float64 and found.tolist() == [2.0] * ROWS

    def test_functions_see_the_columns(self):
        points = points_of(self.BOX)
        torch.testing.assert_close(
            values_of(lambda x: x["t"] - 2 * x["x"], self.BOX, points, "source"), points[:, 0] - 2 * points[:, 1]
        )

    @pytest.mark.parametrize(
        ("given", "error", "message"),
        [
            (lambda x: x["t"][:, None], ArgumentError, r"source must be a number or have shape \(11,\), got \(11, 1\)"),
            (lambda x: torch.stack(list(x.values())), ArgumentError, r"got \(2, 11\)"),
            (torch.zeros(3), ArgumentError, r"got \(3,\)"),
            (float("nan"), ArgumentError, "source is NaN or infinite"),
            (lambda x: 1 / 0, ArgumentError, "source failed: ZeroDivisionError"),
            (lambda x: x["nu"], ArgumentError, "source failed: KeyError: 'nu'"),
            (lambda: 0.0, ArgumentError, "source failed: TypeError"),
            ("0", ArgumentTypeError, "source must be a number"),
            (None, ArgumentTypeError, "source must be a number"),
            (1 + 1j, ArgumentTypeError, "source must be real"),
            (lambda x: x["t"] + 1j, ArgumentTypeError, "source must be real"),
            (np.ones(ROWS) + 1j, ArgumentTypeError, "source must be real"),
        ],
    )
    def test_what_is_refused(self, given, error, message):
        with pytest.raises(error, match=message):
            values_of(given, self.BOX, points_of(self.BOX), "source")
