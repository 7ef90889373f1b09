"""Collocation points: how many, where, and that they are the same for the same seed."""

import math

import numpy as np
import pytest
import torch

from grassvp.pde import Box
from grassvp.pde.sampling import CHECK_COUNT, GRIDS, SAMPLINGS, check_points, face_points, interior_points

LOW, HIGH = (-1.0, 0.0, 10.0, 1e-3, -2.0, 5.0), (1.0, 3.0, 11.0, 2e-3, -1.0, 6.0)
RANDOM = tuple(each for each in SAMPLINGS if each not in GRIDS)


def box_of(d):
    return Box({f"x{k}": (LOW[k], HIGH[k]) for k in range(d)})


def rng(seed=0):
    return np.random.default_rng(seed)


def unit_of(box, points):
    return (points - box.lower) / box.lengths


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("d", range(1, 7))
class TestEverySampling:
    def test_points_are_strictly_inside_and_different(self, d, sampling):
        box = box_of(d)
        for count in (1, 2, 7, 64, 100):
            points = interior_points(box, count, sampling, rng())
            assert points.dtype == torch.float64 and points.shape[1] == d and points.is_contiguous()
            assert bool((points > box.lower).all()) and bool((points < box.upper).all())
            assert len(torch.unique(points, dim=0)) == len(points)
            assert len(points) == count if sampling not in GRIDS else 1 <= len(points) <= count

    def test_the_seed_decides(self, d, sampling):
        box = box_of(d)
        one, same, other = (interior_points(box, 20, sampling, rng(seed)) for seed in (3, 3, 4))
        assert torch.equal(one, same)
        assert torch.equal(one, other) == (sampling in GRIDS)
        generator = rng(3)
        assert torch.equal(interior_points(box, 20, sampling, generator), one)
        assert torch.equal(interior_points(box, 20, sampling, generator), one) == (sampling in GRIDS)

    def test_faces(self, d, sampling):
        box = box_of(d)
        for face in box.faces:
            points, column = face_points(box, face, 50, sampling, rng()), box.names.index(face[0])
            assert set(points[:, column].tolist()) == {box.end(face)}  # exactly
            assert bool((points >= box.lower).all()) and bool((points <= box.upper).all())
            assert len(torch.unique(points, dim=0)) == len(points)
            if d == 1:
                assert len(points) == 1
            else:
                assert len(points) == 50 if sampling not in GRIDS else 1 <= len(points) <= 50

    def test_they_fill_the_box(self, d, sampling):
        """The mean of a linear function, and no half of the box is empty."""
        box = box_of(d)
        unit = unit_of(box, interior_points(box, 4**d if sampling in GRIDS else 512, sampling, rng()))
        torch.testing.assert_close(unit.mean(0), torch.full((d,), 0.5).double(), atol=0.08, rtol=0.0)
        shares = (unit < 0.5).double().mean(0)
        assert float((shares - 0.5).abs().max()) < 0.12

    def test_global_generators_are_left_alone(self, d, sampling):
        torch.manual_seed(5)
        before = torch.get_rng_state(), np.random.get_state()[1].tolist()
        interior_points(box_of(d), 30, sampling, rng())
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.random.get_state()[1].tolist() == before[1]


