"""Claim: an evaluation killed at any moment goes on where it stopped and ends in the same files.

    python benchmarks/evaluation_kills.py --vocabulary DIR [--data DIR] [--kills 20]

A small random model takes five kinds of task: scored, chosen, generated, answered turn by turn, and read in windows.
Each run is killed by SIGKILL at a random moment of the unbroken run's processor time and started again until it ends;
its files must be the unbroken run's, but for the seconds taken and the tokens read again.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from table import write_table

TASKS = ("winograd", "natural_questions", "coqa", "wmt14_fr_en", "wikitext2")


def child(folder: Path, vocabulary: Path, data: Path | None) -> int:
    """Evaluate in a forked process; its id."""
    process = os.fork()
    if process:
        return process
    import torch

    from fourhorn.evaluation.run import evaluate
    from fourhorn.model.config import GPT2Config
    from fourhorn.model.transformer import GPT2
    from fourhorn.tokenizer.tokenizer import Tokenizer

    try:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        model = GPT2(GPT2Config(n_layer=2, n_head=2, n_embd=32)).eval()
        names = [name for name in TASKS if data or name != "wikitext2"]
        tokenizer = Tokenizer.load(vocabulary)
        evaluate(model, tokenizer, tasks=names, data=data, destination=folder, limit=24, batch_size=4)
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)


def wait(process: int) -> tuple[bool, float]:
    """Whether a process was killed when it ends, and the processor seconds it took; its failure ends all."""
    _, status, usage = os.wait4(process, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status), usage.ru_utime + usage.ru_stime


def kill_after(process: int, seconds: float) -> bool:
    """Kill a process that has had so many processor seconds; whether it had not ended before."""
    while True:
        parts = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        if parts[0] == "Z" or (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK") >= seconds:
            break
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    return wait(process)[0]


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file's bytes, without seconds and counts of tokens in the results."""
    found = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if path.suffix == ".json" and path.stem != "missing":
            value = json.loads(data)
            del value["seconds"], value["details"]["tokens"]
            data = json.dumps(value).encode()
        found[path.name] = data
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocabulary", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    import torch  # noqa: F401  (imported once, before the forks)

    import fourhorn.evaluation.run  # noqa: F401

    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / "whole"
        seconds = wait(child(whole, options.vocabulary, options.data))[1]
        expected = files_of(whole)
        killed, partial, in_task = 0, 0, set()
        while killed < options.kills:
            folder = Path(temporary) / f"killed-{killed}"
            was_killed = kill_after(child(folder, options.vocabulary, options.data), draw.uniform(0, seconds))
            killed += was_killed
            left = list(folder.glob("*.partial*")) if folder.is_dir() else []
            partial += bool(left) and was_killed
            in_task |= {path.name.split(".")[0] for path in left}
            wait(child(folder, options.vocabulary, options.data))
            assert files_of(folder) == expected, folder
    rows = [
        ("SIGKILLs at random moments", killed),
        ("of them inside a task, with items to go on from", partial),
        ("tasks so interrupted", ", ".join(sorted(in_task))),
        ("result files per run, all equal to the unbroken run's", len(expected)),
    ]
    write_table(__file__, "Evaluations killed and resumed", ("what", "figure"), rows)


if __name__ == "__main__":
    main()
