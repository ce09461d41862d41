"""Door to databases."""
