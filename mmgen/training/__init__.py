"""How a model learns: one loop, and tasks that say what one update does."""
