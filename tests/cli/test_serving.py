"""`fourhorn serve` as a process: it says where it listens, answers, and ends at once."""

import re
import signal
import subprocess
import sys
import urllib.request

from fourhorn.checkpoints import native
from fourhorn.cli.app import run
from fourhorn.model.config import GPT2Config
from fourhorn.model.transformer import GPT2
from fourhorn.tokenizer.tokenizer import Tokenizer
from fourhorn.tokenizer.vocabulary import Vocabulary


def test_serve_listens_answers_and_ends_at_an_interrupt(tmp_path):
    tokenizer = Tokenizer(Vocabulary.of([]))
    native.save(GPT2(GPT2Config(1, 2, 64, 16, tokenizer.n_vocab)), tokenizer, tmp_path / "mine")
    command = [sys.executable, "-c", "from fourhorn.cli.app import main; main()", "serve"]
    command += [str(tmp_path / "mine"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("serve: mine → http://localhost:")
            port = re.search(r":(\d+) ", line).group(1)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=30) as answer:
                assert b'"id":"mine"' in answer.read()
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (0, 130)
        finally:
            process.kill()


def test_serving_other_machines_without_a_key_is_refused(capsys, monkeypatch):
    monkeypatch.delenv("FOURHORN_API_KEY", raising=False)
    assert run(["serve", "mine", "--host", "0.0.0.0"]) == 2
    assert "--api-key" in capsys.readouterr().err
