"""Releases: copied by allow-lists, with evidence and cards."""
