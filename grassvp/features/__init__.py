"""Feature maps theta -> Phi(theta): networks without their output layer, classical models, derivatives of networks."""

from torch import nn

from grassvp.errors import ArgumentTypeError
from grassvp.features.deep import DeepMLP
from grassvp.features.function import FunctionFeatures, from_function
from grassvp.features.mlp import MLP, is_plain_mlp, mlp
from grassvp.features.module import ModuleFeatures
from grassvp.features.one_hidden import OneHiddenLayer
from grassvp.features.operators import DifferentialOperator, differential_operator
from grassvp.features.protocol import FeatureDerivatives, FeatureMap
from grassvp.features.side_by_side import SideBySide

__all__ = [
    "MLP",
    "DeepMLP",
    "DifferentialOperator",
    "FeatureDerivatives",
    "FeatureMap",
    "FunctionFeatures",
    "ModuleFeatures",
    "OneHiddenLayer",
    "SideBySide",
    "as_feature_map",
    "differential_operator",
    "from_function",
    "mlp",
    "side_by_side",
    "under_operator",
]


def as_feature_map(features: object) -> FeatureMap:
    """The feature map of a module, with the closed-form derivatives where there are some; a feature map stays itself.

    Raises:
        ArgumentTypeError: `features` is neither a `torch.nn.Module` nor a feature map.
    """
    if isinstance(features, FeatureMap):
        return features
    if not isinstance(features, nn.Module):
        raise ArgumentTypeError(
            "features must be a torch.nn.Module mapping (rows, d) to (rows, n), or come from features.from_function; "
            f"got {type(features).__name__}"
        )
    return _module_features(features, None)


def side_by_side(*features: object, shared: bool = False) -> SideBySide:
    """Features [Phi_1 | ... | Phi_U], the columns of several feature maps of the same inputs.

    With two activations, ``side_by_side(mlp(2, (32,), bias_feature=False), mlp(2, (32,), activation="sin"))``; one
    constant column is enough, and two make Phi rank deficient.

    Args:
        *features: modules, as `as_feature_map` takes them, or feature maps; none with an offset.
        shared: whether all of them read the same theta, of which they then have equally many; else theta is the
            parameters of the first, of the second and so on. With shared parameters `sample` draws those of the first.

    Raises:
        ArgumentError: no features, or shared ones with different numbers of parameters; an offset and inputs that do
            not fit all of them are refused when the features are used.
        ArgumentTypeError: something that is no features.
    """
    return SideBySide(tuple(as_feature_map(each) for each in features), shared)


def under_operator(module: nn.Module, operator: DifferentialOperator) -> FeatureMap:
    """Features L Phi: the rows are a linear differential operator applied to every feature of a network.

    A physics-informed least-squares problem with a linear equation is a `SeparableProblem` with these features: the
    equation's operator in its rows, the identity (or a derivative) in the rows of the conditions, and as targets the
    source and the prescribed values. `predict` then evaluates the network itself.

    Args:
        module: a network; for `features.mlp` derivatives come from closed forms or Taylor propagation.
        operator: from `differential_operator`, with as many rows as the problem's inputs.
    """
    if not isinstance(module, nn.Module):
        raise ArgumentTypeError(f"module must be a torch.nn.Module, got {type(module).__name__}")
    return _module_features(module, operator)


def _module_features(module: nn.Module, operator: DifferentialOperator | None) -> FeatureMap:
    general = ModuleFeatures.of(module, operator)
    if not is_plain_mlp(general.module):
        return general
    if len(general.module.layers) == 1:
        return OneHiddenLayer(general.module, general.initial, operator)
    return DeepMLP(general.module, general.initial) if operator is None else general
