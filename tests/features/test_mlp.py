"""The multi-layer perceptron: layout, seeds, sampling, and what it leaves alone."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from grassvp.features import as_feature_map, from_function, mlp
from tests.oracles import torch_features

F64 = torch.float64


def flat(module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(module.parameters()).detach()


@pytest.mark.parametrize("bias_feature", [True, False])
@pytest.mark.parametrize("widths", [(4,), (3, 5), (2, 3, 4)], ids=str)
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_values_and_layout(widths, activation, bias_feature):
    """Phi is the plain network of the flat parameters, module and feature map alike."""
    module = mlp(2, list(widths), activation=activation, bias_feature=bias_feature, seed=4)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 2)))
    expected = torch_features(flat(module), x, widths, activation, bias_feature)
    assert expected.shape == (6, widths[-1] + bias_feature)
    features = as_feature_map(module)
    assert torch.equal(features.initial, flat(module)) and features.can_sample
    for actual in (module(x).detach(), features(features.initial, x), features.derivatives(flat(module), x).values):
        torch.testing.assert_close(actual, expected, rtol=1e-14, atol=1e-15)
    other = torch.from_numpy(np.random.default_rng(1).standard_normal(flat(module).numel()))
    torch.testing.assert_close(features(other, x), torch_features(other, x, widths, activation, bias_feature))


def test_seed_decides_and_global_generators_are_left_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = mlp(3, (7, 5), seed=1), mlp(3, (7, 5), seed=1), mlp(3, (7, 5), seed=2)
    features = as_feature_map(first)
    box = torch.tensor([[-1.0, 0.0, 2.0], [1.0, 5.0, 3.0]], dtype=F64)
    draws = [features.sample(np.random.default_rng(9), box, 2.0) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)
    assert torch.equal(flat(first), flat(again)) and not torch.equal(flat(first), flat(other))
    assert torch.equal(*draws) and flat(first).dtype == F64
    rng = np.random.default_rng(9)
    assert not torch.equal(features.sample(rng, box, 2.0), features.sample(rng, box, 2.0))


@pytest.mark.parametrize("widths", [(6,), (6, 4)], ids=str)
def test_sampling_is_equivariant_under_rescaling_and_shift_of_the_inputs(widths):
    """The sampled features are the same functions of the normalised inputs, whatever the units."""
    features = as_feature_map(mlp(2, widths))
    x = torch.from_numpy(np.random.default_rng(2).uniform(-1, 1, (20, 2)))
    factor, shift = torch.tensor([1e3, 1e-4], dtype=F64), torch.tensor([50.0, -3.0], dtype=F64)
    moved = factor * x + shift
    theta, moved_theta = (features.sample(np.random.default_rng(5), at, 3.0) for at in (x, moved))
    torch.testing.assert_close(features(moved_theta, moved), features(theta, x), rtol=0, atol=1e-9)
    assert not torch.equal(theta, moved_theta)


def test_sampled_neurons_bend_inside_the_box_with_slopes_of_the_given_scale():
    features = as_feature_map(mlp(2, (4000,)))
    box = torch.tensor([[0.0, 10.0], [2.0, 40.0]], dtype=F64)
    theta = features.sample(np.random.default_rng(0), box, 5.0)
    W, b = theta[:8000].reshape(4000, 2), theta[8000:]
    torch.testing.assert_close(
        W.std(0) * torch.tensor([1.0, 15.0], dtype=F64), torch.full((2,), 5.0, dtype=F64), rtol=0.05, atol=0
    )
    corners = torch.cartesian_prod(*box.T)
    z = corners @ W.T + b
    assert bool(((z.amin(0) <= 1e-9) & (z.amax(0) >= -1e-9)).all())


def test_a_constant_coordinate_can_be_sampled():
    features = as_feature_map(mlp(2, (5,)))
    x = torch.stack([torch.linspace(0, 1, 9, dtype=F64), torch.full((9,), 4.0, dtype=F64)], dim=1)
    assert bool(torch.isfinite(features.sample(np.random.default_rng(0), x, 1.0)).all())


@pytest.mark.parametrize("sampled", [nn.Linear(2, 3), from_function(lambda p, x: x, [1.0])])
def test_what_cannot_be_sampled_says_so(sampled):
    features = as_feature_map(sampled)
    assert not features.can_sample
    with pytest.raises(ValueError, match="features cannot be sampled"):
        features.sample(np.random.default_rng(0), torch.zeros(2, 2), 1.0)


def test_the_callers_module_is_untouched():
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Tanh()).train()
    for tensor in module.parameters():
        tensor.grad = torch.full_like(tensor, 7.0)
    before = copy.deepcopy(module.state_dict())
    features = as_feature_map(module).cast(F64, torch.device("cpu"))
    x, theta = torch.randn(5, 2, dtype=F64, generator=torch.Generator().manual_seed(0)), features.initial + 0.1
    rng_before = torch.get_rng_state()
    derivatives = features.derivatives(theta, x)
    derivatives.pullback(torch.ones(5, 1, dtype=F64), torch.ones(4, 1, dtype=F64))
    derivatives.contract(torch.ones(4, 2, dtype=F64))
    assert torch.equal(features(theta, x), derivatives.values)  # no dropout, no batch statistics
    torch.testing.assert_close(features(theta, x[:1]), derivatives.values[:1])
    assert torch.equal(torch.get_rng_state(), rng_before)
    assert module.training and all(p.requires_grad and bool((p.grad == 7.0).all()) for p in module.parameters())
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.dtype == before[name].dtype, name
    with torch.no_grad():
        module[0].weight += 1.0  # and the features do not follow the caller's later changes
    assert torch.equal(features(theta, x), derivatives.values)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"in_features": 0}, "in_features"),
        ({"in_features": 1.5}, "in_features"),
        ({"widths": ()}, "widths"),
        ({"widths": 5}, "widths"),
        ({"widths": 5.0}, "widths"),
        ({"widths": (4, 0)}, "widths"),
        ({"widths": (4, 2.5)}, "widths"),
        ({"widths": None}, "widths"),
        ({"activation": "swish"}, "activation"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
    ],
    ids=str,
)
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises((ValueError, TypeError), match=name):
        mlp(**({"in_features": 2, "widths": (3,)} | arguments))
