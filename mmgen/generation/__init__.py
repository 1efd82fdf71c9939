"""Synthetic data sets: planned, made, written."""
