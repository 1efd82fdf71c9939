from __future__ import annotations

import getpass
import hashlib
import json
import shutil
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import load_file, save_file
from small import SETTINGS, digests, noise_samples, small_model
from tiny_medsynth import LABELS, small_generator, write_condensed

from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.models import load_model, model_digest, save_model
from mmgen.data.images import ImageSettings
from mmgen.data.writing.rejected import reject
from mmgen.data.writing.synthetic import read_dataset
from mmgen.data.writing.verify import verify_dataset
from mmgen.errors import UserError
from mmgen.evaluation.privacy.gate import Thresholds
from mmgen.generation.plan import make_plan
from mmgen.generation.writing import OutputOptions, write_dataset
from mmgen.release import releasing
from mmgen.release.datasets import dataset_digest
from mmgen.release.releasing import ReleaseRefused, write_release

QUIET = {
    "auc": 0.5, "auc_ci": [0.47, 0.53], "tpr_at_1_fpr": 0.01, "tpr_at_1_fpr_ci": [0.0, 0.02], "n_members": 500,
    "n_non_members": 500, "counts": True,
}  # fmt: skip
CLOSE = {
    "exact": 0, "near": 0, "by_ratio": 0, "by_ratio_of_others": 0, "of_others": 200, "of": 400,
    "share_closer_to_training": 0.5, "share_closer_ci": [0.46, 0.54],
}  # fmt: skip
SEARCH = {
    "found": 0, "of": 400, "found_ci": [0.0, 0.01], "p_value": 1.0, "false_alarm_rate": 0.01, "compared": 500,
    "compared_found": 0, "power": {"shift": 0.98, "average of two": 0.61}, "planted": 20, "people": 800,
}  # fmt: skip
PRIVACY = {
    "effort": {"fast": False},
    "logan_white_box": QUIET | {"threat_model": "W"},
    "logan_black_box": QUIET | {"threat_model": "G"},
    "domias": QUIET | {"threat_model": "S"},
    "copies": CLOSE | {"pairs": [{"synthetic": 3, "training": 7_654_321, "distance": 1.5, "kind": "nearest"}]},
    "disguised_copies": SEARCH,
    "pass_through": {"share": 0.0, "how": "class prior", "patches": 0},
}
UTILITY = {"image": {"convnet": {"real+synthetic": {"auc": {"mean": 0.9, "std": 0.1, "ci95": [0.8, 1.0]}, "seeds": 3}}}}
SETS = ("synthetic/ipc2", "synthetic/ipc3")


