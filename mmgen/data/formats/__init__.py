"""File formats that are read piece by piece here, because a file must not cost what it likes."""
