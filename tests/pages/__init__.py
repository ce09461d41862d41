"""The dashboard as a person uses it: real processes, and a real browser that a driver holds."""
