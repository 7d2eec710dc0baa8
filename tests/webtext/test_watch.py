from fourhorn.webtext.watch import Tail, watching


def test_a_tail_counts_whole_rows_once_also_when_a_file_moves(tmp_path):
    work, done = tmp_path / "work", tmp_path / "done"
    work.mkdir()
    done.mkdir()
    index = work / "part-00000.index.jsonl"
    index.write_bytes(b'{"outcome":"kept"}\n{"outcome":"time')
    tail = Tail([work, done])
    assert tail.follow() == 1
    with index.open("ab") as file:
        file.write(b'out"}\n')
    index.rename(done / index.name)
    (work / "part-00001.index.jsonl").write_bytes(b'{"outcome":"kept"}\n')
    assert tail.follow() == 2
    assert tail.follow() == 0
    assert tail.outcomes == {"kept": 2, "timeout": 1}


def test_the_last_look_comes_after_the_work(tmp_path, capsys):
    with watching([tmp_path], total=1):
        (tmp_path / "part-00000.index.jsonl").write_bytes(b'{"outcome":"kept"}\n')
    assert "error" not in capsys.readouterr().err
