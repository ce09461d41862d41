"""The HTTP API: what is asked of probes and wished of commands, typed, checked and described."""
