"""Input checked before it is used: sizes, Unicode, task graphs, secrets, markup, injection; with findings that say where."""
