"""Manufactured solutions for every kind of condition and equation, by random features and one linear solve.

Sources and prescribed values come from reverse-mode derivatives of a known solution, and outward normals from the faces
themselves. Without any one of its conditions, or with another value there, each problem must have another solution.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch

from grassvp import pde, solve
from grassvp.errors import ArgumentError
from grassvp.features import mlp
from grassvp.pde import Box, Condition

sin, cos, exp, pi = torch.sin, torch.cos, torch.exp, torch.pi


class Known:
    """A known function in place of an unknown, with its derivatives by nested reverse mode."""

    def __init__(self, function, x, normal=None):
        self.x = {name: column.detach().clone().requires_grad_() for name, column in x.items()}
        self.function, self.outward = function, normal
        self.value = function(self.x)

    def d(self, *names):
        found = self.value
        for name in names:
            if not found.requires_grad:
                return torch.zeros_like(found)
            (found,) = torch.autograd.grad(
                found.sum(), self.x[name], create_graph=True, allow_unused=True, materialize_grads=True
            )
        return found

    def laplacian(self, *names):
        return sum(self.d(name, name) for name in names or self.x)

    @property
    def normal(self):
        name, side = self.outward
        return (1 if side == "upper" else -1) * self.d(name)


@dataclass(frozen=True)
class Case:
    """A problem with a known solution; `conditions` are functions of the case, which has the values to prescribe."""

    axes: dict[str, tuple[float, float]]
    equation: Any
    exact: Any  # a function, or a tuple of them
    conditions: list[Any]
    unknowns: tuple[str, ...] = ()
    width: int = 150
    interior: int = 400
    boundary: int = 150
    bar: float = 1e-6
    scale: float = 0.5
    networks: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def functions(self):
        return self.exact if isinstance(self.exact, tuple) else (self.exact,)

    def known(self, x, normal=None):
        parts = [Known(function, x, normal) for function in self.functions]
        return dict(zip(self.unknowns, parts, strict=True)) if self.unknowns else parts[0]

    def source(self, number):
        def source(x):
            result = self.equation(self.known(x), x)
            return (result[number] if isinstance(result, tuple) else result).detach()

        return source

    def problem(self, conditions=None):
        count = max(len(self.unknowns), 1)
        sources = tuple(self.source(k) for k in range(count))
        given = [make(self) for make in self.conditions] if conditions is None else conditions
        flat = [each for part in given for each in (part if isinstance(part, list) else [part])]
        source = sources if self.unknowns else sources[0]
        return pde.PDE(Box(self.axes), self.equation, source, flat, exact=self.exact, unknowns=self.unknowns)

    def error(self, problem, seed=0):
        embedding = problem.equations.embedding
        inputs = len(self.axes) if embedding is None else embedding.width
        networks = tuple(mlp(inputs, (self.width,), seed=k) for k in range(self.networks))
        found = problem.collocate(
            networks if self.networks > 1 else networks[0],
            interior=self.interior,
            boundary=self.boundary,
            **{"sampling": "grid" if len(self.axes) < 3 else "sobol", **self.options},
        )
        theta = found.features.sample(np.random.default_rng(seed), found.inputs, self.scale)
        solution = solve(found, initial_parameters=theta, max_iterations=0)
        return problem.relative_l2_error(solution)


def value(on, of=None, **options):
    """Prescribe the value of the solution on some faces."""

    def make(case):
        number = case.unknowns.index(of) if case.unknowns else 0
        return pde.dirichlet(on, case.functions[number], of=of, **options)

    return make


def initial(of=None, **options):
    return lambda case: pde.initial(case.functions[case.unknowns.index(of) if of else 0], of=of, **options)


def velocity(of=None):
    def make(case):
        number = case.unknowns.index(of) if of else 0
        return pde.initial_velocity(lambda x: Known(case.functions[number], x).d("t").detach(), of=of)

    return make


def on_faces(faces, condition):
    """One condition for each face, whose prescribed values are what `operator` makes of the known solution there."""

    def make(case):
        found = []
        for face in faces:
            given, operator = condition(face)
            found.append(
                replace(given, equals=lambda x, f=face, op=operator: op(case.known(x, f), x).detach()),
            )
        return found

    return make


def flux(*faces, of=None):
    def operator(u, x):
        return (u[of] if of else u).normal

    return on_faces(faces, lambda face: (pde.neumann(face, of=of), operator))


def robin(*faces, a, b):
    return on_faces(faces, lambda face: (pde.robin(face, a, b), lambda u, x: a(x) * u.value + b(x) * u.normal))


def operator(face, function):
    return on_faces([face], lambda face: (Condition(face, operator=function), function))


def periodic(axis, **options):
    return lambda case: pde.periodic(axis, **options)


LINE = {"x": (-0.5, 1.5)}
SQUARE = {"x": (0.0, 1.0), "y": (-1.0, 1.0)}
TIMED = {"t": (0.0, 1.0), "x": (-1.0, 1.0)}
FACES = [("x", "lower"), ("x", "upper"), ("y", "lower"), ("y", "upper")]


def wavy(x):
    return sin(2 * x["x"] + 1) * exp(x["y"] / 2) + x["x"] * x["y"]


def line(x):
    return sin(3 * x["x"]) + x["x"] ** 2


def turning(x):
    """Of period 2 in x."""
    return exp(-x["t"] / 2) * cos(x["t"] + pi * x["x"]) + x["t"]


def divergence(a, a_x, a_y):
    return lambda u, x: a(x) * u.laplacian() + a_x(x) * u.d("x") + a_y(x) * u.d("y")


VARIABLE = divergence(
    lambda x: 2 + sin(x["x"] + x["y"]), lambda x: cos(x["x"] + x["y"]), lambda x: cos(x["x"] + x["y"])
)


def heat(u, x):
    return u.d("t") - 0.3 * u.d("x", "x")


def wave(u, x):
    return u.d("t", "t") - u.d("x", "x")


CASES = {
    "two points": Case(
        LINE, lambda u, x: u.d("x", "x") + x["x"] * u.value, line, [value(("x", "lower")), value(("x", "upper"))]
    ),
    "Neumann and Robin on a line": Case(
        LINE,
        lambda u, x: u.d("x", "x") - u.d("x"),
        line,
        [flux(("x", "lower")), robin(("x", "upper"), a=lambda x: 1 + x["x"] ** 2, b=lambda x: cos(x["x"]))],
    ),
    "third order": Case(
        LINE,
        lambda u, x: u.d("x", "x", "x") + u.value,
        line,
        [value(("x", "both")), flux(("x", "lower"))],
    ),
    "beam, clamped": Case(
        LINE,
        lambda u, x: u.d("x", "x", "x", "x"),
        line,
        [value(("x", "lower")), value(("x", "upper")), flux(("x", "lower")), flux(("x", "upper"))],
        width=50,
        bar=1e-5,
    ),
    "beam on a foundation, supported": Case(
        LINE,
        lambda u, x: u.d("x", "x", "x", "x") + (1 + x["x"]) * u.value,
        line,
        [value(("x", "both"))]
        + [operator(("x", side), lambda u, x: (2 + x["x"]) * u.d("x", "x")) for side in ("lower", "upper")],
        width=50,
        bar=1e-5,
    ),
    "Dirichlet": Case(SQUARE, lambda u, x: u.laplacian(), wavy, [value("boundary")]),
    "Dirichlet, a list of faces": Case(
        SQUARE,
        lambda u, x: u.laplacian(),
        wavy,
        [value([("x", "both"), ("y", "lower")]), value(("y", "upper"))],
    ),
    "Dirichlet, exact": Case(SQUARE, lambda u, x: u.laplacian(), wavy, [value("boundary", exact=True)]),
    "Dirichlet, exact in part": Case(
        SQUARE,
        VARIABLE,
        wavy,
        [value(("x", "both"), exact=True), value(("y", "lower")), flux(("y", "upper"))],
    ),
    "Neumann on every face": Case(
        SQUARE,
        lambda u, x: u.value - u.laplacian(),
        wavy,
        [flux(face) for face in FACES],
    ),
    "Robin on every face": Case(
        SQUARE,
        VARIABLE,
        wavy,
        [robin(face, a=lambda x: 1 + x["x"] * x["y"] / 2, b=lambda x: 0.5 + x["x"] ** 2) for face in FACES],
    ),
    "a flux in divergence form": Case(SQUARE, VARIABLE, wavy, [flux(FACES[0]), value(FACES[1:])]),
    "an oblique derivative": Case(
        SQUARE,
        lambda u, x: u.laplacian() + x["x"] * u.d("y"),
        wavy,
        [value(FACES[:3]), operator(FACES[3], lambda u, x: u.normal + x["x"] * u.d("x") - 0.3 * u.value)],
    ),
    "mixed derivatives": Case(
        SQUARE,
        lambda u, x: u.laplacian() + (0.5 + x["x"] / 4) * u.d("x", "y") - u.d("x"),
        wavy,
        [value("boundary")],
    ),
    "biharmonic": Case(
        SQUARE,
        lambda u, x: u.d("x", "x", "x", "x") + 2 * u.d("x", "x", "y", "y") + u.d("y", "y", "y", "y"),
        wavy,
        [value("boundary"), *(flux(face) for face in FACES)],
        bar=1e-5,
        boundary=240,
    ),
    "heat, Dirichlet": Case(TIMED, heat, turning, [initial(), value(("x", "both"))], bar=1e-5),
    "heat, Neumann": Case(TIMED, heat, turning, [initial(), flux(("x", "lower")), flux(("x", "upper"))], bar=1e-5),
    "heat, periodic": Case(TIMED, heat, turning, [initial(), periodic("x")], bar=1e-5),
    "heat, periodic exactly": Case(
        TIMED, heat, turning, [initial(), periodic("x", exact=True)], width=350, interior=700, bar=1e-5
    ),
    "heat, periodic and initial exactly": Case(
        TIMED, heat, turning, [initial(exact=True), periodic("x", exact=True)], width=350, interior=700, bar=1e-5
    ),
    "heat, periodic, initial value exactly": Case(TIMED, heat, turning, [initial(exact=True), periodic("x")], bar=1e-5),
    "advection, periodic": Case(
        TIMED,
        lambda u, x: u.d("t") + (1 + x["x"] ** 2 / 2) * u.d("x"),
        turning,
        [initial(), periodic("x", derivatives=0)],
        bar=1e-5,
    ),
    "wave": Case(
        TIMED,
        wave,
        lambda x: sin(2 * x["x"] - 1) * cos(2 * x["t"]) + x["t"] ** 2 * x["x"],
        [initial(), velocity(), value(("x", "both"))],
    ),
    "wave, exact faces": Case(
        TIMED,
        wave,
        lambda x: sin(2 * x["x"] - 1) * cos(2 * x["t"]) + x["t"],
        [initial(exact=True), velocity(), value(("x", "both"), exact=True)],
    ),
    "heat in the plane": Case(
        {"t": (0.0, 1.0), "x": (0.0, 1.0), "y": (0.0, 2.0)},
        lambda u, x: u.d("t") - u.laplacian("x", "y") + x["y"] * u.d("x"),
        lambda x: exp(-x["t"]) * cos(x["x"]) * sin(x["y"] + x["t"]),
        [initial(), value(("x", "both")), flux(("y", "lower"), ("y", "upper"))],
        width=400,
        interior=900,
        boundary=400,
        bar=1e-5,
    ),
    "Poisson in space": Case(
        {"x": (0.0, 1.0), "y": (0.0, 1.0), "z": (-1.0, 0.0)},
        lambda u, x: u.laplacian(),
        lambda x: sin(x["x"] + x["y"]) * exp(x["z"]),
        [value(("z", "lower"), exact=True), value([("x", "both"), ("y", "both")]), flux(("z", "upper"))],
        width=400,
        interior=900,
        boundary=400,
        bar=1e-5,
    ),
    "heat in space": Case(
        {"t": (0.0, 1.0), "x": (0.0, 1.0), "y": (0.0, 1.0), "z": (0.0, 1.0)},
        lambda u, x: u.d("t") - u.laplacian("x", "y", "z"),
        lambda x: exp(-x["t"] / 2) * sin(x["x"] / 2 - x["y"] / 2 + x["z"] / 2),
        [initial(), value([("x", "both"), ("y", "both"), ("z", "both")])],
        width=300,
        interior=800,
        boundary=600,
        scale=0.3,
        bar=2e-4,
    ),
    "mixed Poisson": Case(
        SQUARE,
        lambda u, x: (
            u["p"].value - u["u"].d("x"),
            u["q"].value - u["u"].d("y"),
            u["p"].d("x") + u["q"].d("y"),
        ),
        (
            wavy,
            lambda x: 2 * cos(2 * x["x"] + 1) * exp(x["y"] / 2) + x["y"],
            lambda x: sin(2 * x["x"] + 1) * exp(x["y"] / 2) / 2 + x["x"],
        ),
        [value("boundary", of="u")],
        unknowns=("u", "p", "q"),
        bar=1e-5,
    ),
    "reaction and diffusion": Case(
        TIMED,
        lambda u, x: (
            u["a"].d("t") - 0.2 * u["a"].d("x", "x") + u["b"].value,
            u["b"].d("t") - 0.1 * u["b"].d("x", "x") - x["x"] * u["a"].value,
        ),
        (lambda x: cos(2 * x["x"] + x["t"]), lambda x: exp(-x["t"]) * sin(x["x"])),
        [
            initial("a"),
            initial("b"),
            value(("x", "both"), "a"),
            flux(("x", "lower"), of="b"),
            flux(("x", "upper"), of="b"),
        ],
        unknowns=("a", "b"),
        bar=1e-5,
    ),
    "first-order waves, two networks": Case(
        TIMED,
        lambda u, x: (u["p"].d("t") - u["q"].d("x"), u["q"].d("t") - u["p"].d("x")),
        (lambda x: sin(2 * (x["x"] + x["t"])), lambda x: sin(2 * (x["x"] + x["t"])) + x["t"]),
        [initial("p"), initial("q"), value(("x", "lower"), "p"), value(("x", "upper"), "q")],
        unknowns=("p", "q"),
        networks=2,
    ),
    "Stokes, exact walls": Case(
        {"x": (0.0, 1.0), "y": (0.0, 1.0)},
        lambda u, x: (
            u["p"].d("x") - u["u"].laplacian(),
            u["p"].d("y") - u["v"].laplacian(),
            u["u"].d("x") + u["v"].d("y"),
        ),
        (
            lambda x: sin(2 * x["x"]) * cos(2 * x["y"]),
            lambda x: -cos(2 * x["x"]) * sin(2 * x["y"]),
            lambda x: x["x"] * exp(x["y"]),
        ),
        [
            value("boundary", "u", exact=True),
            value("boundary", "v"),
            value(("x", "lower"), "p"),
        ],
        unknowns=("u", "v", "p"),
        networks=3,
        width=100,
        interior=300,
        bar=1e-5,
    ),
    "a periodic system": Case(
        TIMED,
        lambda u, x: (u["p"].d("t") - u["q"].d("x"), u["q"].d("t") - u["p"].d("x")),
        (lambda x: sin(pi * (x["x"] + x["t"])), lambda x: sin(pi * (x["x"] + x["t"]))),
        [initial("p"), initial("q"), periodic("x", derivatives=0)],
        unknowns=("p", "q"),
        bar=1e-5,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_solution_is_found(name):
    case = CASES[name]
    assert case.error(case.problem()) < case.bar


@pytest.mark.parametrize("name", CASES)
def test_every_condition_counts(name):
    """With another prescribed value, or without being periodic, the error is large."""
    case = CASES[name]
    given = [make(case) for make in case.conditions]
    for k in range(len(given)):
        others = [each for i, each in enumerate(given) if i != k]
        if isinstance(given[k], pde.Periodic):
            spoiled = others
        else:
            conditions = given[k] if isinstance(given[k], list) else [given[k]]
            spoiled = [*others, [replace(c, equals=lambda x, e=c.equals: e(x) + 1.0) for c in conditions]]
        try:
            problem = case.problem(spoiled)
        except ArgumentError as error:
            assert "disagree where they meet" in str(error) or "on other faces are not" in str(error)
            continue
        assert case.error(problem) > max(100 * case.bar, 1e-3), k


@pytest.mark.parametrize("name", ["Neumann on every face", "Robin on every face", "heat, Neumann"])
def test_the_sign_of_the_normal_counts(name, monkeypatch):
    case = CASES[name]
    given = [make(case) for make in case.conditions]
    monkeypatch.setattr("grassvp.pde.rows.Normal", lambda column, sign: pde.fields.Normal(column, -sign))
    assert case.error(case.problem(given)) > 1e-2
