"""Methods that make a small set out of a large one."""
