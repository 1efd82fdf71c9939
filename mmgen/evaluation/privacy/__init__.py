"""Privacy: what a synthetic set or a model tells about the people it was learnt from."""
