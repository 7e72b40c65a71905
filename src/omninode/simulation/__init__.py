"""Models that are not models: an OpenAI-compatible server with scripted latency and faults. Everything says SIMULATED."""
