"""The exact state of a run, whole or absent: weights, optimizer, and the data position as one integer.

A state is a folder `states/step-00000100/` of safetensors files, one per process that holds tensors, and `state.json`,
which names every file with its size and SHA-256 and carries a checksum of its own. A sharded tensor's file gives the
first row of its part, so any number of processes can read what any other number wrote. Everything is written to a
temporary folder, synced and renamed, `state.json` last; the last `keep` states stay. The random numbers of a step are
a function of seed and position, so there is no generator to save.

Raises `UserError` naming the damaged file, and for disks that are full or cannot be written.
"""

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fourhorn.errors import UserError
from fourhorn.files import sha256_bytes, sync_folder
from fourhorn.training.parallel import Local

MAGIC = "fourhorn-state"
_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64"}
_TORCH = {name: dtype for dtype, name in _DTYPES.items()}
_WRITE_BYTES = 8 << 20


def folder_of(states: Path, step: int) -> Path:
    """Where the state after `step` updates lies."""
    return states / f"step-{step:08d}"


def steps_saved(states: Path) -> list[int]:
    """Steps that have a complete state, oldest first."""
    names = [p.name for p in states.glob("step-*")] if states.is_dir() else []
    return sorted(int(name[5:]) for name in names if name[5:].isdecimal())


def clean(states: Path) -> None:
    """Remove what interrupted saves left behind."""
    for leftover in (*states.glob(".step-*.tmp"), *states.glob(".step-*.old")):
        shutil.rmtree(leftover, ignore_errors=True)


# --------------------------------------------------------------------------------------------------------- write


