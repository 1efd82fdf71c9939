"""A local page that shows synthetic data sets and runs, for those who decide whether they are good."""
