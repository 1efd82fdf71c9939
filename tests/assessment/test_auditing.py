"""``mmgen.audit``: which attacks are run on what, against whom, and what is not computed twice."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pictures import DRAWN, SHORT, files_of, use_a_search, use_short_attacks, write_csv, write_pictures
from PIL import Image
from small import small_model
from tiny import tiny_drawing
from tiny_medsynth import LABELS, small_generator, write_condensed

import mmgen
from mmgen.artifacts.card_facts import CardFacts
from mmgen.artifacts.models import model_digest, save_model
from mmgen.assessment import auditing
from mmgen.data.phantoms import write_phantoms
from mmgen.data.samples import set_fingerprint
from mmgen.errors import UserError
from mmgen.evaluation.privacy.attacks import (
    closest_features,
    copies,
    domias,
    logan_black_box,
    logan_white_box,
    pass_through,
)
from mmgen.evaluation.privacy.gate import opens
from mmgen.evaluation.privacy.results import DisguisedCopiesResult, DisguisedPair, MembershipResult
from mmgen.generation.plan import make_plan
from mmgen.generation.writing import write_dataset
from mmgen.models.attention_gan import Critic
from mmgen.models.drawn_prior import DrawnPrior
from mmgen.models.medsynth import MedSynthGenerator
from mmgen.release.datasets import dataset_digest
from mmgen.training.run import Checkpoints

ON_DATA = {
    "closest_record",
    "closest_record_features",
    "closest_record_views",
    "domias",
    "logan_black_box",
    "logan_black_box_paper",
}
NOT_ATTACKS = {"recognised", "copies", "disguised_copies", "pass_through", "blind_baseline", "effort"}


@pytest.fixture(autouse=True, scope="module")
def short_attacks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_short_attacks(patch)
        yield


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("an audit") / "члены", seed=1)


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("an audit") / "others", seed=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("an audit") / "made", seed=3)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator, the critic of its last training, and two data sets."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    generator = small_generator()
    generator.save_pretrained(folder / "model")
    for count in (2, 3):
        write_condensed(generator, count, 0, folder / "synthetic" / f"ipc{count}")
    save_critic(folder / "phase2", seed=0)
    return folder


def save_critic(phase: Path, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = Critic(32, 3, len(LABELS), width=8).state_dict()
    state = {f"critic.{key}": value for key, value in weights.items()} | {"generator.x": torch.zeros(1)}
    Checkpoints(phase / "checkpoints").save({"model": state}, 1)


def threats(found: auditing.AuditResult) -> dict[str, str]:
    return {key: entry.threat_model for key, entry in found.privacy.results.items() if key not in NOT_ATTACKS}


def written(out: Path) -> dict[str, Any]:
    return json.loads((out / "privacy.json").read_text(encoding="utf-8"))


# -- what can be audited


def test_a_bare_folder_is_attacked_as_a_set(members: Path, others: Path, made: Path, tmp_path: Path) -> None:
    found = mmgen.audit(made, members, others, tmp_path, fast=True)
    assert threats(found) == dict.fromkeys(ON_DATA, "S")
    logan = [result for key, result in found.privacy.results.items() if "logan" in key]
    assert {(result.n_members, result.n_non_members) for result in logan} == {(16, 16)}
    assert found.privacy.results["copies"].of == 16 and found.privacy.results["copies"].exact == 0
    of = {"modalities": ["image"], "model": None, "data_sets": {}, "members": found.fingerprints}
    assert written(tmp_path)["of"] == of
    assert found.fingerprints == {"image": set_fingerprint(found.members.samples["image"].values)}
    assert written(tmp_path)["privacy"] == found.privacy.to_json()
    assert len(written(tmp_path)["verdicts"]) == len(found.verdicts)
    assert found.opens == opens(found.verdicts)
    assert [figure.title for figure in found.media().figures] == ["Nearest pairs: image"]


def test_a_set_with_copies_of_its_members_is_caught(members: Path, others: Path, tmp_path: Path) -> None:
    leaking = shutil.copytree(members, tmp_path / "leaking")
    for label in LABELS:
        (leaking / label / "000.png").unlink()
    found = mmgen.audit(leaking, members, others, fast=True)
    assert found.privacy.results["copies"].exact == found.privacy.results["copies"].of == 14
    assert all(found.privacy.results[key].auc > 0.9 for key in ("closest_record", "closest_record_features"))
    assert not found.opens
    red = {verdict.attack for verdict in found.verdicts if verdict.light == "red"}
    assert {"exact_copies", "closest_record", "share_closer_to_training"} <= red


def test_soft_labels_of_a_set_are_attacked(members: Path, others: Path, tmp_path: Path) -> None:
    folder, soft = tmp_path / "set", np.full((6, 2), 0.5, dtype=np.float32)
    plan = make_plan(small_generator(), per_class=3, seed=0)
    write_dataset(small_generator(), plan, folder, soft_labels=soft)
    found = mmgen.audit(folder, members, others, tmp_path / "out", fast=True)
    assert threats(found) == dict.fromkeys({*ON_DATA, "soft_labels", "soft_labels_label_only"}, "S")
    assert "soft_labels" in {verdict.attack for verdict in found.verdicts}
    again = mmgen.audit(folder, members, others, tmp_path / "out", fast=True)
    assert again.privacy == found.privacy and again.reused == len(list((tmp_path / "out" / "measured").iterdir()))


@pytest.mark.parametrize("behind", [False, True])
def test_a_teacher_that_a_generator_carries_is_attacked(
    members: Path, others: Path, tmp_path: Path, behind: bool
) -> None:
    """Also one behind the draws that MedSynth's generator starts from."""
    drawing = tiny_drawing(LABELS)
    prior = DrawnPrior.build(drawing)
    model = MedSynthGenerator.build(small_generator().generator, LABELS, prior) if behind else drawing
    model.save_pretrained(tmp_path / "model")
    found = mmgen.audit(tmp_path, members, others, fast=True)
    white = {"teacher", "teacher_label_only", "denoising_error", "reconstruction"}
    assert threats(found) == dict.fromkeys(ON_DATA, "G") | dict.fromkeys(white, "W")
    assert white <= {verdict.attack for verdict in found.verdicts}


