"""Taking traces of machine, people and real data out of files that are passed on, without touching their samples."""
