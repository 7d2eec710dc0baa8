"""Flip a bit or cut a saved state off in random places: every damage must be found, named and survived.

python benchmarks/training_corruption.py [N]
"""

import random
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fourhorn.training.parallel import Local  # noqa: E402
from fourhorn.training.state import Saver, folder_of, latest  # noqa: E402


def main(n: int) -> None:
    rng, found = random.Random(0), {"bit flipped": 0, "cut off": 0}
    with tempfile.TemporaryDirectory() as temporary:
        states = Path(temporary)
        saver = Saver(states, keep=2)
        for step in (1, 2):
            data = torch.randn(300, 20)
            saver.save(step, {"w": Local(data, 0, tuple(data.shape))}, {"n_samples": step}, wait=True)
        files = sorted(folder_of(states, 2).iterdir())
        for _ in range(n):
            path = rng.choice(files)
            before, kind = path.read_bytes(), rng.choice(list(found))
            damaged = bytearray(before)
            if kind == "cut off":
                damaged = damaged[: rng.randrange(len(damaged))]
            else:
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            path.write_bytes(damaged)
            said: list[str] = []
            state = latest(states, said.append)
            assert state is not None, (path, kind)
            assert state.meta["step"] == 1, (path, kind)
            assert path.name in said[0], (path, kind)
            found[kind] += 1
            path.write_bytes(before)
    text = "\n".join(
        ["# Damaged states", "", "| damage | tried | found, named, fallen back |", "| --- | --- | --- |"]
        + [f"| {kind} | {count} | {count} |" for kind, count in found.items()]
    )
    print(text)
    (ROOT / "benchmarks" / "results" / "training_corruption.md").write_text(
        f"{text}\n\n{time.strftime('%Y-%m-%d')}\n"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
