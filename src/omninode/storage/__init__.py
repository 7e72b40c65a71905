"""Postgres: the embedded server, the one pool, batches, the spool, migrations and every SQL statement."""
