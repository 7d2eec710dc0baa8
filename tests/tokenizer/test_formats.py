import json
from pathlib import Path

import pytest

from fourhorn.errors import UserError
from fourhorn.files import sha256_file
from fourhorn.tokenizer import Tokenizer, formats
from fourhorn.tokenizer.formats import WRITERS, load

TEXT = "Hello wörld, it's 1024 and 渡轮 🦄  \n"


@pytest.mark.parametrize("format", WRITERS)
def test_a_vocabulary_survives_each_format(small: Tokenizer, tmp_path: Path, format: str) -> None:
    small.save(tmp_path, format=format)
    again = Tokenizer.load(tmp_path)
    assert again == small
    assert again.special_tokens == small.special_tokens
    assert again.encode_ordinary(TEXT) == small.encode_ordinary(TEXT)


def test_the_released_files_are_written_byte_for_byte(gpt2: Tokenizer, release: Path, tmp_path: Path) -> None:
    gpt2.save(tmp_path)
    for name in ("encoder.json", "vocab.bpe"):
        assert (tmp_path / name).read_bytes() == (release / name).read_bytes(), name


def test_files_known_by_their_digest_are_read_without_checks(
    small: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.save(tmp_path)
    names = ("encoder.json", "vocab.bpe")
    digests = {name: sha256_file(tmp_path / name) for name in names}
    checked = load(tmp_path)
    assert checked.known_sha256 is None
    monkeypatch.setattr(formats, "RELEASED_SHA256", digests)
    known = load(tmp_path)
    assert known == checked
    assert known.token_bytes == checked.token_bytes
    assert known.known_sha256 == Tokenizer.load(tmp_path).sha256 == small.sha256
    with (tmp_path / names[1]).open("a") as file:
        file.write("no such\n")
    with pytest.raises(UserError, match="damaged at line"):
        load(tmp_path)


def test_the_released_vocabulary_survives_tiktoken_ranks(gpt2: Tokenizer, tmp_path: Path) -> None:
    import hashlib

    gpt2.save(tmp_path, format="tiktoken")
    path = tmp_path / "vocabulary.tiktoken"
    # the digest that tiktoken itself pins for this file
    assert (
        hashlib.sha256(path.read_bytes())
        .hexdigest()
        .startswith("306cd27f03c1a714eca7108e03d66b7dc042abe8c258b4")
    )
    assert Tokenizer.load(path) == gpt2


def test_huggingface_reads_what_is_written_and_encodes_the_same(small: Tokenizer, tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    small.save(tmp_path, format="huggingface")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.encode(TEXT).ids == small.encode_ordinary(TEXT)
    assert theirs.decode(small.encode_ordinary(TEXT)) == TEXT
    assert theirs.token_to_id("<|endoftext|>") == small.eot


def test_special_tokens_in_front_as_huggingface_trains_them_are_read(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.ByteLevelBPETokenizer()
    theirs.train_from_iterator(
        [TEXT] * 9, vocab_size=300, min_frequency=2, special_tokens=["<|endoftext|>", "<pad>"]
    )
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.load(tmp_path / "tokenizer.json")
    assert ours.special_tokens == {"<|endoftext|>": 0, "<pad>": 1}
    assert ours.encode_ordinary(TEXT) == theirs.encode(TEXT).ids
    assert ours.encode_to_numpy(TEXT).tolist() == theirs.encode(TEXT).ids
    assert ours.decode(ours.encode_ordinary(TEXT)) == TEXT
    (tmp_path / "pair").mkdir()
    theirs.save_model(str(tmp_path / "pair"))
    assert Tokenizer.load(tmp_path / "pair") == ours


def damaged(folder: Path, small: Tokenizer, name: str, old: str, new: str) -> None:
    small.save(folder)
    text = (folder / name).read_text(encoding="utf-8")
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("encoder.json", '"!": 0, ', '"!": 0 ', "encoder.json is damaged: not JSON"),
        ("encoder.json", '"!": 0, ', "", "byte 0x21"),
        ("encoder.json", '"!": 0', '"!": 1', "two tokens share one id"),
        ("encoder.json", '": 256', '!": 256', "which has no id"),
        ("vocab.bpe", "\n", "\nx\n", "line 2: 'x' is not two tokens"),
        ("vocab.bpe", "\n", "\nQ Z\n", "line 2 makes 'QZ', which has no id"),
    ],
)
def test_damage_is_named(
    small: Tokenizer, tmp_path: Path, name: str, old: str, new: str, message: str
) -> None:
    damaged(tmp_path, small, name, old, new)
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_a_duplicate_merge_is_named(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path)
    lines = (tmp_path / "vocab.bpe").read_text(encoding="utf-8").splitlines()
    lines.insert(5, lines[1])
    (tmp_path / "vocab.bpe").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="merge 5 .* repeats merge 1"):
        load(tmp_path)


