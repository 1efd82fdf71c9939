"""Search for training records under disguise: turned, cropped, recoloured, mixed or otherwise changed copies."""