def audit(run: Path, privacy: Any = PRIVACY, folder: Path | None = None, **record: Any) -> Path:
    """Write the audit of a run as it is now."""
    folder = folder or run / "audit"
    folder.mkdir(exist_ok=True)
    sets = {name: dataset_digest(run / name) for name in SETS if (run / name).is_dir()}
    of = {"model": model_digest(load_model(run)) if (run / "model").is_dir() else None, "data_sets": sets}
    of["modalities"] = ["image"]
    about = {"audited": True, "created": "2026-01-02T03:04:05+00:00", "of": of, "privacy": privacy, "verdicts": []}
    (folder / "privacy.json").write_text(json.dumps(about | record))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with everything that trainings leave in it, and more."""
    run = tmp_path_factory.mktemp("runs") / "mein Lauf"
    generator = small_generator()
    (run / "model").mkdir(parents=True)
    save_model(generator, run / "model", CardFacts({"image": {LABELS[0]: 6, LABELS[1]: 8}}, 14), utility=UTILITY)
    for count, form in ((2, "folder"), (3, "webdataset")):
        write_condensed(generator, count, 0, run / f"synthetic/ipc{count}", OutputOptions(form))  # type: ignore[arg-type]
    for name in ("critic/critic.safetensors", "checkpoints/last.pt", "report/report.json", "report/figures/real.png",
                 "model/critic.safetensors", "model/optimizer.pt", "config.yaml", "metrics.jsonl", "cache/x.npy",
                 "synthetic/notes.txt", "model/figures/real.png"):  # fmt: skip
        path = run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"PLANTED-CRITIC")
    audit(run)
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "mein Lauf"))


def everything_in(folder: Path) -> bytes:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return b"\n".join(str(path.relative_to(folder)).encode() + b"\n" + path.read_bytes() for path in files)


def test_a_clean_run_is_released_whole_and_listed(run: Path, tmp_path: Path) -> None:
    verdicts = write_release(run, tmp_path / "out")
    out = tmp_path / "out"
    assert all(verdict.allowed for verdict in verdicts) and len(verdicts) == 9
    assert {path.name for path in out.iterdir()} == {
        "README.md", "SHA256SUMS", "model", "privacy.json", "release.json", "synthetic",
    }  # fmt: skip
    assert {path.name for path in (out / "model").iterdir()} == {
        "README.md", "config.json", "model.safetensors", "preview.png", "privacy.json", "utility.json",
    }  # fmt: skip
    assert {path.name for path in (out / "synthetic").iterdir()} == {"ipc2", "ipc3"}
    for one in (out / "synthetic").iterdir():
        assert (one / "gallery.png").is_file() and verify_dataset(one) == []
    listed = json.loads((out / "release.json").read_text())["files"]
    present = digests(out)
    assert {name: about["sha256"] for name, about in listed.items()} == {
        name: digest for name, digest in present.items() if name not in ("release.json", "SHA256SUMS")
    }
    assert all((out / name).stat().st_size == about["bytes"] for name, about in listed.items())
    lines = (out / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    assert sums == {name: digest for name, digest in present.items() if name != "SHA256SUMS"}
    assert not list(tmp_path.glob(".tmp-*"))


def test_what_is_released_makes_and_holds_the_same_samples(run: Path, tmp_path: Path) -> None:
    write_release(run, tmp_path / "out")
    before, after = load_model(run), load_model(tmp_path / "out")
    assert torch.equal(before.sample(3, seed=5).images, after.sample(3, seed=5).images)
    weights = "model/model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (run / weights).read_bytes()
    for name in SETS:
        assert verify_dataset(tmp_path / "out" / name) == []
        old, new = (
            read_dataset(root / name, {"image": ImageSettings(32, 3)})["image"] for root in (run, tmp_path / "out")
        )
        assert old.values.tobytes() == new.values.tobytes() and old.label_names == new.label_names
        assert dataset_digest(tmp_path / "out" / name) == dataset_digest(run / name)


def test_nothing_of_machine_user_or_training_data_goes_along(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "annikaschmidt")
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-pc7.klinik.example")
    traces = ["annikaschmidt", "lab-pc7", "/home/annikaschmidt/x", "C:/Users/annikaschmidt", "file:///srv/lesions"]
    written = " ".join(traces)
    for name in ("config.json", "utility.json"):
        path = run / "model" / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {"note": written, "source_image_id": 7_654_321}))
    for name in ("model/README.md", *(f"{name}/README.md" for name in SETS)):
        (run / name).write_text((run / name).read_text(encoding="utf-8") + written, encoding="utf-8")
    facts = json.loads((run / "model" / "card.json").read_text(encoding="utf-8"))
    facts["counts"] |= {written: {LABELS[0]: 3}, "image": facts["counts"]["image"] | {written: 3}}
    facts |= {"note": written, "hidden_patch_errors": {written: 0.5}}
    (run / "model" / "card.json").write_text(json.dumps(facts), encoding="utf-8")
    weights = run / "model" / "model.safetensors"
    save_file(load_file(weights), weights, {"format": "pt", "author": written})
    info = PngInfo()
    info.add_text("author", written)
    preview = run / "model" / "preview.png"
    with Image.open(preview) as picture:
        picture.load()
        picture.save(preview, pnginfo=info)
    privacy = json.loads(json.dumps(PRIVACY))
    privacy["pass_through"]["how"] = written
    audit(run, privacy)
    monkeypatch.setattr(type(small_generator()), "from_pretrained", _ignoring_notes(type(small_generator())))
    write_release(run, tmp_path / "out")
    found = everything_in(tmp_path / "out")
    for trace in (
        *traces,
        "annikaschmidt",
        "klinik",
        "srv/lesions",
        "Users",
        "source_image_id",
        "7654321",
        "PLANTED-CRITIC",
    ):
        assert trace.encode() not in found and trace.lower().encode() not in found.lower(), trace
        assert trace == "klinik" or trace.encode() in everything_in(run)
    assert str(tmp_path).encode() not in found and b"mein Lauf" not in found
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert f"| image | {LABELS[0]} | 6 |" in card and "Of 14 subjects." in card
    assert b"critic" not in b" ".join(str(path).encode() for path in (tmp_path / "out").rglob("*"))


def _ignoring_notes(kind: Any) -> Any:
    """The library's models take no unknown settings; this one does, so that a trace can be planted there."""
    load = kind.from_pretrained

    def loaded(folder: Any, **options: Any) -> Any:
        config = folder / "config.json"
        text = config.read_text()
        config.write_text(json.dumps({key: value for key, value in json.loads(text).items() if key != "note"}))
        try:
            return load(folder, **options)
        finally:
            config.write_text(text)

    return staticmethod(loaded)


def changed(key: str, **numbers: Any) -> dict[str, Any]:
    return {**PRIVACY, key: PRIVACY[key] | numbers}


LEAKS = [
    ("logan_white_box", changed("logan_white_box", auc=0.8, auc_ci=[0.7, 0.9]), "LOGAN, white box: AUC 0.80", "0.15"),
    ("logan_black_box", changed("logan_black_box", auc=0.8, auc_ci=[0.7, 0.9]), "LOGAN, black box: AUC 0.80", "0.15"),
    ("domias", changed("domias", auc=0.8, auc_ci=[0.75, 0.9]), "DOMIAS: AUC 0.80", "0.2"),
    ("domias", changed("domias", tpr_at_1_fpr=0.2, tpr_at_1_fpr_ci=[0.13, 0.3]), "20 % of the members", "0.1"),
    ("exact_copies", changed("copies", exact=12), "12 of 400 synthetic records are exact copies", "12"),
    ("near_copies", changed("copies", near=1), "is a near copy", "1"),
    ("share_closer_to_training", changed("copies", share_closer_to_training=0.7, share_closer_ci=[0.65, 0.75]),
     "70 % of the synthetic records are closer", "0.1"),
    ("disguised_copies", changed("disguised_copies", found=9, p_value=1e-6), "9 of 400 synthetic records", "9"),
    ("recognised", PRIVACY | {"recognised": {"recognised": 0.3, "recognised_ci": [0.23, 0.4], "others_ci": [0.0, 0.1]}},
     "30 % (23 to 40 %) are taken for a person of the training data", "0.13"),
    ("pass_through", changed("pass_through", share=0.25), "pass-through of records: 25 %", "0.25"),
]  # fmt: skip


