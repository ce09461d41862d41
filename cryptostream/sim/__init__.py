"""A local exchange that speaks the venue's own protocol."""
