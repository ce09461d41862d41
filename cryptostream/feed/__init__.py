"""Door to exchanges: sockets and REST."""
