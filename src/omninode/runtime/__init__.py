"""Settings into objects: the one place that reads the environment and builds everything."""
