"""Messages for words outside a closed set."""

from fourhorn.errors import nearest, unknown


def test_nearest_names_the_closest_word() -> None:
    assert nearest("trian", ["train", "tokens", "plan"]) == "train"


def test_nearest_is_none_when_nothing_is_close() -> None:
    assert nearest("zzz", ["train", "tokens"]) is None


def test_unknown_names_the_value_the_nearest_and_all() -> None:
    message = str(unknown("command", "trian", ["train", "plan"]))
    assert message == "There is no command 'trian'. Did you mean 'train'? Known: train, plan."
