"""Who corrects: how often, how late, how wrongly; and what hostile people add."""

import pytest

from filterd.api import Kind, Label, Message
from filterd.reading.text import read
from filterd_trainer.simulation.stream import Stream, StreamMail, StreamSettings
from filterd_trainer.simulation.users import (
    USER,
    HostileUser,
    NoHostility,
    StreamCorrection,
    User,
    is_hostile,
    variant,
)


def stream(n: int = 4000) -> Stream:
    return Stream([StreamMail(b"", Kind.MAIL, ("text",), i % 3 == 0, i) for i in range(n)], n, {}, "")


def wrongly(one: Stream, place: int) -> Label:
    return Label.HAM if one.mails[place].is_spam else Label.SPAM


def test_a_user_corrects_a_share_a_day_late() -> None:
    one, settings = stream(), StreamSettings(day=100)
    user = User(one, settings)
    said = [user.sees(i, wrongly(one, i)) for i in range(one.n)]
    given = [s for s in said if s]
    assert 0.27 < len(given) / one.n < 0.33
    assert all(s.at == s.mail + 100 and s.source == USER for s in given)
    wrong = sum(s.label is not one.mails[s.mail].label for s in given)
    assert 0.005 < wrong / len(given) < 0.04


def test_a_user_says_nothing_of_what_is_right_and_corrects_unsure() -> None:
    one = stream()
    user = User(one, StreamSettings(corrects=1.0, wrong=0.0))
    assert user.sees(0, Label.SPAM) is None
    for place, label in ((0, Label.SPAM), (1, Label.HAM)):
        said = user.sees(place, Label.UNSURE)
        assert said is not None
        assert said.label is label


def test_all_arms_meet_the_same_user() -> None:
    one = stream()
    users = [User(one, StreamSettings()) for _ in range(2)]
    for place in range(0, one.n, 2):  # the other arm was wrong about fewer
        users[1].sees(place, wrongly(one, place))
    said = [[user.sees(i, wrongly(one, i)) for i in range(one.n)] for user in users]
    assert said[0] == said[1]


@pytest.mark.parametrize("insider", [False, True])
def test_hostile_people_have_their_share(insider: bool) -> None:
    one, settings = stream(), StreamSettings(hostile=0.1, corrects=1.0)
    people, learned = HostileUser(one, settings, insider), list[StreamCorrection]()
    for at in range(300, 1200):
        learned.append(StreamCorrection(at=at, mail=at - 250, label=one.mails[at - 250].label, source=USER))
        learned += people.after(learned)
        if at % 300 == 0:
            learned += people.before_night(learned, at)
    bad = [said for said in learned if is_hostile(said)]
    assert 0.08 < len(bad) / len(learned) < 0.11
    assert all(said.label is not one.mails[said.mail].label for said in bad)
    assert all(said.at - 250 <= said.mail < said.at for said in bad)
    sources = {said.source for said in bad}
    assert sources == ({USER} if insider else {"flood", "stranger-1", "stranger-2", "stranger-3"})
    flood = [said for said in bad if said.copy > 0 and said.at == 900]
    assert len(flood) > 5
    assert len({said.mail for said in flood}) == 1
    assert len({said.copy for said in bad}) == len(bad)


def test_nobody_adds_nothing() -> None:
    learned = [StreamCorrection(at=300, mail=50, label=Label.HAM, source=USER)]
    assert not NoHostility().after(learned)
    assert not NoHostility().before_night(learned, 500)
    assert not is_hostile(learned[0])


def test_variants_are_other_mails_of_the_same_text() -> None:
    made = [
        variant(
            StreamCorrection(at=9, mail=4, label=Label.HAM, source="flood", copy=copy),
            "A\nsubject",
            "The body.",
        )
        for copy in (1, 2)
    ]
    found = [read(Message(raw))[0] for raw in made]
    texts = [f"{one.subject}\n\n{one.body}" for one in found]  # the head is each sender's own
    assert texts[0] != texts[1]
    assert all(text.startswith("A subject\n\nThe body.") for text in texts)
