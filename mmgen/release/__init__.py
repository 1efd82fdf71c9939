"""What may be shared: copied by an allow-list, with evidence and cards."""
