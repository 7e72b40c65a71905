"""The main job: seven phases from a prompt to a report."""