def test_a_data_set_is_audited_under_its_digest(run: Path, members: Path, others: Path, tmp_path: Path) -> None:
    folder = run / "synthetic" / "ipc3"
    found = mmgen.audit(folder, members, others, tmp_path, fast=True)
    assert threats(found) == dict.fromkeys(ON_DATA, "S") and found.privacy.results["copies"].of == 6
    assert written(tmp_path)["of"] == {
        "modalities": ["image"],
        "model": None,
        "data_sets": {".": dataset_digest(folder)},
        "members": found.fingerprints,
    }


def test_a_generator_is_asked_for_samples(run: Path, members: Path, others: Path, tmp_path: Path) -> None:
    found, again = (mmgen.audit(run / "model", members, others, tmp_path, fast=True) for _ in range(2))
    assert threats(found) == dict.fromkeys(ON_DATA, "G") and found.privacy.results["copies"].of == DRAWN
    assert again.privacy == found.privacy
    assert written(tmp_path)["of"] == {
        "modalities": ["image"],
        "model": model_digest(small_generator()),
        "data_sets": {},
        "members": found.fingerprints,
    }
    stored = {bytes(image.numpy()) for image in small_generator().sample(3, seed=0).images}
    assert not stored & {np.asarray(image).tobytes() for image in found.synthetic["image"].values}


def test_of_a_run_all_is_audited(run: Path, members: Path, others: Path, tmp_path: Path) -> None:
    found = mmgen.audit(run, members, others, tmp_path, fast=True)
    white = {"logan_white_box": "W", "logan_white_box_paper": "W"}
    assert threats(found) == dict.fromkeys(ON_DATA, "G") | white
    assert len(found.synthetic["image"]) >= DRAWN + 10
    assert written(tmp_path)["of"] == {
        "modalities": ["image"],
        "model": model_digest(small_generator()),
        "data_sets": {f"synthetic/ipc{count}": dataset_digest(run / f"synthetic/ipc{count}") for count in (2, 3)},
        "members": found.fingerprints,
    }


