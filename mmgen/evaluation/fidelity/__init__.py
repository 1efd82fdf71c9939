"""Fidelity: how near synthetic samples are to real ones, and how diverse."""
