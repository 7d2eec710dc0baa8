"""`fourhorn report`, as typed."""

from fourhorn.cli.app import run


def test_report_writes_both_files_beside_the_run_and_says_where(tmp_path, capsys):
    assert run(["report", str(tmp_path)]) == 0
    assert (tmp_path / "report/index.html").stat().st_size > 50_000
    assert (tmp_path / "report/report.md").read_text().startswith("# The paper beside this run")
    assert "files missing or damaged, named at the end" in capsys.readouterr().out


def test_a_folder_that_is_not_there_is_one_sentence_and_exit_code_2(tmp_path, capsys):
    assert run(["report", str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err == (
        f"fourhorn: {tmp_path}/nothing is no folder. Give the folder of a run: fourhorn report FOLDER.\n"
    )
