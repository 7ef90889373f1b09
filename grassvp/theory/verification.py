"""Run the claims of the theory on inputs drawn from a seed."""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from grassvp.errors import GrassvpError
from grassvp.theory.claims import grassmann, limits, networks, parametrisation, regularized, trajectories
from grassvp.theory.claims.claim import Claim

__all__ = ["CLAIMS", "each_claim", "select", "verify"]

Check = Callable[[np.random.Generator], Iterator[Claim]]

CLAIMS: dict[str, tuple[Check, ...]] = {
    "A1": (grassmann.a1,),
    "A2": (grassmann.a2,),
    "A3": (grassmann.a3,),
    "A4": (trajectories.a4,),
    "A5": (trajectories.a5,),
    "B1": (regularized.b1,),
    "B2": (regularized.b2,),
    "B3": (regularized.b3_gradient, trajectories.b3_flow),
    "B4": (regularized.b4_critical, trajectories.b4_flow),
    "B5": (regularized.b5,),
    "B6": (regularized.b6,),
    "C1": (parametrisation.c1,),
    "C2": (parametrisation.c2,),
    "C3": (networks.c3,),
    "C4": (networks.c4,),
    "C5": (limits.c5,),
    "C6": (limits.c6,),
    "C7": (limits.c7,),
    "C8": (parametrisation.c8,),
    "C9": (limits.c9,),
}


def select(claims: str | Iterable[str] | None) -> list[str]:
    """The names of claims, in the order of the theory: all for None, else those named, "A1,C3" or ["A1", "C3"].

    A letter alone means all its claims.

    Raises:
        ValueError: a name that is no claim's, or none at all.
    """
    if claims is None:
        return list(CLAIMS)
    words = claims.split(",") if isinstance(claims, str) else list(claims)
    wanted = [str(word).strip().upper() for word in words]
    unknown = [word for word in wanted if not word or not any(name == word or name[0] == word for name in CLAIMS)]
    if unknown or not wanted:
        raise ValueError(f"claims must be among {', '.join(CLAIMS)} or the letters A, B, C, got {claims!r}")
    return [name for name in CLAIMS if name in wanted or name[0] in wanted]


def each_claim(claims: str | Iterable[str] | None = None, *, seed: int = 0) -> Iterator[Claim]:
    """Like `verify`, one claim at a time as they are found."""
    names = select(claims)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed!r}")
    for name in names:
        for index, check in enumerate(CLAIMS[name]):
            stream = [int(seed), list(CLAIMS).index(name), index]
            try:
                yield from check(np.random.default_rng(stream))
            except GrassvpError as error:
                yield Claim(f"{name} not measured", str(error), math.nan, math.nan, math.inf, 0.0)


def verify(*, claims: str | Iterable[str] | None = None, seed: int = 0) -> list[Claim]:
    """Check the claims of the theory on random inputs.

    Args:
        claims: names such as "A1,C3" or ["A1", "C3"]; a letter means all its claims; None means all.
        seed: of the inputs. Each claim has its own stream, so that a choice of claims does not change the others.

    Returns:
        Several claims a name, each with its predicted and its measured number.

    Raises:
        ValueError: an unknown name, or a seed that is no integer >= 0.
    """
    return list(each_claim(claims, seed=seed))
