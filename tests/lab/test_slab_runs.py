"""Starts of experiments in slabs of time: waves that are where and as steep as they were asked to be."""

import numpy as np
import torch

from grassvp.features import as_feature_map, mlp
from grassvp.lab import slab_runs

PLACES, STEEPNESS = np.linspace(-1, 1, 500), np.geomspace(2, 50, 500)


def test_waves_are_steep_at_their_places_and_travel_as_fast_as_the_solution():
    theta = slab_runs.waves(PLACES, STEEPNESS, (0.3, 0.5), np.random.default_rng(0))
    (by_t, by_x), shift = theta[:1000].reshape(500, 2).T, theta[1000:]
    np.testing.assert_array_equal(np.abs(by_x), STEEPNESS)
    assert 200 < (by_x > 0).sum() < 300
    speeds = -by_t / by_x
    assert 0.9 * slab_runs.SPEED < np.sqrt((speeds**2).mean()) < 1.1 * slab_runs.SPEED
    times = -(by_x * PLACES + shift) / by_t
    assert times.min() >= 0.3 and times.max() <= 0.5 and np.ptp(times) > 0.19


def test_they_are_parameters_of_one_hidden_layer():
    """At its own time and place each neuron is tanh(0)."""
    theta = slab_runs.waves(PLACES, STEEPNESS, (0.0, 0.0), np.random.default_rng(1))
    network = as_feature_map(mlp(2, (500,), bias_feature=False))
    points = torch.from_numpy(np.stack([np.zeros(500), PLACES], 1))
    values = network(torch.from_numpy(theta), network.prepare(points))
    np.testing.assert_allclose(values.diagonal(), 0.0, atol=1e-12)
