import pytest

from fourhorn.errors import UserError
from fourhorn.sampling.settings import SamplingParams, preset


def test_one_stop_text_may_be_given_as_a_string():
    assert SamplingParams(stop="\n").stop == ("\n",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1.0; it must be 0 (greedy) or more."),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1."),
        ({"top_k": -3}, "top_k is -3; it must be 0 (all tokens) or more."),
        ({"max_new_tokens": -1}, "max_new_tokens is -1; it must be 0 or more."),
        ({"stop": ("",)}, "stop is ('',); it must be texts of at least one character."),
        ({"overflow": "windw"}, "There is no overflow 'windw'. Did you mean 'window'?"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_right_form(options, message):
    with pytest.raises(UserError) as error:
        SamplingParams(**options)
    assert str(error.value).startswith(message)


def test_the_papers_settings_are_presets():
    assert preset("appendix") == {"max_new_tokens": 256, "top_k": 40, "temperature": 1.0}
    assert preset("unicorns")["best_of"] == 10
    with pytest.raises(UserError, match="Did you mean 'appendix'"):
        preset("apendix")
