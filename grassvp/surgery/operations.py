"""What there is to remove, as operations in the order in which they are tried: the least harmful first."""

from grassvp.surgery.detection import Dependent, Duplicates, dependent_columns, duplicate_columns
from grassvp.surgery.effects import check_closed_form, elimination, joint_effect
from grassvp.surgery.networks import Network
from grassvp.surgery.result import Operation

__all__ = ["drops", "listed", "merges", "prunings"]


def merges(network: Network, tolerance: float) -> list[Operation]:
    """A merge for every set of parallel columns; with bounds on the coefficients they must have the same direction."""
    bounded = network.problem.coefficient_bounds is not None
    found = duplicate_columns(network.columns, max(tolerance, network.noise), same_sign=bounded)
    return [_merge(network, each) for each in sorted(found, key=lambda each: _harm(network, each.others, each.angle))]


def drops(network: Network, tolerance: float) -> list[Operation]:
    """A drop for every column that the others span; with bounds on the coefficients for those that are zero alone.

    One neuron stays.
    """
    problem = network.problem
    dead = 0.0 if problem.column_scaling else problem.rank_tolerance
    found = dependent_columns(network.columns, network.constant, max(tolerance, network.noise), dead)
    if problem.coefficient_bounds is not None:
        found = [each for each in found if each.reason == "dead"]
    found = sorted(found[: len(network.neurons) - 1], key=lambda each: _harm(network, (each.column,), each.remainder))
    return [_drop(network, each) for each in found]


def prunings(network: Network, budget: float) -> list[Operation]:
    """A pruning for every neuron that may go, one after the other, until the value has risen by `budget` in all.

    Features of deficient rank at lam = 0 first lose what the others span.

    Raises:
        ArgumentError: the problem has bounds on the coefficients.
    """
    check_closed_form(network.problem)
    spanned: list[Operation] = []
    while network.problem.regularization == 0.0 and network.point.rank < network.problem.width:
        extra = _beyond_rank(network)
        if not extra:
            return spanned
        spanned += [_prune(number, "beyond the numerical rank") for number in extra]
        network = network.without(extra)
    cheap = elimination(network.point.projection, len(network.neurons), budget)
    return [*spanned, *(_prune(network.neurons[column], f"the value rises by {rise:.2g}") for column, rise in cheap)]


def listed(neurons: tuple[int, ...]) -> str:
    """Words for numbers: "neuron 3", "neurons 3 and 7", "neurons 3, 7 and 9"."""
    *first, last = map(str, neurons)
    return f"neurons {', '.join(first)} and {last}" if first else f"neuron {last}"


def _harm(network: Network, columns: tuple[int, ...], distance: float) -> float:
    """What removing columns does to the value where the ridge decides that, and how far they are from the span."""
    known = network.problem.regularization > 0.0 and network.problem.coefficient_bounds is None
    if known:
        return joint_effect(network.point.projection, columns)
    return 0.0 if distance <= network.noise else distance  # rounding is no order


def _beyond_rank(network: Network) -> list[int]:
    """Neurons that leave as many columns as the linear solve counts independent ones; one neuron stays."""
    found = dependent_columns(network.columns, network.constant, 0.0, 0.0, rank=network.point.rank)
    return [network.neurons[each.column] for each in found[: len(network.neurons) - 1]]


def _merge(network: Network, found: Duplicates) -> Operation:
    neurons = tuple(network.neurons[column] for column in (found.kept, *found.others))
    return Operation("merge", neurons, f"{listed(neurons)} merged (angle {found.angle:.1g})")


def _drop(network: Network, found: Dependent) -> Operation:
    number = network.neurons[found.column]
    because = {
        "dead": f"dead ({found.remainder:.1g} of the longest column)",
        "constant": f"constant (but for {found.remainder:.1g})",
        "collinear": f"inside the span of the others (but for {found.remainder:.1g})",
    }
    return Operation("drop", (number,), f"neuron {number} dropped: {because[found.reason]}")


def _prune(number: int, because: str) -> Operation:
    return Operation("prune", (number,), f"neuron {number} pruned: {because}")
