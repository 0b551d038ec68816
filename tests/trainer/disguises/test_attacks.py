"""Each disguise does what it says, in proportion to its strength, and the same again from the same seed."""

from random import Random

import pytest

from filterd.api import Kind, Message
from filterd.reading import text
from filterd_trainer.disguises import html_attacks
from filterd_trainer.disguises.attacks import ATTACKS, SURROUNDINGS, address, ham_of
from filterd_trainer.disguises.html_attacks import HIDING, HTML_ATTACKS, SHOWING, mail, split

SPAM = (
    "Cheap offer\n\nCongratulations!\nYou have won a free prize of 1000 pounds, claim it at"
    " http://win.example now! Call us to get your money today, there is no obligation at all."
)
HAM = ["Minutes\n\nShall we meet on Tuesday? The report is nearly done and I would like your comments on it."]
UNDONE = ("invisible", "bidi", "styled", "accents")  # filterd.reading.text reads the same as before


def changed(before: str, after: str) -> int:
    """Words of `before` that are gone, and lines that have got longer."""
    return len(set(before.split()) - set(after.split())) + max(0, len(after.split()) - len(before.split()))


@pytest.mark.parametrize("name", ATTACKS)
def test_strength_is_how_much_changes(name: str) -> None:
    attack = ATTACKS[name]
    assert attack(SPAM, 0.0, Random(1)) == SPAM
    weak, strong = (sum(changed(SPAM, attack(SPAM, s, Random(i))) for i in range(10)) for s in (0.3, 1.0))
    assert 0 < weak < strong
    assert attack(SPAM, 0.5, Random(7)) == attack(SPAM, 0.5, Random(7))


@pytest.mark.parametrize("name", UNDONE)
@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_some_disguises_are_undone_by_reading(name: str, strength: float) -> None:
    for seed in range(5):
        assert text.again(ATTACKS[name](SPAM, strength, Random(seed)), Kind.MAIL) == SPAM


@pytest.mark.parametrize(
    ("name", "least"), [("homoglyphs", 0.9), ("spaced_out", 0.9), ("leetspeak", 0.6), ("punctuation", 0.2)]
)
def test_others_are_undone_in_part(name: str, least: float) -> None:
    words = SPAM.split()
    kept = []
    for seed in range(20):
        read = set(text.again(ATTACKS[name](SPAM, 0.25, Random(seed)), Kind.MAIL).split())
        kept.append(sum(word in read for word in words) / len(words))
    assert sum(kept) / len(kept) >= least


@pytest.mark.parametrize(
    ("name", "word"),
    [("misspelling", "obligation"), ("joined", "freeprize"), ("upper_case", "PRIZE"), ("leetspeak", "fr33")],
)
def test_what_they_look_like(name: str, word: str) -> None:
    made = [ATTACKS[name](SPAM, 1.0, Random(seed)) for seed in range(20)]
    assert any(word in one for one in made) != (name == "misspelling")


def test_a_typing_error_is_one_letter_away() -> None:
    for seed in range(50):
        wrong = ATTACKS["misspelling"]("obligation", 1.0, Random(seed))
        assert abs(len(wrong) - 10) <= 1
        assert set(wrong) - set("obligation") <= set("qwertyuiopasdfghjklzxcvbnm")


def test_addresses_replace_and_add() -> None:
    made = ATTACKS["addresses"](SPAM, 1.0, Random(3))
    assert "win.example" not in made
    assert len({address(Random(seed)).split(":")[0] for seed in range(40)}) > 5


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_ham_is_put_around_and_the_spam_stays_whole(name: str) -> None:
    subject, body = split(SPAM)
    attack = SURROUNDINGS[name]
    lengths = []
    for strength in (0.0, 0.25, 1.0):
        made = attack(SPAM, strength, Random(2), HAM)
        assert made.startswith(f"{subject}\n\n")
        assert body in made
        lengths.append(len(made) - len(SPAM))
    assert lengths[0] == 0
    assert 250 < lengths[1] < 400
    assert 1000 < lengths[2] < 1400
    assert attack(SPAM, 1.0, Random(2), []) == SPAM


def test_ham_of_is_cut_at_a_word_and_has_no_subject() -> None:
    for seed in range(20):
        piece = ham_of(60, Random(seed), HAM)
        assert 0 < len(piece) <= 61
        assert "Minutes" not in piece


@pytest.mark.parametrize("name", HTML_ATTACKS)
@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_html_shows_the_spam_and_nothing_else(name: str, strength: float) -> None:
    for seed in range(10):
        raw = HTML_ATTACKS[name](SPAM, strength, Random(seed), HAM)
        (read,) = text.read(Message(raw))
        assert read.kind is Kind.MAIL
        assert read.subject == "Cheap offer"
        assert "Tuesday" not in read.body
        shown = set(read.body.split())
        assert sum(word in shown for word in split(SPAM)[1].split()) >= 0.9 * 28


def test_hidden_words_are_in_the_mail_all_the_same() -> None:
    raw = html_attacks.hidden_words(SPAM, 0.5, Random(1), HAM)
    assert len(raw) > len(html_attacks.hidden_words(SPAM, 0.0, Random(1), HAM)) + 500


@pytest.mark.parametrize(("styles", "shown"), [(HIDING, ""), (SHOWING, "text of a mail")])
def test_every_style_hides_or_shows(styles: tuple[str, ...], shown: str) -> None:
    for style in styles:
        page = f'<html><body><div style="{style}">text of a mail</div></body></html>'
        assert text.read(Message(mail("s", page, subtype="html")))[0].body == shown, style


def test_a_plain_mail_is_read_as_it_was() -> None:
    assert text.read(Message(mail(*split(SPAM))))[0].canonical == SPAM
