"""The commands of the command line: the flags of each, and what it does with them."""