def write_tensors(path: Path, tensors: Mapping[str, Local]) -> dict[str, Any]:
    """Write one safetensors file, synced to disk; its size and SHA-256, hashed on the way out."""
    header: dict[str, Any] = {
        "__metadata__": {"starts": json.dumps({n: t.start for n, t in tensors.items()})}
    }
    header["__metadata__"]["shapes"] = json.dumps({n: list(t.shape) for n, t in tensors.items()})
    offset = 0
    for name, part in tensors.items():
        end = offset + part.data.numel() * part.data.element_size()
        kind = _DTYPES[part.data.dtype]
        header[name] = {"dtype": kind, "shape": list(part.data.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest, size = hashlib.sha256(), 0
    with open(path, "wb") as file:
        for block in (
            len(text).to_bytes(8, "little"),
            text,
            *(_bytes(part.data) for part in tensors.values()),
        ):
            view = memoryview(block).cast("B")
            for start in range(0, len(view), _WRITE_BYTES):
                piece = view[start : start + _WRITE_BYTES]
                file.write(piece)
                digest.update(piece)
            size += len(view)
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": digest.hexdigest(), "n_bytes": size}


def _bytes(tensor: Tensor) -> Any:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy() if flat.numel() else b""


def copies(tensors: Mapping[str, Local]) -> dict[str, Local]:
    """The tensors as they are now, in main memory, so that training can go on while they are written."""
    return {
        name: Local(part.data.detach().to("cpu", copy=True).contiguous(), part.start, part.shape)
        for name, part in tensors.items()
    }


class Saver:
    """Writes states in the background, while the next step runs; one at a time, in the order they were taken.

    Every process with tensors writes its own file; the main one waits for all of them to appear, then commits.
    """

    def __init__(self, states: Path, *, keep: int, rank: int = 0, n_parts: int = 1) -> None:
        self.states, self.keep, self.rank, self.n_parts = states, keep, rank, n_parts
        self.failure: BaseException | None = None
        self.stall_seconds: list[float] = []
        self._thread: threading.Thread | None = None

    def save(
        self, step: int, tensors: Mapping[str, Local], meta: dict[str, Any], *, wait: bool = False
    ) -> None:
        """Take a copy and write it in the background; with `wait` it is on disk on return."""
        started = time.perf_counter()
        self.wait()
        held = copies(tensors) if not wait else dict(tensors)
        self._thread = threading.Thread(target=self._write, args=(step, held, meta), name="fourhorn-save")
        self._thread.start()
        if wait:
            self.wait()
        self.stall_seconds.append(time.perf_counter() - started)

    def settle(self) -> None:
        """Wait for the save in progress; the step that waits is stalled by it."""
        if self._thread is not None:
            started = time.perf_counter()
            self.wait()
            self.stall_seconds[-1] += time.perf_counter() - started

    def wait(self) -> None:
        """Wait for the save in progress and raise what went wrong in it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self.failure is not None:
            failure, self.failure = self.failure, None
            if isinstance(failure, OSError):
                raise UserError(
                    f"The state could not be saved in {self.states}: {failure.strerror or failure}. "
                    "The previous state is intact; make room or choose a writable folder, and run the command again."
                ) from failure
            raise failure

    def _write(self, step: int, tensors: dict[str, Local], meta: dict[str, Any]) -> None:
        temporary = self.states / f".step-{step:08d}.tmp"
        try:
            if self.rank == 0 and self.n_parts == 1 and temporary.exists():
                shutil.rmtree(temporary)
            temporary.mkdir(parents=True, exist_ok=True)
            name = f"tensors-{self.rank:05d}-of-{self.n_parts:05d}.safetensors"
            entry = write_tensors(temporary / name, tensors)
            (temporary / f".{name}.json").write_text(json.dumps(entry))
            if self.rank == 0:
                self._commit(step, temporary, meta)
        except BaseException as failure:
            self.failure = failure
            if self.rank == 0:
                shutil.rmtree(temporary, ignore_errors=True)

    def _commit(self, step: int, temporary: Path, meta: dict[str, Any]) -> None:
        files = {}
        for part in range(self.n_parts):
            name = f"tensors-{part:05d}-of-{self.n_parts:05d}.safetensors"
            files[name] = _appeared(temporary / f".{name}.json")
        for marker in temporary.glob(".*.json"):
            marker.unlink()
        body = {"magic": MAGIC, "version": 1, "step": step, **meta, "files": files}
        body["checksum"] = checksum(body)
        with open(temporary / "state.json", "w") as file:
            json.dump(body, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(temporary)
        final = folder_of(self.states, step)
        if final.exists():  # a damaged state of the same step, or the same state again
            os.replace(final, self.states / f".step-{step:08d}.old")
        os.replace(temporary, final)
        sync_folder(self.states)
        clean(self.states)
        for old in steps_saved(self.states)[: -self.keep]:
            # Renamed first: a state that is being removed must not be taken for a whole one.
            doomed = self.states / f".step-{old:08d}.old"
            os.replace(folder_of(self.states, old), doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def _appeared(path: Path, patience_seconds: float = 600.0) -> dict[str, Any]:
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        try:
            return json.loads(path.read_text())  # type: ignore[no-any-return]
        except (FileNotFoundError, ValueError):
            time.sleep(0.02)
    raise UserError(
        f"{path.name} did not appear within {patience_seconds:.0f} s: a process stopped while saving."
    )


def checksum(body: Mapping[str, Any]) -> str:
    """SHA-256 over everything in `state.json` but the checksum itself."""
    return sha256_bytes(
        json.dumps({k: v for k, v in body.items() if k != "checksum"}, sort_keys=True).encode()
    )


# ---------------------------------------------------------------------------------------------------------- read


@dataclass(frozen=True)
class State:
    """A verified state: its facts (`step`, `n_samples`, …) and its files."""

    folder: Path
    meta: dict[str, Any]

    def read(self, wanted: Mapping[str, Local]) -> None:
        """Fill the given tensors, or this process's rows of them, with what was saved."""
        filled: dict[str, int] = dict.fromkeys(wanted, 0)
        for name in self.meta["files"]:
            self._read_file(self.folder / name, wanted, filled)
        for name, part in wanted.items():
            if filled[name] != part.data.numel():
                raise UserError(f"{self.folder} does not hold all of {name}; it belongs to another model.")

    def _read_file(self, path: Path, wanted: Mapping[str, Local], filled: dict[str, int]) -> None:
        header, data = _mapped(path)
        starts = json.loads(header["__metadata__"]["starts"])
        shapes = json.loads(header["__metadata__"]["shapes"])
        for name, part in wanted.items():
            if name not in header:
                continue
            if tuple(shapes[name]) != part.shape:
                raise UserError(
                    f"{name} is {shapes[name]} in {self.folder} and {list(part.shape)} in the model."
                )
            entry = header[name]
            begin, end = entry["data_offsets"]
            saved = (
                torch.frombuffer(bytearray(data[begin:end]), dtype=_TORCH[entry["dtype"]])
                if end > begin
                else None
            )
            if saved is None:
                continue
            saved = saved.view(entry["shape"])
            if not part.shape:
                part.data.copy_(saved)
                filled[name] = 1
                continue
            first = max(starts[name], part.start)
            last = min(starts[name] + saved.shape[0], part.start + part.data.shape[0])
            if first < last:
                rows = saved[first - starts[name] : last - starts[name]]
                part.data[first - part.start : last - part.start].copy_(rows)
                filled[name] += rows.numel()


def _mapped(path: Path) -> tuple[dict[str, Any], Any]:
    raw = np.memmap(path, np.uint8, mode="r")
    length = int.from_bytes(raw[:8].tobytes(), "little")
    return json.loads(raw[8 : 8 + length].tobytes()), raw[8 + length :]


def verify(folder: Path) -> State:
    """A state whose every byte is as it was written; else a `UserError` naming the file that is not."""
    try:
        body = json.loads((folder / "state.json").read_bytes())
        sound = isinstance(body, dict) and body["magic"] == MAGIC and body["checksum"] == checksum(body)
    except (OSError, ValueError, KeyError, RecursionError):
        sound = False
    if not sound:
        raise UserError(f"{folder / 'state.json'} is damaged or missing.")
    for name, entry in body["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["n_bytes"]:
            raise UserError(f"{path} is missing or cut off.")
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != entry["sha256"]:
                raise UserError(f"{path} is damaged: its SHA-256 is not the one that was written.")
    return State(folder, body)


def latest(states: Path, say: Callable[[str], None] = print) -> State | None:
    """The newest sound state; damaged ones are named through `say`. None when there is none at all."""
    damaged = []
    for step in reversed(steps_saved(states)):
        try:
            state = verify(folder_of(states, step))
        except UserError as error:
            damaged.append(str(error))
            say(f"{error} Falling back to the state before it.")
            continue
        return state
    if damaged:
        raise UserError(
            f"Every state in {states} is damaged: {damaged[0]} Delete the folder to start the run anew."
        )
    return None
