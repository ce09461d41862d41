"""Door to HTTP: what an operator asks a running program."""
