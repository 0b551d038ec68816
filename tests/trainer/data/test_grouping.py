import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterd_trainer.data import grouping

LONG = "the committee will meet on monday at noon in the small room beside the library to discuss the roof"


def same(first: str, second: str) -> bool:
    numbers = grouping.group([first, second])
    return bool(numbers[0] == numbers[1])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(LONG, LONG.upper() + "!!", id="case-and-punctuation"),
        pytest.param("call 0800 123 now to win", "call 0900 7 now to win", id="numbers"),
        pytest.param("code 1", "Code: 22", id="shorter-than-a-shingle"),
        pytest.param(LONG, "re: agreed, see you\n> " + LONG, id="quoted"),
        pytest.param("x " * 300 + LONG, LONG, id="contained-in-a-long-one"),
        pytest.param("明日の会議は十時からです", "明日の会議は十時からです。", id="no-blanks"),
        pytest.param("!!!", "???", id="no-word-at-all"),
    ],
)
def test_near_duplicates_share_a_group(first: str, second: str) -> None:
    assert same(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(LONG, "nothing of the kind was ever said by anyone who was there", id="others"),
        pytest.param("see you at noon", "see you at nine", id="one-shingle-each"),
        pytest.param("a b c d e f g h i j k l", "a b c d e f g m n o p q r s t", id="less-than-half"),
        pytest.param("ok", "ko", id="single-words"),
    ],
)
def test_others_do_not(first: str, second: str) -> None:
    assert not same(first, second)


def test_groups_are_numbered_by_first_appearance() -> None:
    texts = ["c c c c c", "a a a a a", "b b b b b", "A A A A A", "c c c c c"]
    assert grouping.group(texts).tolist() == [0, 1, 2, 1, 0]


def test_no_texts_have_no_groups() -> None:
    assert grouping.group([]).tolist() == []


def test_a_footer_that_everybody_has_is_no_near_duplicate() -> None:
    footer = " this list is run by volunteers please read the rules before you post to it"
    texts = [f"word{chr(97 + i)} " * 3 + f"{chr(97 + i)}{chr(98 + i)} is all" + footer for i in range(24)]
    assert len(set(grouping.group(texts[:2]))) == 1, "two alone look like copies"
    replies = [f"{chr(97 + i) * 9} {chr(98 + i) * 9} thanks" + footer for i in range(24)]
    bodies = [" ".join(f"{chr(97 + i) * k}" for k in range(1, 40)) + footer for i in range(24)]
    assert len(set(grouping.group(bodies + replies))) > 24


def test_a_block_more_or_less_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    texts = [" ".join(rng.choice(list("abcdef"), 9)) for _ in range(60)]
    whole = grouping.group(texts)
    monkeypatch.setattr(grouping, "BLOCK", 1)
    assert grouping.group(texts).tolist() == whole.tolist()


def test_it_reports_how_far_it_is() -> None:
    seen: list[tuple[str, int, int]] = []
    grouping.group(["a b c d e f"] * 3, lambda *told: seen.append(told))
    assert {stage for stage, _, _ in seen} == {"shingles", "near-duplicates", "quotations"}
    assert all(done <= total for _, done, total in seen)


def shingles(text: str) -> set[tuple[str, ...]]:
    words = grouping.tokens(text)
    words += [""] * (5 - len(words))
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def by_hand(texts: list[str]) -> list[int]:
    """Groups of few texts, so that nothing is boilerplate: half of the smaller set is shared."""
    number = list(range(len(texts)))
    sets = [shingles(text) for text in texts]
    for i, a in enumerate(sets):
        for j, b in enumerate(sets[:i]):
            if 2 * len(a & b) >= min(len(a), len(b)):
                old, new = number[i], number[j]
                number = [new if n == old else n for n in number]
    first = {n: k for k, n in enumerate(dict.fromkeys(number))}
    return [first[n] for n in number]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.lists(st.sampled_from("ab1"), max_size=14).map(" ".join),
            st.text(alphabet="a b7.中", max_size=20),
        ),
        min_size=1,
        max_size=grouping.BOILERPLATE,
    )
)
def test_it_counts_as_a_person_would(texts: list[str]) -> None:
    assert grouping.group(texts).tolist() == by_hand(texts)
