"""What a model should know: sources asked at once, ranked, packed into a budget, learned from outcomes."""
