"""Synthetic data sets on disk: written without loss, taken up again, verified, read back."""
