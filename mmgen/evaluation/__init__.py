"""How synthetic data is judged: utility, fidelity, privacy and the report."""
