from __future__ import annotations

import errno
import os
import pickle

import pytest
import torch

from mmgen.errors import UserError
from mmgen.training.checkpoint import Checkpoints


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_what_is_saved_is_read_again(tmp_path):
    checkpoints = Checkpoints(tmp_path / "new" / "checkpoints")
    checkpoints.save({"model": {"w": torch.arange(3.0)}, "update": 7, "best": float("inf")}, 7)
    state = checkpoints.load()
    assert (state["update"], state["best"]) == (7, float("inf"))
    assert torch.equal(state["model"]["w"], torch.arange(3.0))
    checkpoints.save_best({"w": torch.ones(1)})
    assert torch.equal(checkpoints.load(checkpoints.best)["w"], torch.ones(1))
    assert names(checkpoints) == ["best.pt", "last.pt", "step_00000007.pt"]


@pytest.mark.parametrize(("keep", "kept"), [(0, []), (1, [4]), (2, [3, 4]), (9, [1, 2, 3, 4])])
def test_only_the_newest_steps_are_kept(tmp_path, keep, kept):
    checkpoints = Checkpoints(tmp_path, keep)
    for step in range(1, 5):
        checkpoints.save({"update": step}, step)
        checkpoints.save({"update": step}, step)  # the same step again
    assert names(checkpoints) == ["last.pt", *(f"step_{step:08d}.pt" for step in kept)]
    assert [checkpoints.load(tmp_path / f"step_{step:08d}.pt")["update"] for step in kept] == kept


def test_steps_of_a_longer_run_that_was_replaced_do_not_push_out_new_ones(tmp_path):
    Checkpoints(tmp_path).save({"update": 900}, 900)
    Checkpoints(tmp_path).save({"update": 3}, 3)
    assert names(Checkpoints(tmp_path)) == ["last.pt", "step_00000003.pt"]


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    Checkpoints(tmp_path).save({"update": 3}, 3)
    assert Checkpoints(tmp_path).load(tmp_path / "step_00000003.pt") == {"update": 3}


def test_a_write_that_fails_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"update": 1}, 1)

    def full_disk(state: object, path: os.PathLike[str]) -> None:
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(UserError, match=r"last\.pt cannot be written .*No space left"):
        checkpoints.save({"update": 2}, 2)
    assert checkpoints.load() == {"update": 1}
    assert not list(tmp_path.glob("*.tmp"))


def test_missing_and_damaged_files_are_named(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(UserError, match=r"no checkpoint .*last\.pt; start without --resume"):
        checkpoints.load()
    checkpoints.save({"update": 1}, 1)
    checkpoints.last.write_bytes(checkpoints.last.read_bytes()[:100])
    with pytest.raises(UserError, match=r"last\.pt cannot be read"):
        checkpoints.load()


class Payload:
    def __reduce__(self):
        return os.system, ("true",)


def test_nothing_but_data_is_unpickled(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    torch.save({"update": Payload()}, checkpoints.last)
    with pytest.raises(UserError, match="cannot be read"):
        checkpoints.load()
    checkpoints.last.write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(UserError, match="cannot be read"):
        checkpoints.load()
