"""Evaluation and audit of runs, models and any synthetic set: what is read, measured and reported."""
