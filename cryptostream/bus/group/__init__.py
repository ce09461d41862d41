"""Streams read as a member of a consumer group: who reads what, from where, how often, and what was lost."""
