"""Hostile files: every reader ends in its result or in one `UserError`, in little time and little memory.

`FOURHORN_FULL=1` runs 10,000 mutations per reader instead of 60.
"""

import json
import os
import random
import resource
import shutil
import struct
import time

import pytest

from fourhorn.checkpoints import gguf, huggingface, llmc, native, openai
from fourhorn.checkpoints.bounds import nests_within, parse_json
from fourhorn.checkpoints.load import read
from fourhorn.errors import UserError

N_MUTATIONS = 10_000 if os.environ.get("FOURHORN_FULL") == "1" else 60
EXTREMES = [
    0,
    1,
    2,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**53,
    2**63 - 1,
    2**63,
    2**64 - 1,
]
FORMATS = {
    "native": (native.write, ["model.safetensors", "config.json", "encoder.json", "vocab.bpe"]),
    "huggingface": (huggingface.write, ["model.safetensors", "config.json", "vocab.json", "merges.txt"]),
    "openai": (
        openai.write,
        ["model.ckpt.index", "model.ckpt.data-00000-of-00001", "hparams.json", "checkpoint"],
    ),
    "gguf": (lambda checkpoint, folder: gguf.write(checkpoint, folder / "model.gguf").parent, ["model.gguf"]),
    "llmc": (llmc.write, ["model.bin"]),
}


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One to three changes: bits, bytes, numbers, cuts, copies; mostly near the start, where headers are."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        if not out:
            return bytes(out)
        reach = len(out) if chance.random() < 0.3 else min(len(out), chance.choice([16, 64, 512, 4096]))
        at = (
            chance.randrange(reach)
            if chance.random() < 0.8
            else len(out) - 1 - chance.randrange(min(len(out), 64))
        )
        kind = chance.randrange(8)
        if kind == 0:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at] = chance.randrange(256)
        elif kind == 2:
            width = chance.choice([4, 8])
            value = chance.choice(EXTREMES) % 2 ** (8 * width)
            out[at : at + width] = value.to_bytes(width, "little")
        elif kind == 3:
            del out[at:]
        elif kind == 4:
            del out[at : at + chance.randint(1, 32)]
        elif kind == 5:
            out[at:at] = chance.randbytes(chance.randint(1, 32))
        elif kind == 6:
            out[at:at] = out[at : at + chance.randint(1, 256)] * chance.randint(1, 8)
        else:
            digits = [i for i in range(min(len(out), 65_536)) if 48 <= out[i] <= 57]
            if digits:
                i = chance.choice(digits)
                out[i : i + 1] = str(chance.choice([*EXTREMES, -1, 1e300, "[", '"', "null"])).encode()
    return bytes(out)


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_checkpoints_end_in_their_result_or_one_sentence(make_checkpoint, tmp_path, name):
    write, files = FORMATS[name]
    (tmp_path / "good").mkdir()
    folder = write(make_checkpoint(n_layer=1, n_embd=32, n_ctx=8), tmp_path / "good" / "it")
    originals = {file: (folder / file).read_bytes() for file in files}
    read(folder)
    chance = random.Random(name)
    messages: list[str] = []
    slowest, before = 0.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(N_MUTATIONS):
        file = chance.choice(files)
        (folder / file).write_bytes(mutate(originals[file], chance))
        started = time.perf_counter()
        try:
            read(folder)
        except UserError as error:
            messages.append(str(error))
        slowest = max(slowest, time.perf_counter() - started)
        (folder / file).write_bytes(originals[file])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    size = sum(len(data) for data in originals.values())
    print(
        f"{name}: {N_MUTATIONS} mutations, {len(messages)} refused, slowest {slowest:.3f} s, memory +{grown >> 20} MiB"
    )
    assert len(messages) > N_MUTATIONS // 4
    assert all("\n" not in message and len(message) < 2000 for message in messages)
    assert slowest < 2 or N_MUTATIONS < 10_000
    assert grown < 2 * size + (64 << 20)
    shutil.rmtree(tmp_path)


def test_json_that_nests_is_refused_before_it_is_parsed(tmp_path):
    assert nests_within(b'{"a": "[[[[[["}', 1)
    assert not nests_within(b"[" * 40 + b"]" * 40, 32)
    with pytest.raises(UserError, match="nests deeper than 32"):
        parse_json(b'{"a":' * 40 + b"1" + b"}" * 40, tmp_path / "x.json")


def test_a_header_of_a_hundred_thousand_tensors_is_refused(checkpoint, tmp_path):
    folder = native.write(checkpoint, tmp_path / "run")
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"t{i}": entry for i in range(100_000)}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(UserError, match="100000 tensors"):
        read(folder)


def test_a_header_longer_than_the_budget_is_not_read(checkpoint, tmp_path):
    folder = native.write(checkpoint, tmp_path / "run")
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])
    with pytest.raises(UserError, match="a header of 1099511627776 bytes"):
        read(folder)
