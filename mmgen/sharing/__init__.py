"""What may leave the house: copied by allow-list, cleaned and described."""