@pytest.mark.parametrize(("attack", "privacy", "words", "excess"), LEAKS)
def test_every_number_that_is_too_high_closes_the_gate(
    run: Path, tmp_path: Path, attack: str, privacy: dict, words: str, excess: str
) -> None:
    audit(run, privacy, verdicts=[{"attack": attack, "light": "green", "allowed": True}])  # which nobody believes
    with pytest.raises(ReleaseRefused) as refused:
        write_release(run, tmp_path / "out")
    message = str(refused.value)
    assert words in message and f"[{attack}: " in message and f"{excess} above" in message and "--override" in message
    assert message.count(" above ") == 1  # nothing else failed
    assert list(tmp_path.iterdir()) == [run]


def test_thresholds_are_the_callers(run: Path, tmp_path: Path) -> None:
    audit(run, changed("domias", auc=0.8, auc_ci=[0.75, 0.9]))
    write_release(run, tmp_path / "out", Thresholds(mia_auc=0.8))
    assert json.loads((tmp_path / "out" / "privacy.json").read_text())["thresholds"]["mia_auc"] == 0.8


@pytest.mark.parametrize("attack", ["logan_white_box", "logan_black_box"])
def test_attacks_on_the_generator_do_not_count_for_data_alone(run: Path, tmp_path: Path, attack: str) -> None:
    audit(run, changed(attack, auc=0.9, auc_ci=[0.85, 0.95]))
    with pytest.raises(ReleaseRefused):
        write_release(run, tmp_path / "model", parts="model")
    verdicts = write_release(run, tmp_path / "data", parts="data")
    assert attack not in {verdict.attack for verdict in verdicts}
    assert not (tmp_path / "data" / "model").exists() and (tmp_path / "data" / "synthetic").is_dir()
    assert "LOGAN" not in (tmp_path / "data" / "README.md").read_text(encoding="utf-8")


def test_without_an_attack_on_the_data_that_on_the_generator_counts_for_them(run: Path, tmp_path: Path) -> None:
    audit(run, {key: entry for key, entry in PRIVACY.items() if key != "domias"})
    verdicts = write_release(run, tmp_path / "out", parts="data")
    assert [verdict.attack for verdict in verdicts if "logan" in verdict.attack] == ["logan_black_box"]
    loud = changed("logan_black_box", auc=0.9, auc_ci=[0.85, 0.95])
    audit(run, {key: entry for key, entry in loud.items() if key != "domias"})
    with pytest.raises(ReleaseRefused, match="logan_black_box"):
        write_release(run, tmp_path / "other", parts="data")


def test_realism_is_no_evidence(run: Path, tmp_path: Path) -> None:
    audit(run, PRIVACY | {key: PRIVACY[key] | {"counts": False} for key in ("logan_white_box", "logan_black_box")})
    with pytest.raises(ReleaseRefused, match="generator: not attacked"):
        write_release(run, tmp_path / "out")


def test_a_model_alone(run: Path, tmp_path: Path) -> None:
    write_release(run, tmp_path / "out", parts="model")
    assert not (tmp_path / "out" / "synthetic").exists() and load_model(tmp_path / "out")
    write_release(run / "model", tmp_path / "bare", audit=run / "audit")
    assert digests(tmp_path / "bare" / "model") == digests(tmp_path / "out" / "model")


@pytest.mark.parametrize("name", SETS)
def test_a_data_set_alone(run: Path, tmp_path: Path, name: str) -> None:
    write_release(run / name, tmp_path / "out", audit=run / "audit")
    assert dataset_digest(tmp_path / "out" / "synthetic") == dataset_digest(run / name)
    with pytest.raises(ReleaseRefused, match="not audited"):
        write_release(run / name, tmp_path / "other")


@pytest.mark.parametrize(
    "record", [None, {"audited": False}, {"privacy": {}}, {"privacy": {"refused": "no held-out records"}}]
)
def test_what_is_not_audited_is_refused(run: Path, tmp_path: Path, record: Any) -> None:
    (run / "audit" / "privacy.json").unlink()
    if record is not None:
        audit(run, **record)
    with pytest.raises(ReleaseRefused, match="not audited"):
        write_release(run, tmp_path / "out")