def test_the_critic_is_that_of_the_last_phase(
    run: Path, members: Path, others: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    asked: list[float] = []

    def attack(critic: Critic, *sides: Any) -> Any:
        asked.append(next(critic.parameters()).sum().item())
        return whole(critic, *sides)

    whole = logan_white_box.logan_white_box
    monkeypatch.setattr(logan_white_box, "logan_white_box", attack)
    save_critic(copy / "phase1", seed=1)
    for number in range(3):
        if number == 1:
            save_critic(copy / "phase2", seed=2)  # other weights: not the same result
        if number == 2:
            shutil.rmtree(copy / "phase2")
        mmgen.audit(copy, members, others, tmp_path / "out", fast=True)
    assert len(asked) == 3 and len(set(asked)) == 3
    shutil.rmtree(copy / "phase1")
    assert "logan_white_box" not in mmgen.audit(copy, members, others, tmp_path / "out", fast=True).privacy.results


def test_a_folder_of_data_sets_is_all_of_them(run: Path, members: Path, others: Path, tmp_path: Path) -> None:
    found = mmgen.audit(run / "synthetic", members, others, tmp_path, fast=True)
    assert found.privacy.results["copies"].of == 10 and set(threats(found).values()) == {"S"}
    assert set(written(tmp_path)["of"]["data_sets"]) == {"ipc2", "ipc3"}


def test_a_run_of_a_masked_autoencoder(tmp_path: Path) -> None:
    """Image and audio, with and without a stored set; what it makes starts from its members."""
    run = tmp_path / "run"
    save_model(small_model(), run / "model", CardFacts({"image": {"covid": 7}, "audio": {"covid": 4}}))
    images, audio = write_phantoms(tmp_path / "data", subjects_per_class=8, image_size=32)
    found = mmgen.audit(run, tmp_path / "data", tmp_path / "data", tmp_path / "out", fast=True)
    few = {"blind_baseline", "effort"}  # people, for a comparison without the model
    parts = {f"{attack}/{name}" for attack in (ON_DATA | NOT_ATTACKS) - few for name in ("image", "audio")}
    whole = {f"reconstruction/{name}" for name in ("image", "audio", "joint")}
    assert {key for key in found.privacy.results if key.partition("/")[0] not in few} == parts | whole
    expected = {key: "W" if "reconstruction" in key else "S" for key in found.privacy.results}
    assert all(
        entry.threat_model in (expected[key], "none") for key, entry in found.privacy.of_type(MembershipResult).items()
    )
    assert found.privacy.results["copies/image"].of == DRAWN
    named = {"image": images, "audio": audio}
    assert mmgen.audit(run, named, named, tmp_path / "out", fast=True).privacy == found.privacy


# -- members and others


def test_both_sides_may_come_from_one_table(members: Path, made: Path, tmp_path: Path) -> None:
    rows = [(*row, "test" if number % 2 else "train") for number, row in enumerate(files_of(members))]
    table = write_csv(tmp_path / "data.csv", rows, ("path", "label", "split"))
    found = mmgen.audit(made, table, table, fast=True)
    train = {path for path, _, split in rows if split == "train"}
    numbers = found.privacy.results["closest_record"]
    assert numbers.n_non_members == 8 and numbers.n_members < len(train)  # some are the training's validation
    swapped = mmgen.audit(made, table, table, fast=True, members_split="test", non_members_split="train")
    assert swapped.privacy.results["closest_record"].n_members == 8
    with pytest.raises(UserError, match="have no 'odd' split"):
        mmgen.audit(made, table, table, fast=True, non_members_split="odd")


def test_equal_pictures_on_both_sides_are_counted(members: Path, others: Path, made: Path, tmp_path: Path) -> None:
    shared = shutil.copytree(others, tmp_path / "shared")
    for number in range(3):
        picture = Image.open(members / LABELS[0] / f"{number:03d}.png")
        picture.save(shared / LABELS[1] / f"another-{number}.bmp")
    with pytest.raises(UserError, match=r"^3 records of 'image' are among both .* --leave-out-shared\.$"):
        mmgen.audit(made, members, shared, fast=True)
    found = mmgen.audit(made, members, shared, fast=True, leave_out_shared=True)
    assert found.privacy.results["closest_record"].n_non_members == 16


def test_the_same_people_on_both_sides_are_counted(members: Path, others: Path, made: Path, tmp_path: Path) -> None:
    head = ("path", "label", "patient")
    first, second = (
        write_csv(tmp_path / f"{start}.csv", [(*row, start + n // 2) for n, row in enumerate(files_of(side))], head)
        for start, side in ((0, members), (6, others))
    )
    with pytest.raises(UserError, match=r"^4 records of 2 people of 'image' are among both"):
        mmgen.audit(made, first, second, fast=True)
    found = mmgen.audit(made, first, second, fast=True, leave_out_shared=True)
    assert found.privacy.results["closest_record"].n_non_members == 12


def test_a_class_may_be_missing_on_any_side(members: Path, others: Path, made: Path, tmp_path: Path) -> None:
    sides = [members, others, made]
    for place, side in enumerate(sides):
        shutil.copytree(side / LABELS[0], tmp_path / str(place) / LABELS[0])
        one = [tmp_path / str(place) if number == place else path for number, path in enumerate(sides)]
        found = mmgen.audit(one[2], one[0], one[1], fast=True)
        counts = found.privacy.results["closest_record"]
        assert (counts.n_members, counts.n_non_members, found.privacy.results["copies"].of).count(8) == 1


def test_members_are_named_by_their_content(members: Path, others: Path, made: Path, tmp_path: Path) -> None:
    moved, changed = tmp_path / "moved", shutil.copytree(members, tmp_path / "changed")
    for number, path in enumerate(sorted(members.rglob("*.png"), reverse=True)):
        target = moved / path.parent.name / f"{number:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    picture = next(changed.rglob("*.png"))
    Image.fromarray(255 - np.asarray(Image.open(picture))).save(picture)
    # A blank picture is no record that is attacked, but it was trained on.
    blank = shutil.copytree(members, tmp_path / "blank")
    Image.new("RGB", (32, 32)).save(blank / LABELS[0] / "blank.png")
    names = [
        mmgen.audit(made, side, others, fast=True).fingerprints["image"] for side in (members, moved, changed, blank)
    ]
    assert names[0] == names[1] and len({*names}) == 3


def test_disguised_copies_are_shown_beside_their_training_records(
    members: Path, others: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = (DisguisedPair(3, 5, 1.0, (1.0, 0.0, 0.1, 0.0, 1.0, 0.0), True),)
    use_a_search(
        monkeypatch,
        DisguisedCopiesResult(1, 16, (0.0, 0.3), 0.001, 0.01, 0.05, 40, 0, 40, {"shift": 1.0}, 0.9, 8, pairs),
    )
    found = mmgen.audit(made, members, others, fast=True)
    assert found.privacy.results["disguised_copies"].pairs == pairs
    figures = found.media().figures
    assert [figure.title for figure in figures] == ["Nearest pairs: image", "Disguised copies: image"]
    assert all(figure.shows_real for figure in figures)
    assert "disguised_copies" in {verdict.attack for verdict in found.verdicts if verdict.light == "red"}


# -- nothing twice


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each attack was carried out."""
    counted: Counter[str] = Counter()

    def counting(name: str, attack: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            counted[name] += 1
            return attack(*arguments, **options)

        return run

    for module, name in (
        (copies, "closest_record"),
        (domias, "domias_scores"),
        (logan_black_box, "logan_black_box"),
        (pass_through, "pass_through"),
        (closest_features, "nearest_both"),
    ):
        monkeypatch.setattr(module, name, counting(name, getattr(module, name)))
    return counted


def test_nothing_is_computed_twice(
    members: Path, others: Path, made: Path, tmp_path: Path, calls: Counter[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    copy = shutil.copytree(members, tmp_path / "members")
    first = mmgen.audit(made, copy, others, tmp_path / "out", fast=True)
    done = calls.copy()
    assert done["domias_scores"] == done["logan_black_box"] == 1 and done["closest_record"] == 1
    for path in copy.rglob("*.png"):
        path.rename(path.with_name(f"renamed {path.name}"))  # what a file is called is no part of it
    again = mmgen.audit(made, copy, others, tmp_path / "out", fast=True)
    assert calls == done and again.privacy == first.privacy
    assert again.reused == len(list((tmp_path / "out" / "measured").iterdir())) >= 6
    assert f"{again.reused} results were there from an earlier audit" in caplog.text
    mmgen.audit(made, copy, others, fast=True)
    assert calls["logan_black_box"] == 2  # nothing is kept without a folder


@pytest.mark.parametrize("side", ["members", "others", "made"])
def test_a_changed_file_is_computed_anew(
    members: Path, others: Path, made: Path, tmp_path: Path, calls: Counter[str], side: str
) -> None:
    paths = {"members": members, "others": others, "made": made}
    paths[side] = shutil.copytree(paths[side], tmp_path / side)
    numbers = []
    for shade in (None, 77):
        if shade is not None:
            pixels = np.asarray(Image.open(paths[side] / LABELS[0] / "000.png")).copy()
            pixels[0, 0] = shade
            Image.fromarray(pixels).save(paths[side] / LABELS[0] / "000.png")
        mmgen.audit(paths["made"], paths["members"], paths["others"], tmp_path / "out", fast=True)
        numbers.append(calls.copy())
    assert numbers[1] == Counter({name: 2 * count for name, count in numbers[0].items()})


def test_another_effort_or_seed_is_another_result(
    members: Path, others: Path, made: Path, tmp_path: Path, calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "FULL", auditing.FAST)
    for options in ({"fast": True}, {"fast": True, "seed": 1}, {"fast": False}, {"fast": False, "seed": 1}):
        mmgen.audit(made, members, others, tmp_path, **options)
    assert calls["domias_scores"] == calls["logan_black_box"] == 2  # the same effort, whatever it is called
    monkeypatch.setattr(auditing, "FULL", replace(SHORT, updates=5))
    mmgen.audit(made, members, others, tmp_path)
    assert calls["domias_scores"] == 2 and calls["logan_black_box"] == 3


# -- what is refused


def test_mistakes_are_a_sentence(members: Path, others: Path, made: Path, tmp_path: Path) -> None:
    empty, flat, broken = (tmp_path / name for name in ("empty", "flat", "broken"))
    empty.mkdir()
    shutil.copytree(members / LABELS[0], flat)
    shutil.copytree(members, broken)
    (broken / LABELS[0] / "002.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for arguments, options, words in (
        ((empty, members, others), {}, "holds neither pictures nor sounds"),
        ((tmp_path / "gone", members, others), {}, "gone"),
        ((made, tmp_path / "gone", others), {}, "gone does not exist"),
        ((made, flat, others), {}, "expected FOLDER/LABEL/FILE"),
        ((made, broken, others), {}, r"1 file cannot be used: .*002\.png"),
        ((broken, members, others), {}, r"1 file cannot be used: .*002\.png"),
        ((made, members, others), {"features": "nonsense"}, "There are no features 'nonsense'"),
        ((made, members, others), {"features": "own"}, "There is no own encoder here"),
        ((made, members, others), {"modalities": ["audio"]}, "holds no sounds; correct --modality"),
    ):
        with pytest.raises(UserError, match=words) as refused:
            mmgen.audit(*arguments, tmp_path / "out", fast=True, **options)
        assert "\n" not in str(refused.value)
    assert not (tmp_path / "out" / "privacy.json").exists()