class TestGrid:
    @pytest.mark.parametrize(("d", "count", "sides"), [(1, 9, [9]), (2, 100, [10, 10]), (2, 110, [11, 10])])
    def test_sides(self, d, count, sides):
        points = interior_points(box_of(d), count, "grid", rng())
        assert [len(torch.unique(points[:, k])) for k in range(d)] == sides and len(points) == math.prod(sides)

    @pytest.mark.parametrize("d", range(1, 7))
    def test_as_many_as_allowed(self, d):
        """No side can have another point, sides differ by one at most, and perfect powers are met exactly."""
        for count in (*range(1, 70), 1000, 3**d, 4**d, 5**d):
            points = interior_points(box_of(d), count, "grid", rng())
            sides = [len(torch.unique(points[:, k])) for k in range(d)]
            assert math.prod(sides) == len(points) <= count and max(sides) - min(sides) <= 1
            assert min(sides) == max(sides) or len(points) // min(sides) * (min(sides) + 1) > count
            if round(count ** (1 / d)) ** d == count:
                assert len(points) == count

    def test_it_is_uniform_with_the_faces_as_neighbours(self):
        unit = unit_of(box_of(1), interior_points(box_of(1), 4, "grid", rng()))
        torch.testing.assert_close(unit[:, 0], torch.tensor([0.2, 0.4, 0.6, 0.8]).double())

    def test_the_grid_of_an_edge_has_its_ends(self):
        box = box_of(2)
        points = face_points(box, ("x0", "upper"), 5, "grid", rng())
        torch.testing.assert_close(points[:, 1], torch.linspace(0, 3, 5).double())
        assert face_points(box, ("x0", "upper"), 1, "grid", rng()).tolist() == [[1.0, 1.5]]

    def test_the_grid_of_a_face_is_inside_it(self):
        points = face_points(box_of(3), ("x1", "lower"), 9, "grid", rng())
        unit = unit_of(box_of(3), points)[:, [0, 2]]
        assert float(unit.min()) > 0 and float(unit.max()) < 1 and len(points) == 9


class TestRandom:
    @pytest.mark.parametrize("d", range(1, 7))
    def test_latin_hypercubes_have_a_point_in_each_slice(self, d):
        unit = unit_of(box_of(d), interior_points(box_of(d), 40, "latin-hypercube", rng()))
        for column in unit.T:
            assert sorted((column * 40).floor().int().tolist()) == list(range(40))

    @pytest.mark.parametrize("d", range(1, 7))
    def test_sobol_sets_are_balanced(self, d):
        """2^k points have one in each of 2^k equal slices of every coordinate; random ones do not."""
        unit = unit_of(box_of(d), interior_points(box_of(d), 64, "sobol", rng()))
        for column in unit.T:
            assert sorted((column * 64).floor().int().tolist()) == list(range(64))

    def test_sobol_sets_of_any_length(self):
        for count in (1, 2, 3, 33, 100):
            assert interior_points(box_of(2), count, "sobol", rng()).shape == (count, 2)

    def test_faces_are_sampled_anew(self):
        """The points of two faces come from one generator, and are not the same."""
        for sampling in RANDOM:
            generator = rng()
            one, two = (face_points(box_of(3), ("x0", side), 20, sampling, generator) for side in ("lower", "upper"))
            assert not torch.equal(one[:, 1:], two[:, 1:])


class TestCheckPoints:
    @pytest.mark.parametrize(("d", "side"), [(1, 1001), (2, 101), (3, 25)])
    def test_grids_with_their_ends(self, d, side):
        box = box_of(d)
        points = check_points(box)
        assert points.shape == (side**d, d)
        torch.testing.assert_close(points.amin(0), box.lower)
        torch.testing.assert_close(points.amax(0), box.upper)
        box.check_points(points)

    @pytest.mark.parametrize("d", [4, 5, 6])
    def test_sobol_sets_above(self, d):
        points = check_points(box_of(d))
        assert points.shape == (CHECK_COUNT, d) and torch.equal(points, check_points(box_of(d)))
        box_of(d).check_points(points)

    @pytest.mark.parametrize("d", [1, 2, 4])
    def test_they_are_not_the_points_that_equations_are_solved_at(self, d):
        fine = {tuple(point) for point in check_points(box_of(d)).tolist()}
        for sampling in SAMPLINGS:
            for seed in (0, 1):
                points = interior_points(box_of(d), 200, sampling, rng(seed))
                shared = sum(tuple(point) in fine for point in points.tolist())
                assert shared <= (20 if sampling == "grid" else 0)


@pytest.mark.parametrize("count", [1, 2, 9])
def test_chebyshev_points_are_the_zeros_of_its_polynomial(count):
    points = interior_points(box_of(1), count, "chebyshev", rng())[:, 0]
    zeros = np.sort(np.polynomial.chebyshev.chebroots([0.0] * count + [1.0]))
    np.testing.assert_allclose(points.numpy(), zeros, atol=1e-14)