def test_swapped_and_missing_merges_are_named(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path)
    path = tmp_path / "vocab.bpe"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:-2], lines[-1], lines[-2], ""]), encoding="utf-8")
    with pytest.raises(UserError, match="do not rise|is not two tokens"):
        load(tmp_path)
    path.write_text("\n".join([*lines[:-3], ""]), encoding="utf-8")
    with pytest.raises(UserError, match="is cut off or does not belong"):
        load(tmp_path)
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match="last line does not end"):
        load(tmp_path)
    path.unlink()
    with pytest.raises(UserError, match=r"vocab\.bpe does not exist"):
        load(tmp_path)


def test_files_of_two_vocabularies_do_not_mix(small: Tokenizer, tmp_path: Path) -> None:
    small.save(tmp_path)
    other = Tokenizer.train(["quite another text, quite another vocabulary"], n_vocab=280, min_frequency=1)
    other.save(tmp_path / "other")
    (tmp_path / "other" / "vocab.bpe").replace(tmp_path / "vocab.bpe")
    with pytest.raises(UserError, match="does not belong|no merge makes|has no id"):
        load(tmp_path)


def test_a_release_with_two_merges_exchanged_is_told_by_its_sha256(release: Path, tmp_path: Path) -> None:
    lines = (release / "vocab.bpe").read_text(encoding="utf-8").split("\n")
    encoder = json.loads((release / "encoder.json").read_bytes())
    a, b = ("".join(lines[i].split()) for i in (40_001, 40_002))
    encoder[a], encoder[b] = encoder[b], encoder[a]
    lines[40_001], lines[40_002] = lines[40_002], lines[40_001]
    (tmp_path / "vocab.bpe").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "encoder.json").write_text(json.dumps(dict(sorted(encoder.items(), key=lambda i: i[1]))))
    with pytest.raises(UserError, match="SHA-256 is not 19613966"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tiktoken", b"!!!! 0\n", "damaged at line 1: not base64"),
        ("a.tiktoken", b"YQ== 0\n", "1 of the 256 bytes have a token"),
        ("tokenizer.json", b"{}", "is not a tokenizer.json"),
        ("tokenizer.json", b"", "not JSON"),
        (
            "tokenizer.json",
            b'{"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": {}, "added_tokens": [{"id": 0}]}',
            "is not a tokenizer.json",
        ),
        (
            "tokenizer.json",
            b'{"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": {"pretokenizers": [1]}}',
            "not a tokenizer of GPT-2's kind",
        ),
        (
            "tokenizer.json",
            b'{"model": {"type": "Unigram", "vocab": [], "merges": []}, "pre_tokenizer": null}',
            "not a tokenizer of GPT-2's kind",
        ),
    ],
)
def test_other_damage_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(tmp_path / name)


def test_a_folder_without_a_vocabulary_says_how_to_train_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fourhorn tokenizer train"):
        load(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        load(tmp_path / "nothing")
