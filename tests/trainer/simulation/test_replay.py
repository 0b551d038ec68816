"""A replay delivers corrections when they are due, has nights, and goes on where it was stopped."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from filterd.api import Kind, Label
from filterd.errors import BadInput
from filterd_trainer.simulation.arms import ArmVerdict, Night
from filterd_trainer.simulation.replay import RepeatedComplaints, Replay, ReplayLog, Segment
from filterd_trainer.simulation.stream import Stream, StreamMail, StreamSettings
from filterd_trainer.simulation.users import HostileUser, NoHostility, StreamCorrection, User

SETTINGS = StreamSettings(day=10, every=25, corrects=1.0, wrong=0.0)
N, CLEAN = 60, 6


class Parrot:
    """Calls all ham, and says what it was told of a mail; stops at a place if it is to."""

    def __init__(self, stops_at: int = -1) -> None:
        self.told: list[StreamCorrection] = []
        self.asked: list[tuple[int, int]] = []  # a place, and how much was known then
        self.nights: list[int] = []
        self.stops_at = stops_at

    def judge(self, places: Sequence[int]) -> list[ArmVerdict]:
        if self.stops_at in places:
            raise KeyboardInterrupt
        self.asked += [(place, len(self.told)) for place in places]
        return [ArmVerdict(0.01, Label.HAM) for _ in places]

    def alone(self, places: Sequence[int]) -> list[ArmVerdict]:
        return [ArmVerdict(0.02, Label.HAM) for _ in places]

    def learn(self, said: StreamCorrection) -> None:
        self.told.append(said)

    def restore(self, learned: Sequence[StreamCorrection]) -> None:
        self.told = list(learned)

    def night(self) -> Night | None:
        self.nights.append(len(self.told))
        return Night("bundle", False, "too little")

    def close(self) -> None:
        pass


def stream() -> Stream:
    mails = [StreamMail(b"", Kind.MAIL, ("text",), i % 4 == 0, i) for i in range(N + CLEAN)]
    return Stream(mails, N, {}, "")


def replay(
    arm: Parrot, people: User | RepeatedComplaints | None = None, hostile: NoHostility | None = None
) -> Replay:
    one = stream()
    return Replay(one, SETTINGS, arm, people or User(one, SETTINGS), hostile or NoHostility())


def test_a_correction_comes_a_day_late(tmp_path: Path) -> None:
    arm = Parrot()
    segments = replay(arm).run(ReplayLog(tmp_path))
    assert [said.mail for said in arm.told] == list(range(0, N - SETTINGS.day, 4))
    known = dict(arm.asked[: N + CLEAN * 2])
    assert known[9] == 0, "the first day nobody has said anything"
    assert known[10] == 1
    assert known[14] == 2
    assert [segment.start for segment in segments] == [0, 25, 50, 60]
    assert sum(len(segment.judged.labels) for segment in segments) == N
    assert [said.at for s in segments for said in s.learned] == [said.at for said in arm.told]


def test_a_night_ends_with_a_look_at_clean_mail(tmp_path: Path) -> None:
    arm = Parrot()
    segments = replay(arm).run(ReplayLog(tmp_path))
    assert arm.nights == [4, 10, 13]
    assert segments[0].night is None
    for segment in segments[1:]:
        assert segment.night == Night("bundle", False, "too little")
        assert segment.look is not None
        assert segment.look.alone.probability == [0.02] * CLEAN
        assert segment.look.whole.probability == [0.01] * CLEAN


@pytest.mark.parametrize("hostile", [False, True])
def test_stopped_and_gone_on_with_it_is_the_same(tmp_path: Path, hostile: bool) -> None:
    def people() -> NoHostility:
        settings = StreamSettings(day=10, every=25, corrects=1.0, wrong=0.0, hostile=0.3)
        return HostileUser(stream(), settings, insider=False) if hostile else NoHostility()

    straight = replay(Parrot(), hostile=people()).run(ReplayLog(tmp_path / "straight"))
    with pytest.raises(KeyboardInterrupt):
        replay(Parrot(stops_at=53), hostile=people()).run(ReplayLog(tmp_path / "stopped"))
    assert len(ReplayLog(tmp_path / "stopped").read()) == 2
    arm = Parrot()
    assert replay(arm, hostile=people()).run(ReplayLog(tmp_path / "stopped")) == straight
    assert min(place for place, _ in arm.asked if place < N) == 50
    assert (len(arm.told) > 13) is hostile
    again = Parrot(stops_at=0)
    assert replay(again, hostile=people()).run(ReplayLog(tmp_path / "stopped")) == straight, (
        "nothing is done twice"
    )


def test_corrections_of_another_run_are_repeated(tmp_path: Path) -> None:
    given = [
        StreamCorrection(at=12, mail=3, label=Label.SPAM, source="user"),
        StreamCorrection(at=40, mail=20, label=Label.HAM, source="user"),
    ]
    arm = Parrot()
    segments = replay(arm, RepeatedComplaints(given)).run(ReplayLog(tmp_path))
    assert arm.told == given
    assert [said for segment in segments for said in segment.learned] == given


def test_a_damaged_segment_is_named(tmp_path: Path) -> None:
    log = ReplayLog(tmp_path)
    replay(Parrot()).run(log)
    assert all(isinstance(one, Segment) for one in log.read())
    (tmp_path / "001.json").write_text("{")
    with pytest.raises(BadInput, match=r"001\.json: damaged"):
        log.read()
