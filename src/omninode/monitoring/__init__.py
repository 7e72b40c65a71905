"""What is measured while it runs: phases, resources, thresholds, alerts, and the writer that turns events into rows."""
