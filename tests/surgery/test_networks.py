"""Neurons of the last hidden layer by their place in theta, against plain torch operations."""

import numpy as np
import pytest
import torch
from torch import nn

from grassvp import SeparableProblem
from grassvp.bounds import Box
from grassvp.features import DeepMLP, OneHiddenLayer, as_feature_map, mlp
from grassvp.starts import growth
from grassvp.starts.growth import best_candidate
from grassvp.surgery.networks import Network, with_neurons
from tests import oracles
from tests.surgery.cases import SETTINGS, Setting

SHAPES = [(1, (4,)), (3, (5,)), (2, (3, 4)), (1, (2, 3, 5))]


@pytest.mark.parametrize(("d", "widths"), SHAPES)
@pytest.mark.parametrize("bias_feature", [True, False])
@pytest.mark.parametrize("neurons", [[0], [1, 3], [3, 0, 2]])
def test_selected_features_are_some_of_the_columns(d, widths, bias_feature, neurons):
    features = as_feature_map(mlp(d, widths, bias_feature=bias_feature))
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (7, d)))
    numbers = torch.tensor(neurons)
    chosen, index = features.selected(numbers), features.neuron_index(numbers)
    columns = [*neurons, widths[-1]] if bias_feature else neurons
    theta = torch.from_numpy(np.random.default_rng(1).standard_normal(features.initial.numel()))
    torch.testing.assert_close(chosen(theta[index], x), features(theta, x)[:, columns], rtol=1e-14, atol=1e-15)
    assert torch.equal(chosen.initial, features.initial[index]) and type(chosen) is type(features)
    assert chosen.module.shapes == [*features.module.shapes[:-1], (len(neurons), features.module.shapes[-1][1])]


@pytest.mark.parametrize(("d", "widths"), SHAPES)
@pytest.mark.parametrize("bias_feature", [True, False])
def test_the_last_layer_of_its_own_inputs_is_the_network(d, widths, bias_feature):
    features = as_feature_map(mlp(d, widths, activation="sin", bias_feature=bias_feature))
    x = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (7, d)))
    theta = torch.from_numpy(np.random.default_rng(1).standard_normal(features.initial.numel()))
    layer, inputs = features.last_layer(theta, x)
    expected = oracles.torch_features(theta, x, widths, "sin", bias_feature)
    torch.testing.assert_close(layer(layer.initial, inputs), expected, rtol=1e-13, atol=1e-14)
    assert type(layer) is OneHiddenLayer and torch.equal(theta[-layer.initial.numel() :], layer.initial)
    hidden = oracles.torch_features(theta, x, widths[:-1], "sin", False) if len(widths) > 1 else x
    torch.testing.assert_close(inputs, hidden, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("width", [1, 6])
@pytest.mark.parametrize("bias_feature", [None, True, False])
def test_a_deep_network_of_another_width(width, bias_feature):
    features = as_feature_map(mlp(2, (3, 4), activation="gelu", seed=5))
    other = features.resized(width, bias_feature=bias_feature)
    assert isinstance(other, DeepMLP) and other.module.shapes == [(3, 2), (width, 3)]
    assert other.module.activation == "gelu" and other.module.bias_feature is (bias_feature is not False)
    assert other.initial.shape == (9 + 4 * width,) and not other.initial.any()
    assert not nn.utils.parameters_to_vector(other.module.parameters()).any() and features.initial.any()


@pytest.mark.parametrize("name", SETTINGS)
def test_columns_of_a_network_are_those_of_plain_operations(name):
    setting = SETTINGS[name]
    theta = setting.theta()
    network, A = Network.of(setting.problem(), theta), setting.matrix(theta)
    width = setting.widths[-1]
    np.testing.assert_allclose(network.columns, A[:, :width], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(network.constant, A[:, width:], rtol=1e-12)
    narrow = network.without([1]).without([3])
    kept = [n for n in range(width) if n not in (1, 3)]
    assert list(narrow.neurons) == kept and narrow.places(kept) == list(range(width - 2))
    np.testing.assert_array_equal(narrow.parameters, setting.kept(theta, kept))
    np.testing.assert_allclose(narrow.columns, A[:, kept], rtol=1e-12, atol=1e-13)
    assert network.without([]) is network


def test_with_neurons_takes_them_in_the_order_asked_for():
    setting = Setting(d=2, widths=(3, 5))
    theta = setting.theta()
    problem, parameters = with_neurons(setting.problem(), torch.from_numpy(theta), [4, 0])
    np.testing.assert_array_equal(parameters, setting.kept(theta, [4, 0]))
    assert problem.width == 3


@pytest.mark.parametrize("bounds", [(-0.5, 0.7), (np.array([-9.0, -1.0, 0.0]), np.array([-3.0, 1.0, 9.0]))], ids=str)
def test_candidates_are_moved_into_a_box_before_they_are_judged(bounds):
    setting = Setting(d=2, widths=(3,))
    problem, theta = setting.problem(), setting.theta()
    W, b = setting.last(theta)
    lower, upper = (torch.from_numpy(np.broadcast_to(side, (3,)).astype(float).copy()) for side in bounds)
    w, c = best_candidate(
        problem, torch.from_numpy(W), torch.from_numpy(b), np.random.default_rng(3), 40, box=Box(lower, upper)
    )
    V, e = growth._random_neurons(problem.inputs, np.random.default_rng(3), 40, growth._steepest(problem))
    pool = np.clip(torch.cat([V, e[:, None]], dim=1).numpy(), lower.numpy(), upper.numpy())
    wider = SeparableProblem(mlp(2, (4,)), setting.inputs, setting.targets)
    values = [
        float(
            wider.project(
                wider.features(torch.from_numpy(np.concatenate([W.ravel(), v[:2], b, v[2:]])), wider.inputs)
            ).value
        )
        for v in pool
    ]
    np.testing.assert_array_equal([*w, c], pool[int(np.argmin(values))])