@pytest.mark.parametrize(
    ("missing", "parts", "words"),
    [
        (("effort",), "all", "effort: whether the attacks were short is not known"),
        (("effort",), "data", "effort: whether the attacks were short is not known"),
        (("disguised_copies",), "all", "image: not searched for disguised copies"),
        (("disguised_copies",), "data", "image: not searched for disguised copies"),
        (("copies",), "all", "image: copies not counted"),
        (("logan_white_box", "logan_black_box"), "all", "generator: not attacked"),
        (("domias", "logan_black_box"), "data", "image: membership not attacked"),
        (("pass_through",), "all", "image: pass-through not measured"),
        (("pass_through",), "data", "image: pass-through not measured"),
    ],
)
def test_half_an_audit_is_no_evidence(run: Path, tmp_path: Path, missing: Any, parts: Any, words: str) -> None:
    audit(run, {key: entry for key, entry in PRIVACY.items() if key not in missing})
    with pytest.raises(ReleaseRefused, match=words):
        write_release(run, tmp_path / "out", parts=parts)


@pytest.mark.parametrize(
    ("key", "numbers", "words"),
    [
        ("effort", {"fast": True}, "the attacks were short; audit in full before a release"),
        ("domias", {"n_non_members": 24}, r"too few records for evidence \(24, at least 30 are needed\)"),
        ("copies", {"of": 20}, r"too few records for evidence \(20, at least 30 are needed\)"),
        ("disguised_copies", {"power": {"shift": 0.3}}, "this audit could not have found disguised copies"),
    ],
)
def test_an_audit_that_sees_little_releases_nothing(
    run: Path, tmp_path: Path, key: str, numbers: dict[str, Any], words: str
) -> None:
    audit(run, changed(key, **numbers))
    for parts in ("all", "data"):
        with pytest.raises(ReleaseRefused, match=words):
            write_release(run, tmp_path / "out", parts=parts)  # type: ignore[arg-type]


TRAINED, ANOTHER = "0123456789abcdef01234567", "fedcba987654321001234567"


def trained_on(run: Path, members: dict[str, str]) -> None:
    """Record what a run was trained on."""
    path = run / "model" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"members": members}), encoding="utf-8")


def audited_against(run: Path, members: Any) -> None:
    audit(run)
    record = json.loads((run / "audit" / "privacy.json").read_text())
    record["of"]["members"] = members
    (run / "audit" / "privacy.json").write_text(json.dumps(record))


@pytest.mark.parametrize("members", [{"image": ANOTHER}, {"audio": TRAINED}, {}, None])
def test_an_audit_against_other_members_releases_nothing(run: Path, tmp_path: Path, members: Any) -> None:
    """A lesion model is not released on an audit against breast ultrasound, nor is a part of its run."""
    trained_on(run, {"image": TRAINED})
    audited_against(run, members)
    for what, parts in ((run, "all"), (run, "model"), (run, "data"), (run / "model", "all"), (run / SETS[0], "all")):
        with pytest.raises(
            ReleaseRefused, match="image: the audit was made against other members than the training da"
        ):
            write_release(what, tmp_path / "out", parts=parts, audit=run / "audit")  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()
    elsewhere = shutil.copytree(run / SETS[0], tmp_path / "a set without its run")
    write_release(elsewhere, tmp_path / "alone", audit=run / "audit")
    audited_against(run, {"image": TRAINED})
    write_release(run, tmp_path / "out")
    shared = json.loads((tmp_path / "out" / "privacy.json").read_text())
    assert shared["of"]["members"] == {"image": TRAINED}
    for card in ("README.md", "model/README.md", f"{SETS[0]}/README.md"):
        assert f"Fingerprint of the members: image {TRAINED}." in (tmp_path / "out" / card).read_text(encoding="utf-8")


@pytest.mark.parametrize("recorded", [{}, {"audio": ANOTHER}, None])
def test_where_no_training_data_are_recorded_the_members_are_only_shown(
    run: Path, tmp_path: Path, recorded: dict[str, str] | None
) -> None:
    if recorded is None:
        (run / "model" / "card.json").unlink()
    else:
        trained_on(run, recorded)
    audited_against(run, {"image": ANOTHER, "audio": ANOTHER, "Maria Rossi": ANOTHER, "joint": "of Maria Rossi"})
    write_release(run, tmp_path / "out")
    assert f"Fingerprint of the members: image {ANOTHER}.\n" in (tmp_path / "out" / "README.md").read_text()
    assert b"Maria" not in everything_in(tmp_path / "out")


def test_an_override_against_other_members_stands_on_the_card(run: Path, tmp_path: Path) -> None:
    trained_on(run, {"image": TRAINED})
    audited_against(run, {"image": ANOTHER})
    write_release(run, tmp_path / "out", override=("Dr Who", "these are phantoms"))
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").partition("## Released against the audit\n")[2]
    assert "image: the audit was made against other members than the training data" in text


def test_only_known_disguises_are_named(run: Path, tmp_path: Path) -> None:
    note = {"note": "Maria Rossi has one record"}
    power = {"Maria Rossi": 0.7, "shift": 0.9, "average of two": 0.8}
    audit(run, changed("disguised_copies", power=power) | {"recognised": {"recognised": 0.0} | note})
    write_release(run, tmp_path / "out")
    assert b"Maria" not in everything_in(tmp_path / "out")
    assert "80 % of 'average of two'" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_who_has_one_record_cannot_be_recognised_and_the_card_says_so(run: Path, tmp_path: Path) -> None:
    audit(run, PRIVACY | {"recognised": {"note": "each person has one record"}})
    write_release(run, tmp_path / "out")
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert "* amber: people in records: whether they are recognised could not be measured: each person has one" in card


