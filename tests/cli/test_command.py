"""A stage function as a command: same signature, one line of what it wrote, the next command."""

import inspect

import pytest

from fourhorn.cli.command import command, summary
from fourhorn.files import Manifest


def stage(source: str, destination: str, *, factor: int = 2) -> Manifest:
    """Do something."""
    return Manifest("stage", {}, n_in=10 * factor, n_kept=7 * factor, drops={"short": 3 * factor})


def test_a_command_has_the_signature_and_help_of_its_stage() -> None:
    made = command(f"{__name__}:stage")
    assert inspect.signature(made) == inspect.signature(stage)
    assert made.__doc__ == "Do something."


def test_a_command_says_what_it_wrote_and_what_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    command(f"{__name__}:stage", next_command="fourhorn next {destination}")("in", "out", factor=3)
    assert (
        capsys.readouterr().out
        == "stage: 21 of 30 kept, 9 dropped (short 9) → out\nNext: fourhorn next out\n"
    )


def test_summary_names_the_four_most_frequent_reasons() -> None:
    drops = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    assert summary(Manifest("s", {}, n_in=16, n_kept=1, drops=drops), "x") == (
        "s: 1 of 16 kept, 15 dropped (e 5, d 4, c 3, b 2) → x"
    )
