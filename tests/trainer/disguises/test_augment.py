"""Changed texts keep what they say, are canonical, and lose what only tells corpora apart."""

from random import Random

import pytest

from filterd.api import Kind
from filterd.reading import text
from filterd_trainer.disguises import augment as augmenting
from filterd_trainer.disguises.augment import MAX_CHARACTERS, augment

MAIL = (
    "Re: [dev-list] New build\n\nHello Vince, the build of 12 March 2001 fails on Linux, see line 418.\n"
    "Could you look at it before Friday? I will be in Houston until then.\n____\ndev-list mailing list"
)
SPLIT = (
    "re : new prices\n\nhello , the prices of 2001 are up by 33 , 450 . see www . example . com / x . i ' m"
)
SMS = "Running late, order me a coffee please. See you at 5"
HAM = ["Lunch\n\nShall we have lunch at the usual place on Thursday? The soup there is said to be good."]


def many(canonical: str, kind: Kind, count: int = 400, ham: list[str] = []) -> list[str]:  # noqa: B006
    rng = Random(5)
    return [augment(canonical, kind, rng, ham) for _ in range(count)]


@pytest.mark.parametrize(("canonical", "kind"), [(MAIL, Kind.MAIL), (SPLIT, Kind.MAIL), (SMS, Kind.SMS)])
def test_results_are_canonical_varied_and_never_empty(canonical: str, kind: Kind) -> None:
    made = many(canonical, kind, ham=HAM)
    assert len(set(made)) > 60
    assert made.count(canonical) > 40
    for one in made:
        assert one.strip()
        assert text.again(one, kind) == one


def test_the_same_seed_gives_the_same() -> None:
    assert many(MAIL, Kind.MAIL, 50) == many(MAIL, Kind.MAIL, 50)


def test_ham_around_a_passage_leaves_room_for_both_in_a_window() -> None:
    spam = "Claim your prize now. " * 40
    for seed in range(50):
        made = augmenting.surrounded(spam, Random(seed), HAM)
        assert "Claim your prize now" in made
        assert len(made) <= augmenting.PASSAGE + 305
    endless = augmenting.surrounded("x" * 2000, Random(1), HAM)
    assert len(endless) <= augmenting.PASSAGE + 305
    assert any("soup" in augmenting.surrounded(SMS, Random(seed), HAM) for seed in range(20))
    assert all(SMS in augmenting.surrounded(SMS, Random(seed), HAM) for seed in range(20))


def test_habits_of_the_corpora_go() -> None:
    made = many(MAIL, Kind.MAIL)
    for marker in ("[dev-list]", "Vince", "Houston", "2001", "418", "Re: [dev-list]", "____", "Friday"):
        without = sum(marker not in one for one in made)
        assert 20 < without < 390, marker


def test_a_name_inside_a_word_is_none() -> None:
    rng = Random(1)
    made = {augmenting._renamed("The subject of perl layers, Perl, PERL", rng) for _ in range(20)}
    assert len(made) > 5
    for one in made:
        assert one.startswith("The subject of ")
        assert " layers, " in one
        assert "perl" not in one.lower()


def test_split_tokens_are_put_together() -> None:
    made = many(SPLIT, Kind.MAIL)
    assert sum("www.example.com/x" in one for one in made) > 50
    assert sum("33,450" in one for one in made) > 50
    assert sum("Hello, the" in one for one in made) > 50
    assert any("I'm" in one for one in made)


def test_whole_text_is_split_and_lowered() -> None:
    made = many(MAIL, Kind.MAIL)
    assert any("hello vince , the" in one for one in made)
    assert any("hello vince, the" in one for one in made)


def test_ham_around_needs_ham() -> None:
    assert any("usual place" in one for one in many(MAIL, Kind.MAIL, ham=HAM))
    assert not any("usual place" in one for one in many(MAIL, Kind.MAIL))


def test_long_texts_are_cut_where_they_are_changed() -> None:
    long = "word " * 5_000 + "the end"
    made = set(many(long, Kind.MAIL, 60))
    assert long in made
    assert {len(one) for one in made - {long}}
    assert all(len(one) <= 3 * MAX_CHARACTERS for one in made - {long})
    assert sum(one.lower().endswith("the end") for one in made - {long}) > 5


def test_chances_are_probabilities() -> None:
    names = (
        "NO_SUBJECT",
        "LATER_START",
        "NO_MARKERS",
        "OTHER_NUMBERS",
        "LOWER",
        "SPLIT",
        "WHOLE",
        "DISGUISED",
    )
    assert all(0 < getattr(augmenting, name) < 1 for name in names)


def test_lines_of_a_head_go_at_random_and_stay_as_they_are() -> None:
    head = "`from Ann Lee <ann@example.org>\nto one\nlinks other\nid same\nparts plain\n\n"
    made = [augment(head + MAIL, Kind.MAIL, Random(seed), [head + HAM[0]]) for seed in range(200)]
    lines = [text.parted(one)[0] for one in made]
    assert {line for some in lines for line in some} == set(text.parted(head)[0])
    assert 10 < sum(not some for some in lines) < 60
    assert 0 < sum("to one" not in some for some in lines) < 100
    assert not any("`" in text.without_head(one) for one in made)


def test_emphasis_changes_signs_and_capitals_and_no_words() -> None:
    said = "Your parcel is here. Call us today."
    made = {augmenting.emphasised(said, Random(i)) for i in range(200)}
    words = {" ".join(w.strip(".!?") for w in one.lower().split() if w.strip(".!?")) for one in made}
    assert words == {said.lower().replace(".", "")}
    assert any(one.isupper() for one in made) and any("!!!" in one for one in made)
    assert any("." not in one and "!" not in one for one in made)
