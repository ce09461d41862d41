"""Door to files: recorded data, played again."""
