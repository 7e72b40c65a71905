"""Several models vote on a plan: ballots, tally, confidence."""
