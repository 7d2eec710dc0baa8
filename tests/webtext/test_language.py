"""Language identification on original sentences in a dozen languages."""

import pytest

from fourhorn.webtext.language import SAMPLE_CHARS, language_of, sample_of

SENTENCES = {
    "en": "The children walked along the river until they found the old mill, where they stayed for the night.",
    "de": "Die Kinder liefen am Fluss entlang, bis sie die alte Mühle fanden, in der sie über Nacht blieben.",
    "fr": "Les enfants marchaient le long de la rivière jusqu'au vieux moulin, où ils passèrent toute la nuit.",
    "es": "Los niños caminaron por la orilla del río hasta encontrar el viejo molino, donde pasaron la noche.",
    "it": "I bambini camminarono lungo il fiume finché trovarono il vecchio mulino, dove passarono la notte.",
    "pt": "As crianças caminharam ao longo do rio até encontrarem o velho moinho, onde passaram toda a noite.",
    "nl": "De kinderen liepen langs de rivier tot ze de oude molen vonden, waar ze de hele nacht bleven slapen.",
    "pl": "Dzieci szły wzdłuż rzeki, aż znalazły stary młyn, w którym zostały na noc i słuchały wiatru.",
    "ru": "Дети шли вдоль реки, пока не нашли старую мельницу, где они остались на ночь и слушали ветер.",
    "ja": "子どもたちは川に沿って歩き、古い水車小屋を見つけて、そこで一晩を過ごしました。",
    "zh": "孩子们沿着河边走，直到找到那座古老的磨坊，他们在那里过了一夜。",
    "ar": "سار الأطفال على طول النهر حتى وجدوا الطاحونة القديمة وبقوا فيها طوال الليل يستمعون إلى الريح.",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_sentences_are_recognized(language):
    found, share = language_of(" ".join([SENTENCES[language]] * 4))
    assert (found, share > 0.9) == (language, True)


def test_the_share_falls_with_foreign_text():
    half = SENTENCES["en"] * 3 + SENTENCES["ru"] * 3
    assert 0.3 < language_of(half)[1] < 0.7


@pytest.mark.parametrize("text", ["", " ", "\x00\x01\ud800\ufffe", "123 456", "😀" * 50])
def test_texts_in_no_language_are_unknown(text):
    assert language_of(text)[0] == "un"


def test_long_texts_are_sampled_at_both_ends_and_in_the_middle():
    text = "a" * 5000 + "m" * 5000 + "z" * 5000
    assert sample_of(text) == "\n".join(c * SAMPLE_CHARS for c in "amz")
    assert sample_of("short") == "short"