def test_what_the_audit_did_not_see_is_refused(run: Path, tmp_path: Path) -> None:
    record = json.loads((run / "audit" / "privacy.json").read_text())
    del record["of"]["data_sets"][SETS[1]]
    (run / "audit" / "privacy.json").write_text(json.dumps(record))
    with pytest.raises(ReleaseRefused, match="synthetic/ipc3: not audited"):
        write_release(run, tmp_path / "out")
    record["of"]["model"] = None
    (run / "audit" / "privacy.json").write_text(json.dumps(record))
    with pytest.raises(ReleaseRefused, match="model: not audited"):
        write_release(run, tmp_path / "out", parts="model")


def spoil_weights(run: Path) -> None:
    path = run / "model" / "model.safetensors"
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    save_file(tensors | {name: tensors[name] + 1e-3}, path, {"format": "pt"})


def spoil_class_names(run: Path) -> None:
    path = run / "model" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(config | {"class_names": config["class_names"][::-1]}), encoding="utf-8")


def spoil_picture(run: Path) -> None:
    path = min((run / SETS[0]).rglob("*.png"))
    Image.new("RGB", (32, 32)).save(path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_weights, "The model was changed after the audit; audit it again"),
        (spoil_class_names, "The model was changed after the audit; audit it again"),
        (spoil_picture, "The data set synthetic/ipc2 was changed after the audit; audit it again"),
    ],
)
@pytest.mark.parametrize("override", [None, ("Dr Who", "we are sure")])
def test_what_was_changed_after_the_audit_is_refused(
    run: Path, tmp_path: Path, spoil: Callable[[Path], None], words: str, override: Any
) -> None:
    spoil(run)
    with pytest.raises(UserError, match=words):
        write_release(run, tmp_path / "out", override=override)
    assert list(tmp_path.iterdir()) == [run]


def test_an_override_is_written_on_every_card(run: Path, tmp_path: Path) -> None:
    audit(run, changed("copies", exact=12))
    verdicts = write_release(run, tmp_path / "out", override=("Dr Who", "The copies are of phantoms."))
    out = tmp_path / "out"
    assert sum(not verdict.allowed for verdict in verdicts) == 1
    for name in ("README.md", "model/README.md", *(f"{name}/README.md" for name in SETS)):
        text = (out / name).read_text(encoding="utf-8")
        section = text.partition("## Released against the audit\n")[2]
        assert "Released by Dr Who on 2" in section and "because: The copies are of phantoms." in section
        assert "12 of 400 synthetic records are exact copies" in section and "DOMIAS" not in section
    for name in ("privacy.json", "model/privacy.json"):
        override = json.loads((out / name).read_text())["override"]
        assert (override["name"], override["because"]) == ("Dr Who", "The copies are of phantoms.")
        assert len(override["failed"]) == 1 and override["date"] >= "2025"


def test_an_override_tells_nothing_of_the_machine(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "annikas")
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-pc7.klinik.example")
    caplog.set_level("INFO")
    audit(run, changed("copies", exact=12))
    name = "Dr *Who*\n\n# <b> who@klinik.example"
    reason = "agreed, see /home/annikas/consent.pdf\u202e on lab-pc7\n\n![x](y) &#8238; by annikas"

    def fill(*arguments: Any) -> None:
        said.append(caplog.messages[-1])
        raise KeyboardInterrupt

    said: list[str] = []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(releasing, "_fill", fill)
        write_release(run, tmp_path / "out", override=(name, reason))
    write_release(run, tmp_path / "out", override=(name, reason))
    found = everything_in(tmp_path / "out")
    for trace in ("klinik", "lab-pc7", "annikas", "/home", "consent", "\u202e"):
        assert trace.encode() not in found
    name, reason = "Dr *Who* # <b> [address]", "agreed, see [path] on [host] ![x](y) &#8238; by [user]"
    assert said == [f"The card will say: Released by {name} on {datetime.now(UTC).date()}, although the audit did not "
                    f"allow it, because: {reason}"]  # fmt: skip
    override = json.loads((tmp_path / "out" / "privacy.json").read_text())["override"]
    assert (override["name"], override["because"]) == (name, reason)
    for path in (tmp_path / "out").rglob("README.md"):
        section = path.read_text(encoding="utf-8").partition("## Released against the audit\n\n")[2]
        first = section.partition("\n")[0]
        assert r"Dr \*Who\* # \<b\> \[address\]" in first
        assert r"see \[path\] on \[host\] !\[x\](y) \&#8238; by \[user\]" in first


def test_what_a_killed_release_left_is_removed(run: Path, tmp_path: Path) -> None:
    (tmp_path / ".tmp-0123abcd-out" / "model").mkdir(parents=True)
    (tmp_path / ".tmp-0123abcd-out" / "model" / "half").write_text("x")
    write_release(run, tmp_path / "out", parts="model")
    assert {path.name for path in tmp_path.iterdir()} == {run.name, "out"}


