"""A state is whole, sound and readable by any number of processes, or it is refused by name."""

import errno
import json
import random
from pathlib import Path

import pytest
import torch

from fourhorn.errors import UserError
from fourhorn.training import state as states_module
from fourhorn.training.parallel import Local
from fourhorn.training.state import Saver, folder_of, latest, steps_saved, verify


def tensors(seed: int) -> dict[str, Local]:
    torch.manual_seed(seed)
    data = {"w": torch.randn(5, 3), "v": torch.randn(4), "step": torch.tensor(float(seed))}
    return {name: Local(t, 0, tuple(t.shape)) for name, t in data.items()}


def saved(folder: Path, *steps: int, keep: int = 9) -> Path:
    saver = Saver(folder, keep=keep)
    for step in steps:
        saver.save(step, tensors(step), {"n_samples": step * 4}, wait=True)
    return folder


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = latest(saved(tmp_path, 3))
    out = {name: Local(torch.zeros_like(t.data), 0, t.shape) for name, t in tensors(3).items()}
    state.read(out)
    assert state.meta["n_samples"] == 12
    assert all(torch.equal(out[name].data, t.data) for name, t in tensors(3).items())


def test_the_last_states_are_kept(tmp_path: Path) -> None:
    assert steps_saved(saved(tmp_path, 1, 2, 3, keep=2)) == [2, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000003"]


def test_two_processes_parts_are_read_by_one_and_by_three(tmp_path: Path) -> None:
    whole = torch.arange(15.0).view(5, 3)
    writers = [Saver(tmp_path, keep=1, rank=rank, n_parts=2) for rank in range(2)]
    parts = [Local(whole[:3], 0, (5, 3)), Local(whole[3:], 3, (5, 3))]
    writers[1].save(7, {"w": parts[1]}, {})
    writers[0].save(7, {"w": parts[0]}, {})
    for writer in writers:
        writer.wait()
    state = latest(tmp_path)
    for start, stop in ((0, 5), (0, 2), (2, 4), (4, 5)):
        mine = Local(torch.zeros(stop - start, 3), start, (5, 3))
        state.read({"w": mine})
        assert torch.equal(mine.data, whole[start:stop])


def test_damage_anywhere_is_found_named_and_survived(tmp_path: Path) -> None:
    good = saved(tmp_path, 1, 2)
    rng, files = random.Random(0), sorted(folder_of(good, 2).iterdir())
    for _ in range(60):
        path = rng.choice(files)
        before = path.read_bytes()
        damaged = bytearray(before)
        if rng.random() < 0.3:
            damaged = damaged[: rng.randrange(len(damaged))]
        else:
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        said: list[str] = []
        state = latest(good, said.append)
        assert state is not None
        assert state.meta["step"] == 1
        assert path.name in said[0]
        assert "Falling back" in said[0]
        path.write_bytes(before)
    assert latest(good).meta["step"] == 2


def test_when_every_state_is_damaged_nothing_is_silently_begun_anew(tmp_path: Path) -> None:
    for file in folder_of(saved(tmp_path, 1), 1).glob("*.safetensors"):
        file.unlink()
    with pytest.raises(UserError, match="Every state in .* is damaged"):
        latest(tmp_path, lambda text: None)


@pytest.mark.parametrize("fails_at", ["open", "write", "fsync", "replace"])
def test_a_full_or_broken_disk_leaves_the_previous_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    saved(tmp_path, 1)
    full = OSError(errno.ENOSPC, "No space left on device")

    def refuse(*args: object, **kwargs: object) -> None:
        raise full

    if fails_at in ("open", "write"):
        monkeypatch.setattr(states_module, "write_tensors", refuse)
    else:
        monkeypatch.setattr(states_module.os, fails_at, refuse)
    saver = Saver(tmp_path, keep=1)
    with pytest.raises(UserError, match="No space left on device. The previous state is intact"):
        saver.save(2, tensors(2), {}, wait=True)
    monkeypatch.undo()
    assert latest(tmp_path).meta["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_every_state_file_is_listed_with_its_digest(tmp_path: Path) -> None:
    folder = folder_of(saved(tmp_path, 1), 1)
    body = json.loads((folder / "state.json").read_text())
    assert sorted(body["files"]) == sorted(p.name for p in folder.iterdir() if p.name != "state.json")
    assert verify(folder).meta["step"] == 1
