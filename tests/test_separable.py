"""What a problem accepts, what it converts, and what it refuses by name."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from grassvp import ReducedProblem, SeparableProblem
from grassvp.errors import ArgumentError, GrassvpError
from grassvp.features import differential_operator, from_function, mlp, under_operator

X, Y = np.linspace(0.0, 1.0, 8).reshape(4, 2), np.arange(4.0)


class Returns(nn.Module):
    """A module whose output has the given shape, or is whatever `result` makes of it."""

    def __init__(self, result) -> None:
        super().__init__()
        self.scale, self.result = nn.Parameter(torch.ones(())), result

    def forward(self, x):
        return self.result(self.scale * x)


def problem(**changes):
    arguments = {"features": mlp(2, (3,)), "inputs": X, "targets": Y, "regularization": 1e-2} | changes
    return SeparableProblem(arguments.pop("features"), arguments.pop("inputs"), arguments.pop("targets"), **arguments)


def spoiled(array, value):
    bad = np.array(array, dtype=complex if isinstance(value, complex) else float)
    bad.flat[1] = value
    return bad


BAD = [
    ("features", None),
    ("features", "mlp"),
    ("features", lambda x: x),
    ("features", nn.Tanh()),  # no parameters
    ("features", Returns(lambda x: x.sum())),
    ("features", Returns(lambda x: x[:, 0])),
    ("features", Returns(lambda x: x[:, :, None])),
    ("features", Returns(lambda x: x[:2])),
    ("features", Returns(lambda x: x[:, :0])),
    ("features", Returns(lambda x: (x, x))),
    ("features", Returns(lambda x: x.detach().numpy())),
    ("features", Returns(lambda x: x.to(torch.complex128))),
    ("features", Returns(lambda x: x.float())),
    ("features", Returns(lambda x: x @ torch.ones(7, 2, dtype=x.dtype))),
    ("features", from_function(lambda p, x: p * x[:, 0], [1.0])),
    ("inputs", np.ones((4, 3))),
    ("inputs", np.ones(4)),
    ("inputs", np.ones((4, 2, 1))),
    ("inputs", np.ones((0, 2))),
    ("inputs", [[1.0, 2.0], [3.0]]),
    ("inputs", [["a", "b"]] * 4),
    ("inputs", None),
    ("targets", 1e200 * Y),
    ("targets", 1e-200 * Y),
    ("weights", 1e-200 * np.ones(4)),
    ("targets", np.ones((4, 2, 1))),
    ("targets", np.float64(3.0)),
    ("targets", np.ones((4, 0))),
    ("targets", np.ones(0)),
    ("targets", ["a"] * 4),
    ("targets", [Fraction(1, 2)] * 4),
    ("targets", None),
    ("targets", torch.ones(4, dtype=torch.float16)),
    ("weights", np.ones(3)),
    ("weights", np.ones((4, 1))),
    ("weights", -np.ones(4)),
    ("weights", [1.0, 1.0, 1.0, -1e-9]),
    ("weights", np.zeros(4)),
    ("weights", 2.0),
    ("weights", "auto"),
    ("regularization", -1e-3),
    ("regularization", np.nan),
    ("regularization", np.inf),
    ("regularization", 1j),
    ("regularization", None),
    ("regularization", True),
    ("regularization", [0.1]),
    ("regularization", np.array([0.1, 0.2])),
    ("regularization", torch.tensor([0.1, 0.2])),
    ("regularization", "ridge"),
    ("rank_tolerance", -1.0),
    ("rank_tolerance", "svd"),
    *[("inputs", spoiled(X, value)) for value in (np.nan, np.inf, 1j)],
    *[("targets", spoiled(Y, value)) for value in (np.nan, -np.inf, 1j)],
    *[("weights", spoiled(np.ones(4), value)) for value in (np.nan, np.inf, 1j)],
    *[(name, torch.from_numpy(spoiled(np.ones(4), 1j))) for name in ("targets", "weights")],
    *[(name, np.ones(4).astype(object)) for name in ("inputs", "targets", "weights")],
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=[f"{i}-{name}" for i, (name, _) in enumerate(BAD)])
def test_bad_arguments_are_named(name, value):
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        problem(**{name: value})
    assert isinstance(caught.value, GrassvpError)


def test_messages_carry_the_numbers():
    with pytest.raises(ArgumentError, match=r"targets has 2 NaN or infinite entries of 4"):
        problem(targets=[0.0, np.nan, np.inf, 1.0])
    with pytest.raises(ArgumentError, match=r"\(4, n\).*got \(5, 4\)"):
        problem(inputs=np.ones((5, 2)))
    with pytest.raises(ArgumentError, match=r"weights must have shape \(4,\), got \(3,\)"):
        problem(weights=np.ones(3))
    with pytest.raises(ArgumentError, match=r"-0\.5"):
        problem(regularization=-0.5)
    with pytest.raises(ArgumentError, match="no parameters"):
        problem(features=nn.Tanh())


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="regularisation"):
        problem(regularisation=1.0)
    with pytest.raises(TypeError):
        SeparableProblem(mlp(2, (3,)), X, Y, np.ones(4))  # weights go by name


def test_operator_rows_must_match():
    features = under_operator(mlp(2, (3,)), differential_operator(5, 2, {(0,): 1.0}))
    with pytest.raises(ArgumentError, match=r"inputs has 4 rows.*5"):
        problem(features=features)


@pytest.mark.parametrize(
    "convert",
    [
        lambda a: a.astype(int),
        lambda a: a.astype(np.uint8),
        lambda a: a.astype(bool),
        lambda a: a.tolist(),
        lambda a: torch.from_numpy(a).long(),
        lambda a: torch.from_numpy(a).requires_grad_(),
        lambda a: np.asfortranarray(a)[::-1][::-1],
        lambda a: a.astype(np.longdouble),
    ],
    ids=["int", "uint8", "bool", "list", "long", "requires grad", "strided", "longdouble"],
)
def test_what_can_be_converted_becomes_float64(convert):
    x, y, w = np.array([[0, 1], [1, 1], [1, 0], [0, 0.0]]), np.array([0, 1, 1, 0.0]), np.ones(4)
    made = problem(inputs=convert(x), targets=convert(y), weights=convert(w), regularization=1)
    plain = problem(inputs=x, targets=y, weights=w, regularization=1.0)
    for name in ("inputs", "targets", "weights"):
        tensor = getattr(made, name)
        assert tensor.dtype == torch.float64 and not tensor.requires_grad
        assert torch.equal(tensor, getattr(plain, name))
    theta = plain.initial_parameters
    assert ReducedProblem(made).value(theta) == ReducedProblem(plain).value(theta)


def test_read_only_and_negative_strides():
    y = np.arange(4.0)
    y.flags.writeable = False
    assert problem(targets=y).targets[:, 0].tolist() == [0, 1, 2, 3]
    assert problem(targets=y[::-1]).targets[:, 0].tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("make", [np.array, torch.tensor], ids=["numpy", "torch"])
def test_the_problem_keeps_its_data_when_the_callers_arrays_change(make):
    x, y, w = make(X.tolist()), make(Y.tolist()), make([1.0, 2.0, 1.0, 1.0])
    reduced = ReducedProblem(problem(inputs=x, targets=y, weights=w))
    before = reduced.value(reduced.initial_parameters)
    x += 1.0
    y += 1.0
    w *= 3.0
    assert reduced.value(reduced.initial_parameters) == before


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3)], ids=str)
def test_predictions_have_as_many_dimensions_as_the_targets(shape, kind):
    made = problem(targets=kind(np.ones(shape)))
    assert (made.rows, made.outputs, made.width) == (4, shape[1] if len(shape) == 2 else 1, 4)
    point = ReducedProblem(made).linearize(made.initial_parameters)
    assert point.coefficients.shape == (4, made.outputs)
    new = kind(np.linspace(0, 1, 14).reshape(7, 2))
    predicted = made.predict(point.parameters, point.coefficients, new)
    assert predicted.shape == (7, *shape[1:])
    Phi = made.features(point.parameters, torch.as_tensor(new))
    torch.testing.assert_close(predicted.reshape(7, -1), Phi @ point.coefficients)
    with pytest.raises(ArgumentError, match="inputs"):
        made.predict(point.parameters, point.coefficients, np.ones((7, 3)))


def test_one_dimensional_inputs_are_one_column():
    flat, column = (problem(features=mlp(1, (3,)), inputs=x) for x in (np.arange(4.0), np.arange(4.0)[:, None]))
    theta = flat.initial_parameters
    assert ReducedProblem(flat).value(theta) == ReducedProblem(column).value(theta)
    module = problem(features=nn.Sequential(nn.Linear(1, 3), nn.Tanh()), inputs=np.arange(4.0))
    assert module.width == 3


def test_float32_stays_float32():
    x, y = X.astype(np.float32), Y.astype(np.float32)
    for features in (mlp(2, (3,)), mlp(2, (3, 3)), nn.Sequential(nn.Linear(2, 3), nn.Tanh())):
        for lam in (0.0, 1e-2):
            small = ReducedProblem(
                problem(features=features, inputs=x, targets=y, weights=np.ones(4), regularization=lam)
            )
            large = ReducedProblem(problem(features=features, weights=np.ones(4), regularization=lam))
            theta = small.initial_parameters
            assert theta.dtype == torch.float32 and small.problem.weights.dtype == torch.float32
            point, v = small.linearize(theta), torch.ones_like(theta)
            tensors = [
                point.residual,
                point.coefficients,
                point.gradient,
                point.jacobian(),
                point.jacobian("kaufman"),
                point.hessian(),
                point.hessian_vector_product(v),
                point.jacobian_product(v),
                point.jacobian_adjoint_product(point.residual),
            ]
            assert {tensor.dtype for tensor in tensors} == {torch.float32}
            exact = large.linearize(theta.double())
            slope = 1 + float(exact.jacobian().norm())
            torch.testing.assert_close(point.gradient.double(), exact.gradient, rtol=0, atol=1e-4 * slope**2)
            assert small.gradient(theta.double().numpy()).dtype == np.float32
    mixed = problem(inputs=x)
    assert mixed.targets.dtype == mixed.inputs.dtype == torch.float64


def test_zero_weights_ignore_their_rows():
    w = np.array([1.0, 0.0, 2.0, 0.5])
    full = ReducedProblem(problem(weights=w, regularization=1e-2))
    less = ReducedProblem(problem(inputs=X[w > 0], targets=Y[w > 0], weights=w[w > 0], regularization=1e-2))
    theta = full.initial_parameters
    assert full.value(theta) == pytest.approx(less.value(theta), rel=1e-12)
    np.testing.assert_allclose(full.gradient(theta), less.gradient(theta), rtol=1e-10, atol=1e-12)


def test_repr():
    text = repr(problem(weights=np.ones(4), regularization=0.25))
    assert all(part in text for part in ("4 rows", "4 features", "1 outputs", "9 parameters", "0.25", "weighted"))
    assert text in repr(ReducedProblem(problem(weights=np.ones(4), regularization=0.25)))