def test_an_override_that_is_not_needed_leaves_no_word(run: Path, tmp_path: Path) -> None:
    write_release(run, tmp_path / "out", override=("Dr Who", "to be sure"))
    assert b"Dr Who" not in everything_in(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "privacy.json").read_text())["override"] is None


def test_without_an_audit_an_override_says_so(run: Path, tmp_path: Path) -> None:
    shutil.rmtree(run / "audit")
    write_release(run, tmp_path / "out", override=("Dr Who", "It is made of phantoms."))
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert "\nNot audited.\n" in card and "Released by Dr Who" in card
    assert json.loads((tmp_path / "out" / "privacy.json").read_text())["audited"] is False


@pytest.mark.parametrize("override", [("", "because"), ("Dr Who", "  ")])
def test_an_override_needs_name_and_reason(run: Path, tmp_path: Path, override: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="--override NAME --because REASON"):
        write_release(run, tmp_path / "out", override=override)


def test_the_card_says_what_the_audit_found(run: Path, tmp_path: Path) -> None:
    write_release(run, tmp_path / "out")
    card = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert card.count("## Privacy\n") == 1 and "Audited on 2026-01-02." in card
    assert "* green: LOGAN, white box: AUC 0.50" in card and "not audited" not in card.lower()
    assert LABELS[1] in card and "preview.png" in card  # the rest of the card is as it was
    for name in SETS:
        assert "none of 400 synthetic records are exact copies" in (tmp_path / "out" / name / "README.md").read_text()


def test_single_records_are_not_in_the_shared_audit(run: Path, tmp_path: Path) -> None:
    write_release(run, tmp_path / "out")
    shared = json.loads((tmp_path / "out" / "privacy.json").read_text())
    assert "pairs" not in shared["privacy"]["copies"] and shared["privacy"]["copies"]["exact"] == 0
    assert shared["privacy"]["domias"]["auc"] == 0.5
    assert shared["of"]["data_sets"].keys() == set(SETS) and shared["of"]["model"] == model_digest(load_model(run))


def test_a_folder_that_is_in_use_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write_release(run, tmp_path / "out")  # empty
    before = digests(tmp_path / "out")
    with pytest.raises(UserError, match="is not an empty folder"):
        write_release(run, tmp_path / "out")
    assert digests(tmp_path / "out") == before


