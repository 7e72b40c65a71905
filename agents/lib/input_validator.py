"""Signpost: validating and cleaning input lives in `omninode.validation`."""

from omninode import InputValidator

__all__ = ["InputValidator"]
