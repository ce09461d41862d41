"""Languages: one file per exchange, no sockets."""
