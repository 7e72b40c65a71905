"""What the rows say afterwards: agents, recommendations, trends, errors, costs."""
