"""Labels that cannot be names of folders, or are spelled alike."""

from __future__ import annotations

AWKWARD = [
    "COVID/19", "COVID_19", "COVID\\19", "covid", "COVID", "Covid", "..", ".", "../..", "", " ", ".hidden", "a.b",
    "a.b.", "肺炎", "здоров", "naïve", "nai\u0308ve", "Straße", "STRASSE", "tab\there", "line\nbreak", "nul\0", "label",
    "C:", "*?", "/etc/passwd", "-rf", "~", "label_", "covid_",
]  # fmt: skip
