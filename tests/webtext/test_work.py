import pytest

from fourhorn.errors import UserError
from fourhorn.webtext.work import check_finished, clear_work, open_work


def test_the_same_work_goes_on_and_other_work_starts_afresh(tmp_path):
    first = open_work(tmp_path, {"a": 1}, {"x": "1"})
    (first / "note").touch()
    assert open_work(tmp_path, {"a": 1}, {"x": "1"}) == first
    assert (first / "note").exists()
    other = open_work(tmp_path, {"a": 2}, {"x": "1"})
    assert other != first
    assert not first.exists()


def test_a_folder_with_unfinished_work_may_not_be_read(tmp_path):
    check_finished(tmp_path)
    open_work(tmp_path, {}, {})
    with pytest.raises(UserError, match="not finished"):
        check_finished(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    check_finished(tmp_path)
    (tmp_path / ".part-00000.jsonl.zst.abc.tmp").touch()
    clear_work(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]
