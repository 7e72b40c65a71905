"""Calls that survive faults: breakers, retries, budgets, deadlines, bulkheads, fallbacks, composed by one Policy."""
