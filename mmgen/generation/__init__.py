"""Synthetic data sets: what is made, making it, writing it."""
