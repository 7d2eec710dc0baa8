"""Hostile files: every reader ends in its result or in one `UserError`, in little time and little memory.

A sample of `benchmarks/checkpoints_mutations.py`, which runs 10,000 mutated files a reader.
"""

import json
import struct

import pytest

from benchmarks.checkpoints_mutations import READERS, SMALL, campaign
from fourhorn.checkpoints import native
from fourhorn.checkpoints.bounds import nests_within, parse_json
from fourhorn.checkpoints.load import read
from fourhorn.errors import UserError

N_MUTATIONS = 60


@pytest.mark.parametrize("name", READERS)
def test_mutated_files_end_in_their_content_or_one_sentence(name, tmp_path):
    outcome = campaign(name, N_MUTATIONS, tmp_path, SMALL)
    assert outcome.crashes == []
    assert outcome.is_held, outcome
    assert len(outcome.refusals) > N_MUTATIONS // 4


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
