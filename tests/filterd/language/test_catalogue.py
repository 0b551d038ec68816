"""Every language says the same things with the same values."""

import re
import string

import pytest

from filterd.language import catalogue

OTHERS = [code for code in catalogue.languages() if code != "en"]


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_german_is_spoken() -> None:
    assert catalogue.languages()[:2] == ["en", "de"]


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_every_text_with_its_values(language: str) -> None:
    english, other = catalogue.texts("en"), catalogue.texts(language)
    assert english.keys() == other.keys()
    for key, text in english.items():
        assert fields(text) == fields(other[key]), key


@pytest.mark.parametrize("language", catalogue.languages())
def test_no_text_has_markup(language: str) -> None:
    for key, text in catalogue.texts(language).items():
        assert not re.search(r"<[a-z/]|&[a-z]+;", text), key


def test_an_unknown_language_or_key_is_no_error() -> None:
    assert catalogue.say("xx", "console.label.spam") == "spam"
    assert catalogue.say("en", "no.such.key") == "no.such.key"


@pytest.mark.parametrize(
    ("accepted", "language"),
    [("de-DE,de;q=0.9,en;q=0.8", "de"), ("fr, en", "en"), ("", "en"), ("../../etc", "en"), ("fr", "en")],
)
def test_the_first_language_that_is_spoken_is_taken(accepted: str, language: str) -> None:
    assert catalogue.choose(accepted) == language
