"""Which deployment answers a model call: choice, admission, caches, single flight."""
