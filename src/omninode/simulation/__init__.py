"""The model simulator: a real HTTP server on loopback that speaks the OpenAI protocol. All it says is SIMULATED."""

from __future__ import annotations

from omninode.simulation.profile import DEFAULT_PROFILES, Faults, Latency, ModelProfile
from omninode.simulation.server import SimulatedModels, run_forever

__all__ = ["DEFAULT_PROFILES", "Faults", "Latency", "ModelProfile", "SimulatedModels", "run_forever"]
