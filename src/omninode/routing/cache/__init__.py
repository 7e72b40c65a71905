"""Not asking twice: an exact cache for what was answered, single flight for what is being asked."""
