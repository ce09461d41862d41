"""How fast, as ratios: the same work for us and for the best known other, side by side in one run."""
