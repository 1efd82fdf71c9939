"""The report of a run: its numbers, figures and page."""
