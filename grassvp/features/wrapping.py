"""What feature maps that wrap another one have in common."""

from torch import Tensor

from grassvp.features.protocol import FeatureMap

__all__ = ["WrappedFeatures"]


class WrappedFeatures(FeatureMap):
    """Features of the parameters and with the abilities of other ones, `features`."""

    features: FeatureMap

    @property
    def initial(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """(q,) parameters of the wrapped features."""
        return self.features.initial

    @property
    def cheap_adjoint(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the wrapped features have it."""
        return self.features.cheap_adjoint

    @property
    def can_sample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the wrapped features have it."""
        return self.features.can_sample

    @property
    def row_by_row(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the wrapped features have it."""
        return self.features.row_by_row

    @property
    def row_bound(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the wrapped features have it."""
        return self.features.row_bound

    @property
    def appended_columns(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """As the wrapped features have it."""
        return self.features.appended_columns
