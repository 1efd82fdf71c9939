"""Models and run folders on disk: saved, loaded, described."""
