"""What a consumer makes of an entry, written once: outputs, state and acknowledgement in one transaction."""
