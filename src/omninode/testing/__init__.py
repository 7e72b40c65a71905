"""Test doubles for users and for our own tests: clocks, sinks, scripted providers."""
