"""What the trained networks learned, checked against the papers' claims."""
