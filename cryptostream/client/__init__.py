"""Door for other programs: consume streams from your own code."""
