"""The fast engine against the plain one, on what could go wrong in it: blocks, tables, long pieces, caches."""

import gc
import os
import random
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from fourhorn.tokenizer import Tokenizer, fast
from fourhorn.tokenizer.memory import address
from fourhorn.tokenizer.plain import encode_long_piece
from fourhorn.tokenizer.source import Batch
from tests.tokenizer.conftest import SHARED, oracle

ROOT = Path(__file__).parents[2]


def adversarial(n: int) -> dict[str, str]:
    rng = random.Random(0)
    return {
        "one letter": "a" * n,
        "spaces": " " * n,
        "line feeds": "\n" * n,
        "one digit": "1" * n,
        "carets": "^" * n,
        "digits": "".join(rng.choice("0123456789") for _ in range(n)),
        "letters": "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(n)),
        "ab": "ab" * (n // 2),
        "CJK": "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(n // 3)),
        "Unicode": "".join(chr(rng.randrange(0x20, 0xD800)) for _ in range(n // 3)),
        "'s": "'s" * (n // 2),
    }


@pytest.mark.parametrize("kind", adversarial(2))
def test_adversarial_text_is_encoded_as_by_the_oracle(small: Tokenizer, kind: str) -> None:
    text = adversarial(100_000)[kind]
    assert small.encode_ordinary(text) == oracle(small)(text)


def test_every_position_in_a_block_of_64_bytes_is_right(small: Tokenizer, small_plain: Tokenizer) -> None:
    parts = ["'ll", "'s", "  x", "\u3000y", "\u3000\u3000", "é", "🦄", " 1", "\n\n", "'", "a'", "\u00a0"]
    for part in parts:
        for n in range(56, 68):
            for rest in ("", "e", " ", "'s", "\u3000"):
                text = ("a" * (n - 4) + " b c")[-n:] + part + rest
                assert small.encode_ordinary(text) == small_plain.encode_ordinary(text), (part, n, rest)
                spaces = " " * n + part + rest
                assert small.encode_ordinary(spaces) == small_plain.encode_ordinary(spaces), (part, n, rest)


def test_pieces_of_every_length_are_right_twice(small: Tokenizer, small_plain: Tokenizer) -> None:
    rng = random.Random(3)
    for n in range(1, 260):
        piece = "".join(rng.choice("etaoin") for _ in range(n)) + " " + "渡" * (n // 3)
        ids = small_plain.encode_ordinary(piece)
        assert [small.encode_ordinary(piece) for _ in range(2)] == [ids, ids], n


def test_tables_grow_and_forget_without_changing_an_id(
    small: Tokenizer, small_plain: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(4)
    words = [
        "".join(rng.choice("abcdefg é") for _ in range(rng.choice([5, 12, 30, 60]))) for _ in range(12_000)
    ]
    text = " ".join(words * 2)
    monkeypatch.setattr(fast, "MIN_SHORT_SLOTS", 1 << 11)
    monkeypatch.setattr(fast, "MAX_SHORT_SLOTS", 1 << 13)
    monkeypatch.setattr(fast, "MIN_LONG_SLOTS", 1 << 10)
    monkeypatch.setattr(fast, "MAX_LONG_SLOTS", 1 << 12)
    bounded = Tokenizer(small.vocabulary)
    ids = small_plain.encode_ordinary(text)
    assert bounded.encode_ordinary(text) == ids
    worker = bounded._engine._idle[0]
    assert len(worker.short) == 64 << 13
    monkeypatch.setattr(fast, "MAX_KEPT_WORK", 1 << 11)
    long = text[:9000].replace(" ", "x") + " " + text  # its memory must outlast the tables
    assert bounded.encode_ordinary(long) == small_plain.encode_ordinary(long)
    assert len(worker.long_work) < 1 << 17
    monkeypatch.setattr(fast, "MIN_ARENA_BYTES", 1 << 20)
    monkeypatch.setattr(fast, "MAX_ARENA_BYTES", 1 << 20)
    assert Tokenizer(small.vocabulary).encode_ordinary(text) == ids


def test_prompts_need_no_large_tables_and_texts_get_them(small: Tokenizer, small_plain: Tokenizer) -> None:
    rng = random.Random(5)
    text = " ".join(
        "".join(rng.choice("abcdefg é") for _ in range(rng.randrange(1, 12))) for _ in range(8_000)
    )
    fresh = Tokenizer(small.vocabulary)
    assert fresh.encode_ordinary(text[:1000]) == small_plain.encode_ordinary(text[:1000])
    worker = fresh._engine._idle[0]
    assert len(worker.short) == 64 * fast.FEW_SHORT_SLOTS
    for start in range(
        0, fast.FEW_BYTES, 4000
    ):  # it grows with what it meets, then begins anew with the strings
        part = text[start % 40_000 :][:4000]
        assert fresh.encode_ordinary(part) == small_plain.encode_ordinary(part)
    assert len(worker.short) == 64 * fast.MIN_SHORT_SLOTS
    assert worker.get(worker.fields.N_SHORT) > 256  # the vocabulary's own


def test_a_table_of_pairs_without_room_says_so() -> None:
    fill = fast.kernels().encode.fill_pairs
    merges = np.random.default_rng(0).permutation(1000).astype(np.uint32)
    for n_slots, n_merges, filled in ((2, 5, 0), (64, 65, 0), (2048, 500, 1)):
        pairs = np.zeros(n_slots, np.int64)
        assert fill(address(merges), n_merges, address(pairs), n_slots - 1) == filled
    found = {
        (int(entry) >> 42, int(entry) >> 21 & (1 << 21) - 1, int(entry) & (1 << 21) - 1)
        for entry in pairs
        if entry
    }
    assert found == {(*pair, 256 + i) for i, pair in enumerate(merges.reshape(-1, 2).tolist())}


def test_long_pieces_merge_as_short_ones_do(small: Tokenizer, small_plain: Tokenizer) -> None:
    rng = random.Random(5)
    ranks = small_plain._engine.ranks
    from fourhorn.tokenizer.bpe import encode_piece

    for _ in range(30):
        piece = bytes(rng.choice(b"the and") for _ in range(rng.randrange(1, 400))).replace(b" ", b"e")
        assert encode_long_piece(piece, ranks) == encode_piece(piece, ranks)
        assert small.encode_to_numpy(piece).tolist() == encode_piece(piece, ranks)


def test_real_text_is_encoded_as_by_the_oracle(gpt2: Tokenizer) -> None:
    import lzma

    encode = oracle(gpt2)
    for name in ("english", "multilingual"):
        path = SHARED / "text" / f"{name}.txt.xz"
        if not path.exists():
            pytest.skip(f"{path} is absent")
        with lzma.open(path, "rt", encoding="utf-8") as file:
            text = file.read(1_500_000)
        assert gpt2.encode_ordinary(text) == encode(text)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_compiler_the_plain_engine_works_and_says_so() -> None:
    code = (
        "import sys; sys.modules['llvmlite'] = None\n"
        "from fourhorn.tokenizer import Tokenizer\n"
        "t = Tokenizer.train(['hello hello'], n_vocab=258)\n"
        "print(t.engine, t.encode_ordinary('hello'), t.decode([71, 68]))"
    )
    result = run(code)
    assert result.stdout == "plain Python [71, 256, 75, 78] he\n", result.stderr
    assert result.stderr.count("runs in plain Python") == 1


def test_importing_the_tokenizer_imports_neither_torch_nor_a_compiler() -> None:
    names = ("torch", "numba", "llvmlite")
    code = f"import sys, fourhorn.tokenizer; print([m for m in {names} if m in sys.modules])"
    assert run(code).stdout == "[]\n"


def test_tables_go_with_their_tokenizer(small: Tokenizer) -> None:
    tokenizer = Tokenizer(small.vocabulary)
    assert tokenizer.encode_ordinary("some text") == small.encode_ordinary("some text")
    table = weakref.ref(tokenizer._engine._idle[0].short)
    gc.disable()
    try:
        del tokenizer
        assert table() is None
    finally:
        gc.enable()


def test_threads_share_a_tokenizer(small: Tokenizer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    texts = [f"text {i} " * 200 for i in range(40)]
    expected = [small.encode_ordinary(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(small.encode_ordinary, texts * 3)) == expected * 3


def test_an_output_without_room_is_refused(small: Tokenizer) -> None:
    with pytest.raises(ValueError, match="out has"):
        small.encode_parts(Batch.of([b"hello"]), out=np.empty(5, np.uint16))
