"""Door to Redis Streams."""
