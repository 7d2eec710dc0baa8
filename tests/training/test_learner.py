"""What a step differentiates is the model, block by block; compiling is left out where it cannot be."""

import shutil

import pytest
import torch

from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.runtime import Runtime
from fourhorn.training import learner
from fourhorn.training.learner import Learner, use_compile, why_not_compile
from fourhorn.training.loss import plain_cross_entropy

CPU, CARD = Runtime("cpu", "float32"), Runtime("cuda:0", "bfloat16")


def test_the_loss_through_the_blocks_is_the_models_own() -> None:
    torch.manual_seed(0)
    model = GPT2(GPT2Config(n_layer=2, n_head=2, n_embd=32, n_ctx=16, n_vocab=50))
    tokens = torch.randint(0, 50, (3, 11))
    losses = []
    for function in (
        lambda: Learner(model, torch.float32)(tokens[:, :-1], tokens[:, 1:], 0.1),
        lambda: plain_cross_entropy(model.hidden(tokens[:, :-1]), model.wte.weight, tokens[:, 1:], 0.1),
    ):
        model.zero_grad()
        loss = function()
        loss.backward()
        losses.append((loss.detach(), [p.grad.clone() for p in model.parameters()]))
    assert torch.allclose(losses[0][0], losses[1][0], atol=1e-6)
    for one, other in zip(losses[0][1], losses[1][1], strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_compiled_blocks_share_the_models_weights_and_are_not_saved_with_it() -> None:
    model = GPT2(GPT2Config(n_layer=2, n_head=2, n_embd=32, n_ctx=16, n_vocab=50))
    compiled = Learner(model, torch.float32, compiled=True)
    assert set(compiled.state_dict()) == {f"model.{name}" for name in model.state_dict()}
    assert sum(p.numel() for p in compiled.parameters()) == sum(p.numel() for p in model.parameters())


def test_without_a_compiler_or_triton_there_is_a_reason_and_no_compiling(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(learner, "find_spec", lambda name: object())
    for place, names in ((CPU, "g++ or clang++"), (CARD, "gcc or clang")):
        assert why_not_compile(place) == f"no compiler found: {names}"
        assert not use_compile("auto", place, 1e30)
    assert capsys.readouterr().err == ""
    assert not use_compile("on", CPU, 0.0)
    said = "fourhorn: training goes on without torch.compile (no compiler found: g++ or clang++).\n"
    assert capsys.readouterr().err == said
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(learner, "failed_trial", lambda place: "")
    assert use_compile("auto", CARD, 0.0)
    assert use_compile("on", CPU, 0.0)
    assert not use_compile("auto", CPU, 1e12)
    assert not use_compile("off", CARD, 1e30)
    monkeypatch.setattr(learner, "find_spec", lambda name: None)
    assert "Triton" in why_not_compile(CARD)


def test_a_compiler_that_does_not_work_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(function: object) -> object:
        raise RuntimeError("Python.h: No such file or directory\nand a page more")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    said = "fourhorn: training goes on without torch.compile (Python.h: No such file or directory).\n"
    for choice in ("on", "auto"):
        assert not use_compile(choice, CPU, 1e30)
        assert capsys.readouterr().err == said
