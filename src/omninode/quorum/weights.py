"""How much each vote counts. Fixed for now; learned weights will be another class with the same method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from omninode.core.errors import ConfigurationError
from omninode.quorum.voter import Voter

__all__ = ["StaticWeights", "Weights"]


class Weights(Protocol):
    """Gives each voter its weight."""

    def weight_of(self, voter: Voter) -> float:
        """A finite number more than zero."""
        ...


class StaticWeights:
    """The weights the voters bring, unless `overrides` names another by the voter's name."""

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        self._overrides = dict(overrides or {})

    def weight_of(self, voter: Voter) -> float:
        """See `Weights.weight_of`; raises ConfigurationError for a weight that is not a positive number."""
        weight = self._overrides.get(voter.name, voter.weight)
        if not (math.isfinite(weight) and weight > 0):
            raise ConfigurationError(f"voter {voter.name!r} has weight {weight}; give it one above zero")
        return weight
