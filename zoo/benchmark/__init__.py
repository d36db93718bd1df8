"""How fast the layers, the networks and the command are, in ratios."""
