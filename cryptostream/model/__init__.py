"""Words: what things are called."""
