"""Killing what writes and what is written to, and counting what is left."""
