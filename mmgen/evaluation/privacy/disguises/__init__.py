"""Search for training records under disguise: turned, cropped, recoloured, mixed or otherwise changed copies.

Records become squares of grey levels (``pixels``). Templates cut out of a synthetic record are laid on windows of all
training records (``templates``, ``forms``, ``windows``), which gives a few candidates each; these are aligned with it
(``alignment``, ``search``). Detectors turn how much candidates are alike, and how much more than records of other
people, into chances (``detectors``); they are fitted to disguises that the audit makes itself (``planting``) and to
records of people who are not among the candidates (``calibrated``).
"""
