"""Run every command once on a finished workspace, in one process; say how each ended, as JSON.

    python tests/cli/every_command.py WORKSPACE EMPTY_FOLDER [COMMAND…]

Used by `test_app_extras.py`, which hides the libraries of the extras, and by hand in environments that lack them.
"""

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path

from fourhorn.cli.app import COMMANDS, run

MODEL = "{w}/runs/pocket-117M"
TRAIN = "--train {w}/webtext/train"
SHORT = (
    "--max-steps 2 --batch-size 4 --eval-every 0 --save-every 0 --warmup-steps 1 --native off --compile off"
)
ARGUMENTS = {
    "reproduce": "again --scale smoke --to dump",
    "report": "{w} --destination report",
    "webtext links": "{w}/dump links",
    "webtext crawl": "{w}/links pages --resolve {w}/web/hosts.txt --allow-private 127.0.0.0/8 --max-attempts 1"
    " --delay-seconds 0 --timeout-seconds 1",
    "webtext extract": "{w}/pages raw",
    "webtext clean": "{w}/raw clean",
    "webtext dedup": "{w}/clean unique",
    "webtext split": "{w}/unique webtext",
    "webtext stats": "{w}/unique stats",
    "tokenizer train": "{w}/webtext/val tokenizer --n-vocab 300",
    "tokenizer encode": "horns --tokenizer {w}/tokenizer",
    "tokenizer decode": "72 73 --tokenizer {w}/tokenizer",
    "tokenizer show": "horns --tokenizer {w}/tokenizer",
    "tokenizer compare": "{w}/tokenizer {w}/tokenizer --text.val my.txt",
    "tokens": "{w}/webtext/val tokens --tokenizer {w}/tokenizer",
    "plan": "--size 124M",
    "train": "{w}/tokens run --n-layer 1 --n-head 2 --n-embd 32 --n-ctx 32 " + SHORT,
    "finetune": "my.txt mine --from " + MODEL + " " + SHORT,
    "doctor": "--run " + MODEL,
    "convert": MODEL + " mine.gguf",
    "download": "124M nothing --offline",
    "push": MODEL + " ada/unicorn --dry-run card",
    "sample": MODEL + " --prompt horns --max-new-tokens 2",
    "serve": MODEL + " --port 70000",
    "evaluate": MODEL + " results --pocket {w}/sets --limit 1 --tasks cnn_dailymail",
    "compare": "{w}/results/pocket-117M {w}/results/pocket-345M",
    "data list": "",
    "data fetch": "nothing data",
    "data check": "{w}",
    "overlap": "mine=my.txt " + TRAIN + " --tokenizer {w}/tokenizer",
    "scores": "{w}/results/pocket-1542M {w}/overlap",
    "recitation": "{w}/samples/pocket-1542M " + TRAIN,
    "bloom build": "{w}/webtext/val --destination val.bloom --tokenizer {w}/tokenizer",
    "bloom merge": "val.bloom --destination all.bloom",
    "completion": "bash",
    "bloom check": "val.bloom --n-probes 1000",
}


def main(workspace: Path, folder: Path, names: list[str]) -> None:
    """Run the named commands, or all, in `folder`; print `{command: [exit code, end of its error, seconds]}`."""
    assert set(ARGUMENTS) == {name for rows in COMMANDS.values() for name, _, _ in rows}
    os.chdir(folder)
    Path("my.txt").write_text("A horn, two horns, three horns, four horns and five. " * 400)
    ends = {}
    for name in names or ARGUMENTS:
        started, errors = time.monotonic(), io.StringIO()
        output = io.TextIOWrapper(io.BytesIO())  # some commands write bytes
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
            code = run([*name.split(), *ARGUMENTS[name].format(w=workspace).split()])
        ends[name] = [
            code,
            errors.getvalue().strip()[-400:] if code else "",
            round(time.monotonic() - started, 1),
        ]
    print(json.dumps(ends, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]), sys.argv[3:])
