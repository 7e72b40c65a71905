"""Virtual time for tests of whatever waits: see `simulation.virtual_time`, where the product's own simulator has it."""

from __future__ import annotations

from omninode.simulation.virtual_time import StalledError, VirtualClock, VirtualLoop, run_virtual

__all__ = ["StalledError", "VirtualClock", "VirtualLoop", "run_virtual"]
