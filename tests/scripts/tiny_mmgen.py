"""A script that tests start: ``mmgen`` with its other arguments, on the tiny scale."""

from __future__ import annotations

import os

from mmgen.cli.main import main, one_sentence

if __name__ == "__main__":
    with one_sentence():  # a package that does not load, a folder that is gone
        os.getcwd()
        import pytest
        from tiny_medsynth import use_tiny

        use_tiny(pytest.MonkeyPatch())
    main()
