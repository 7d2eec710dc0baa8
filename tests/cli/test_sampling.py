"""`fourhorn sample` with wrong inputs: one sentence, exit code 2, nothing printed or written before."""

import pytest
import torch

from fourhorn.checkpoints import native
from fourhorn.cli.app import run
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.tokenizer.tokenizer import Tokenizer
from fourhorn.tokenizer.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tokenizer = Tokenizer(Vocabulary.of([]))
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "mine"
    native.save(GPT2(GPT2Config(1, 2, 64, 16, tokenizer.n_vocab)), tokenizer, path)
    return path


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--n-samples", "0"], "--n-samples is 0; it must be 1 or more."),
        (["--best-of", "0"], "--best-of is 0; it must be 1 or more."),
        (["--max-sequences", "0"], "--max-sequences is 0; it must be 1 or more."),
        (["--temperature=-1"], "temperature is -1.0; it must be 0 (greedy) or more."),
        (["--device", "cpux"], "There is no device 'cpux'. Did you mean 'cpu'?"),
        (["--prompt", "x" * 40], "40 prompt tokens leave no room in the context of 16."),
        (
            ["OUT", "--context-tokens", "16"],
            "context_tokens is 16; it must be less than the model's context of 16",
        ),
        (["--prompts", "texts.jsonl"], "--prompts needs a folder to write to"),
    ],
)
def test_a_wrong_input_is_told_in_one_sentence_before_anything_is_written(
    folder, tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    assert run(["sample", str(folder), *arguments]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_prompt_is_shown_with_its_continuation(folder, capsys):
    assert (
        run(["sample", str(folder), "--prompt", "In a", "--max-new-tokens", "5", "--precision", "bfloat16"])
        == 0
    )
    assert capsys.readouterr().out.startswith("In a")
