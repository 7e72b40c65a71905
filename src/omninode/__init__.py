"""OmniNode: the performance and reliability layer for systems built from LLM agents."""
