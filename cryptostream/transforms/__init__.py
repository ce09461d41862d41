"""Plumbing: an event in, events out."""