@pytest.mark.parametrize("kind", ["file", "link"])
def test_only_a_folder_can_be_filled(run: Path, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is not an empty folder; choose another --out"):
        write_release(run, out)


def test_copies_that_differ_from_what_was_audited_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a generation had written to the folder between the look at it and the copy."""
    copy = releasing.copy_dataset

    def copy_others(source: Path, target: Path, *further: Any) -> list[str]:
        spoil_picture(run)
        return copy(source, target, *further)

    monkeypatch.setattr(releasing, "copy_dataset", copy_others)
    with pytest.raises(UserError, match="changed while they were released"):
        write_release(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [run]


def test_a_release_that_fails_leaves_nothing(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def full(folder: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(releasing, "_write_checksums", full)
    with pytest.raises(UserError, match="disk is full"):
        write_release(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [run]


@pytest.mark.parametrize("name", ["model/model.safetensors", "model/card.json", "model", "synthetic/ipc2"])
def test_links_are_not_followed(run: Path, tmp_path: Path, name: str) -> None:
    (run / name).rename(run / "elsewhere")
    (run / name).symlink_to(run / "elsewhere")
    with pytest.raises(UserError, match="is a link, which is not followed"):
        write_release(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [run]


@pytest.mark.parametrize(("parts", "words"), [("all", "neither"), ("model", "no model"), ("data", "no finished data")])
def test_an_empty_folder_has_nothing_to_release(tmp_path: Path, parts: Any, words: str) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match=words):
        write_release(tmp_path / "run", tmp_path / "out", parts=parts)


def test_a_damaged_audit_is_named(run: Path, tmp_path: Path) -> None:
    for text in ("{", '{"audited": true}', "[]"):
        (run / "audit" / "privacy.json").write_text(text)
        with pytest.raises(UserError, match=r"privacy.json is no privacy audit"):
            write_release(run, tmp_path / "out")


def test_a_masked_autoencoder_and_its_tuples(tmp_path: Path) -> None:
    run, model, samples = tmp_path / "run", small_model(), noise_samples()
    save_model(model, run / "model", CardFacts({"image": {"covid": 7}}))
    write_dataset(model, make_plan(model, samples, 2), run / "synthetic", model_name="covid /home/x")
    names = {key: entry for key, entry in by_modality(PRIVACY).items() if "logan_white_box" not in key}
    folder = audit(run, names)
    record = json.loads((folder / "privacy.json").read_text())
    record["of"] |= {"data_sets": {"synthetic": dataset_digest(run / "synthetic")}, "modalities": list(SETTINGS)}
    (folder / "privacy.json").write_text(json.dumps(record))
    write_release(run, tmp_path / "out")
    old, new = (read_dataset(root / "synthetic", SETTINGS) for root in (run, tmp_path / "out"))
    assert all(old[name].values.tobytes() == new[name].values.tobytes() for name in SETTINGS)
    assert b"source_" in everything_in(run) and b"source_" not in everything_in(tmp_path / "out")
    digest = hashlib.sha256((tmp_path / "out" / "model" / "model.safetensors").read_bytes()).hexdigest()
    assert (
        json.loads((tmp_path / "out" / "release.json").read_text())["files"]["model/model.safetensors"]["sha256"]
        == digest
    )


def by_modality(privacy: dict[str, Any]) -> dict[str, Any]:
    named = [(key, f"{key}/{name}") for key in privacy for name in SETTINGS]
    return {key if key == "effort" else whole: privacy[key] for key, whole in named}


def two_modalities(run: Path) -> dict[str, Any]:
    """A masked autoencoder and its tuples, audited whole; the record of the audit."""
    model, samples = small_model(), noise_samples()
    save_model(model, run / "model", CardFacts({"image": {"covid": 7}}))
    write_dataset(model, make_plan(model, samples, 2), run / "synthetic", model_name="tiny")
    folder = audit(run, by_modality(PRIVACY))
    record = json.loads((folder / "privacy.json").read_text())
    record["of"] |= {"data_sets": {"synthetic": dataset_digest(run / "synthetic")}, "modalities": list(SETTINGS)}
    (folder / "privacy.json").write_text(json.dumps(record))
    return record


@pytest.mark.parametrize("parts", ["all", "model", "data"])
def test_an_audit_of_one_modality_does_not_release_two(tmp_path: Path, parts: Any) -> None:
    run = tmp_path / "run"
    record = two_modalities(run)
    write_release(run, tmp_path / "whole", parts=parts)
    of = record["of"]
    (run / "audit" / "privacy.json").write_text(
        json.dumps(record | {"privacy": PRIVACY, "of": of | {"modalities": ["image"]}})
    )
    with pytest.raises(ReleaseRefused, match="audio: this modality is not audited"):
        write_release(run, tmp_path / "out", parts=parts)
    # Named, but without numbers.
    half = {key: entry for key, entry in record["privacy"].items() if not key.endswith("/audio")}
    (run / "audit" / "privacy.json").write_text(json.dumps(record | {"privacy": half}))
    with pytest.raises(ReleaseRefused, match=r"audio: copies not counted.*audio: membership not attacked"):
        write_release(run, tmp_path / "out", parts=parts)


@pytest.mark.parametrize("modalities", [None, "image", {"image": 1}])
def test_an_audit_that_does_not_say_of_what_is_none(run: Path, tmp_path: Path, modalities: Any) -> None:
    path = run / "audit" / "privacy.json"
    record = json.loads(path.read_text())
    record["of"]["modalities"] = modalities
    path.write_text(json.dumps(record))
    with pytest.raises(ReleaseRefused, match="image: this modality is not audited"):
        write_release(run, tmp_path / "out")
    del record["of"]["modalities"]
    path.write_text(json.dumps(record))
    with pytest.raises(ReleaseRefused, match="image: this modality is not audited"):
        write_release(run, tmp_path / "out")


@pytest.mark.parametrize("key", ["copies", "pass_through", "domias", "blind_baseline"])
@pytest.mark.parametrize("entry", [None, [], "fine"])
def test_an_entry_without_numbers_closes_the_gate(run: Path, tmp_path: Path, key: str, entry: Any) -> None:
    audit(run, PRIVACY | {key: entry})
    with pytest.raises(ReleaseRefused, match="gave no result"):
        write_release(run, tmp_path / "out")


@pytest.mark.parametrize("auc", [None, float("nan"), "0.5", True])
def test_an_attack_without_a_result_is_no_evidence(run: Path, tmp_path: Path, auc: Any) -> None:
    quiet = {key: entry for key, entry in PRIVACY.items() if not key.startswith(("logan", "domias"))}
    audit(run, quiet | {"domias": PRIVACY["domias"] | {"auc": auc}})
    with pytest.raises(ReleaseRefused, match="image: membership not attacked"):
        write_release(run, tmp_path / "out", parts="data")


def test_no_planted_key_gets_into_a_model(run: Path, tmp_path: Path) -> None:
    config = run / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"patient": "Maria Rossi"}))
    planted: dict[str, Any] = json.loads(json.dumps(UTILITY))
    planted["patient"] = "Maria Rossi"
    planted["image"]["Maria Rossi"] = planted["image"]["convnet"]
    entry = planted["image"]["convnet"]["real+synthetic"]
    entry |= {"patient": 1954, "updates": "Maria Rossi", "accuracy": {"mean": 0.5, "patient": 1954}, "n_test": True}
    entry |= {"folds": float("nan"), "seeds": 10**400, "recovery": ["Maria Rossi"]}
    (run / "model" / "utility.json").write_text(json.dumps(planted))
    audit(run)
    write_release(run, tmp_path / "out")
    found = everything_in(tmp_path / "out")
    assert all(trace not in found for trace in (b"patient", b"Maria", b"1954"))
    kept = json.loads((tmp_path / "out" / "model" / "utility.json").read_text())
    score = UTILITY["image"]["convnet"]["real+synthetic"]
    assert kept == {"image": {"convnet": {"real+synthetic": {"auc": score["auc"], "accuracy": {"mean": 0.5}}}}}
    assert torch.equal(load_model(tmp_path / "out").sample(2).images, load_model(run).sample(2).images)


def test_the_card_is_written_anew(run: Path, tmp_path: Path) -> None:
    write_release(run, tmp_path / "out")
    card = run / "model" / "README.md"
    card.write_text("# Lesions of Maria Rossi\n\n## Privacy\n\n* real pixels in the output: of Maria Rossi\n")
    write_release(run, tmp_path / "again")
    assert digests(tmp_path / "again") == digests(tmp_path / "out")
    card.unlink()
    (run / "model" / "card.json").unlink()
    write_release(run, tmp_path / "bare", parts="model")
    text = (tmp_path / "bare" / "model" / "README.md").read_text(encoding="utf-8")
    assert "Subjects are not known." in text and "training images:" not in text and LABELS[0] in text
    with_facts = (tmp_path / "out" / "model" / "README.md").read_text(encoding="utf-8")
    assert text.partition("## Privacy")[2] == with_facts.partition("## Privacy")[2]


@pytest.mark.parametrize("planted", [[], {"counts": {}}, {"counts": {"image": {"gesund": "7 of Maria Rossi"}}}])
def test_damaged_facts_are_refused(run: Path, tmp_path: Path, planted: Any) -> None:
    path = run / "model" / "card.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(facts | planted if planted and planted["counts"] else planted), encoding="utf-8")
    with pytest.raises(UserError, match=r"A file of the model .* is damaged \(card.json"):
        write_release(run, tmp_path / "out")


def test_an_audit_with_entries_of_other_kinds_is_none(run: Path, tmp_path: Path) -> None:
    audit(run, PRIVACY | {"Maria Rossi": QUIET})
    with pytest.raises(UserError, match="no privacy audit"):
        write_release(run, tmp_path / "out")


def test_why_an_audit_was_refused_stays_at_home(run: Path, tmp_path: Path) -> None:
    """The reason may name files."""
    audit(run, {"refused": "/srv/lesions holds no held-out records"})
    with pytest.raises(ReleaseRefused, match="/srv/lesions holds no held-out records"):
        write_release(run, tmp_path / "out")
    write_release(run, tmp_path / "out", override=("Dr Who", "It is made of phantoms."))
    assert b"/srv" not in everything_in(tmp_path / "out")
    assert "not audited: no audit was possible" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_data_sets_with_names_of_their_own_get_numbers(run: Path, tmp_path: Path) -> None:
    for name in ("ipc2", "ipc3"):
        (run / "synthetic" / name).rename(run / "synthetic" / f"rossi_{name}")
    audit(run)
    record = json.loads((run / "audit" / "privacy.json").read_text())
    record["of"]["data_sets"] = {path.name: dataset_digest(path) for path in (run / "synthetic").glob("rossi*")}
    (run / "audit" / "privacy.json").write_text(json.dumps(record))
    write_release(run, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out" / "synthetic").iterdir()} == {"0", "1"}
    assert b"rossi" not in everything_in(tmp_path / "out")


def test_the_preview_is_drawn_anew(run: Path, tmp_path: Path) -> None:
    path = run / "model" / "preview.png"
    drawn = path.read_bytes()
    Image.new("RGB", (64, 64), "red").save(path)
    write_release(run, tmp_path / "out")
    assert (tmp_path / "out" / "model" / "preview.png").read_bytes() == drawn


def test_a_masked_autoencoder_has_no_preview_and_no_unknown_setting(tmp_path: Path) -> None:
    run = tmp_path / "run"
    two_modalities(run)
    Image.new("RGB", (8, 8)).save(run / "model" / "preview.png")
    write_release(run, tmp_path / "out", parts="model")
    assert not (tmp_path / "out" / "model" / "preview.png").exists()
    config = run / "model" / "config.json"
    text = json.loads(config.read_text())
    text["preprocessing"]["image"]["patient"] = "Maria Rossi"
    config.write_text(json.dumps(text))
    with pytest.raises(UserError, match=r"cannot be used: .* unexpected keyword argument 'patient'"):
        write_release(run, tmp_path / "other", parts="model")
    assert not (tmp_path / "other").exists()


def test_rejected_samples_are_not_released_and_that_is_said(run: Path, tmp_path: Path, caplog: Any) -> None:
    caplog.set_level("INFO")
    reject(run / SETS[0], f"images/{LABELS[0]}/000001.png", True)
    verdicts = write_release(run, tmp_path / "out")
    assert all(verdict.allowed for verdict in verdicts), "a part of what was audited shows no more than the whole"
    assert f"Left out of {SETS[0]}: 1 rejected samples, listed in its rejected.csv." in caplog.messages
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert readme.count("without 1 rejected samples") == 1
    assert not (tmp_path / "out" / SETS[0] / "images" / LABELS[0] / "000001.png").exists()
    about = json.loads((tmp_path / "out" / "privacy.json").read_text())["of"]["data_sets"]
    assert about == {name: dataset_digest(tmp_path / "out" / name) for name in SETS}
    assert about[SETS[0]] != dataset_digest(run / SETS[0]) and about[SETS[1]] == dataset_digest(run / SETS[1])
