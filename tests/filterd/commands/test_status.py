"""The table of `filterd status`."""

from typing import Any

import pytest
from rich.console import Console

from filterd.commands import status

SAID: dict[str, Any] = {
    "version": "0.1.0",
    "uptime_s": 7512.0,
    "model": "mini-1",
    "labels": ["ham", "spam"],
    "judged": {"ham": 1200, "unsure": 3, "spam": 40},
    "waiting": {"messages": 2, "tokens": 300},
    "ms": {"median": 4.25, "p99": 30.0},
    "refused": 5,
    "abandoned": 1,
    "corrections": 7,
    "drift": {"mail": {"score": 0.03, "label": 0.31}},
    "shadow": {"model": "mini-2", "seen": 200, "differs": 1, "gap": 0.0125},
}


def shown(said: status.Said, before: status.Said | None = None) -> list[str]:
    console = Console(width=100, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as capture:
        console.print(status.table(said, before))
    return [" ".join(line.split()) for line in capture.get().splitlines()]


def test_the_table() -> None:
    assert shown(SAID) == [
        "filterd 0.1.0, up 2 h 5 min",
        "model mini-1 (ham, spam)",
        "judged ham 1,200 unsure 3 spam 40",
        "took median 4.2 ms p99 30.0 ms",
        "waiting 2 messages, 300 tokens",
        "not judged 5 refused or late, 1 whose client left",
        "corrections 7",
        "drift, mail score 0.03 label 0.31 shifted",
        "shadow mini-2: 200 seen, 99.50% alike, P(spam) 0.0125 apart",
    ]


def test_before_the_first_message() -> None:
    said = SAID | {"judged": {"ham": 0, "unsure": 0, "spam": 0}, "ms": {}, "drift": {}, "shadow": None}
    assert [line for line in shown(said) if line.endswith(" -")] == ["took -", "drift -", "shadow -"]


@pytest.mark.parametrize(
    ("uptime", "judged", "rate"),
    [(7510.0, 1203, "(20/s)"), (9000.0, 1203, ""), (7512.0, 1203, ""), (7500.0, 5000, "")],
    ids=["two seconds", "restarted", "the same moment", "fewer than before"],
)
def test_the_rate(uptime: float, judged: int, rate: str) -> None:
    before = SAID | {"uptime_s": uptime, "judged": {"ham": judged}}
    assert shown(SAID, before)[2] == f"judged ham 1,200 unsure 3 spam 40 {rate}".strip()


def test_it_watches_until_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([SAID, SAID | {"corrections": 8}, SAID | {"corrections": 9}])
    monkeypatch.setattr(status, "EVERY_S", 0.0)

    def ask() -> status.Said:
        try:
            return next(answers)
        except StopIteration:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        status.watch(ask)
    assert "corrections  9" in capsys.readouterr().out


@pytest.mark.parametrize(("seconds", "said"), [(59, "0 min 59 s"), (3600, "1 h 0 min"), (200_000, "2 days")])
def test_durations(seconds: float, said: str) -> None:
    assert status._duration(seconds) == said
