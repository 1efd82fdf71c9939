from __future__ import annotations

import getpass
import json
import socket
from pathlib import Path

import pytest

from mmgen.release.scrubbing import NAME, PATH, Scrubber, names_of_this_machine

SCRUBBER = Scrubber(frozenset({"Annika", "lab-pc7", "max"}))


@pytest.mark.parametrize(
    "path",
    [
        "/home/annika/lesions",
        "/data",
        "/mnt/Ärzte/スキャン/1.png",
        "/srv/.cache/x",
        "~/lesions/1.png",
        "~bob/lesions",
        "C:\\Users\\bob\\lesions",
        "d:/lesions/1.png",
        "\\\\server\\share\\1.png",
        "file:///home/bob/1.png",
        "file:/home/bob",
        "s3://hospital-bucket/1.png",
        "sftp://bob@machine/x",
    ],
)
def test_absolute_paths_go_wherever_they_stand(path: str) -> None:
    assert SCRUBBER.value(path) == PATH
    assert SCRUBBER.value(f" {path} and more") == PATH  # a value that begins with one
    assert SCRUBBER.prose(f"It was read from {path}, then trained.") == f"It was read from {PATH}, then trained."
    assert SCRUBBER.prose(f"--out={path}") == f"--out={PATH}"
    assert SCRUBBER.prose(f"[card]({path})") == f"[card]({PATH})"
    assert SCRUBBER.prose(f"see `{path} of bob/x`.") == f"see `{PATH}`."
    assert SCRUBBER.prose(f'{{"a": "{path} of bob"}}') == f'{{"a": "{PATH}"}}'


def test_what_stands_before_a_path_stays() -> None:
    assert SCRUBBER.prose("read:/home/bob/x </home/bob/x> */srv/x") == f"read:{PATH} <{PATH}> *{PATH}"


def test_a_folder_with_blanks_goes_whole() -> None:
    assert SCRUBBER.value("/home/eva maria/x y.png") == PATH
    assert SCRUBBER.prose("from /home/eva maria/lesions in May") == f"from {PATH} in May"
    assert SCRUBBER.prose("from C:\\Users\\Eva Maria\\lesions in May") == f"from {PATH} in May"
    assert SCRUBBER.prose(r"from /home/eva\ maria/x in May") == f"from {PATH} in May"


@pytest.mark.parametrize(
    "text",
    [
        "images/covid/000000.png",
        "and/or 3/4, 5 / 10, /5, km/h, w/o",
        "https://example.org/a/b?c=d and http://x.org",
        'load_dataset("webdataset", data_files="this folder/shards/*.tar")',
        "<b>bold</b> text",
        "../beside/it and ./here",
        "about ~5/10",
        "ratio 1:/2",
        "max_side of maximal manifolds",
    ],
)
def test_other_text_stays(text: str) -> None:
    scrubber = Scrubber(SCRUBBER.names - {"max"})
    assert scrubber.prose(text) == text


def test_names_go_as_whole_words_in_any_case() -> None:
    prose = SCRUBBER.prose("ANNIKA's run_annika_3 on lab-pc7.hospital.org; Annikas, maximal")
    assert prose == f"{NAME}'s run_{NAME}_3 on {NAME}.hospital.org; Annikas, maximal"


def test_json_loses_source_ids_and_traces_but_no_numbers() -> None:
    about = {
        "source_audio_id": 5, "source_id": 1, "Source_Image_IDs": [1], "sources": 3, "max_side": 64, "annika": 1.5,
        "deep": [{"source_x_id": 1, "at": "/home/x", "who": "Annika", "null": None, "yes": True}], "/home/x/y": 2,
    }  # fmt: skip
    assert json.loads(SCRUBBER.json(json.dumps(about).encode())) == {
        "sources": 3, "max_side": 64, NAME: 1.5,
        "deep": [{"at": PATH, "who": NAME, "null": None, "yes": True}], PATH: 2,
    }  # fmt: skip


def test_labels_stay_and_so_do_names_that_are_their_words() -> None:
    scrubber = SCRUBBER.keeping(["Annika sign", "/x/y"])
    assert scrubber.tree({"label": "Annika sign", "/x/y": "/x/y", "by": "annika on lab-pc7"}) == {
        "label": "Annika sign", "/x/y": "/x/y", "by": f"annika on {NAME}",
    }  # fmt: skip


def test_names_come_from_account_home_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("USER", "LOGNAME", "USERNAME", "HOSTNAME", "COMPUTERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(getpass, "getuser", lambda: "asmith")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/a.smith"))
    monkeypatch.setattr(socket, "gethostname", lambda: "lab-pc7.hospital.org")
    monkeypatch.setenv("USERNAME", "Dr Smith")
    assert {"asmith", "a.smith", "lab-pc7.hospital.org", "lab-pc7", "Dr Smith"} <= names_of_this_machine()


def test_names_that_say_nothing_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for user in ("root", "User", "vm", "42"):
        monkeypatch.setattr(getpass, "getuser", lambda user=user: user)
        assert user not in names_of_this_machine()


def test_an_account_without_a_name_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    names_of_this_machine()
