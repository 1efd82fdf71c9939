"""A picture of samples of a released data set, for its card."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np

from mmgen.data.markdown import in_markdown
from mmgen.data.samples import Samples
from mmgen.data.settings import kind_of, settings_from_dict
from mmgen.data.writing.layout import DOCUMENT, README, read_document, sha256
from mmgen.data.writing.synthetic import decode_record, records
from mmgen.evaluation.report.contact_sheet import contact_sheet, equally_spaced

GALLERY = "gallery.png"
_COLUMNS, _LABELS = 8, 8


def add_gallery(folder: Path) -> None:
    """Draw ``gallery.png`` of a finished data set, show it in its README and list it in ``dataset.json``.

    The README says which files hold samples, so that who opens the data set does not take the picture for one. Of a set
    whose samples may hold parts of real ones nothing is drawn.

    Raises:
        UserError, OSError, ValueError: the data set cannot be read.
    """
    about = read_document(folder)
    if about.get("copies_real_data"):
        return
    labels = [label for label, count in about["counts"].items() if count][:_LABELS]
    contact_sheet({"": _shown(folder, labels)}, _COLUMNS, _LABELS).save(folder / GALLERY, optimize=True)
    picture = f"![Samples of {', '.join(map(in_markdown, labels))}: a row a label and modality]({GALLERY})"
    card = (folder / README).read_text(encoding="utf-8")
    head, title, rest = card.partition("\n# ")
    line, _, rest = rest.partition("\n")
    (folder / README).write_text(f"{head}{title}{line}\n\n{picture}\n{rest}", encoding="utf-8")
    about["checksums"] |= {name: sha256(folder / name) for name in (README, GALLERY)}
    (folder / DOCUMENT).write_text(f"{json.dumps(about, indent=1, ensure_ascii=False)}\n", encoding="utf-8")


def _shown(folder: Path, labels: list[str]) -> dict[str, Samples]:
    """Samples of each modality of a data set, the first segment of each sound: some of each label."""
    about = read_document(folder)
    settings = {name: settings_from_dict(own) for name, own in about["preprocessing"].items()}
    wanted = {label: set(equally_spaced(np.arange(about["counts"][label]), _COLUMNS).tolist()) for label in labels}
    ends = {name: "file_name" if kind_of(own).is_picture else "spectrogram" for name, own in settings.items()}
    seen: Counter[str] = Counter()
    taken: list[str] = []
    values: dict[str, list[np.ndarray]] = {name: [] for name in settings}
    left = sum(map(len, wanted.values()))
    for record in records(folder, about, settings, ends):
        if not left:
            break
        label = record[0]
        if seen[label] in wanted.get(label, ()):
            taken.append(label)
            left -= 1
            for name, array in decode_record(settings, record)[1].items():
                values[name].append(array[:1])
        seen[label] += 1
    numbers, rows = np.array([labels.index(label) for label in taken]), np.arange(len(taken))
    return {name: Samples(np.concatenate(own), numbers, tuple(labels), rows) for name, own in values.items()}
