"""Troubles as data, ways of calling through them, and trials of one in the other, on virtual or on real time."""
