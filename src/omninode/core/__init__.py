"""What every other room stands on: errors, time, deadlines, ids, events, concurrency, usage. Standard library only."""
