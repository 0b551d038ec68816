"""What workers know, added up."""

import json
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from filterd.service import siblings
from filterd.service.metrics import ServiceMetrics
from filterd.service.siblings import Siblings


def page(*of: ServiceMetrics) -> dict[str, float]:
    through_json = [json.loads(json.dumps(siblings.samples(one.registry))) for one in of]
    families = text_string_to_metric_families(siblings.exposition(through_json).decode())
    return {f"{s.name}{sorted(s.labels.items())}": s.value for f in families for s in f.samples}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=4))
def test_counters_and_histograms_are_added(counts: list[int]) -> None:
    workers = [ServiceMetrics() for _ in counts]
    for one, count in zip(workers, counts, strict=True):
        for _ in range(count):
            one.cache_hits.inc()
            one.batch_size.observe(3)
        one.drift.labels("mail", "score").set(count)
        one.bundle.info({"id": "mini-1", "name": "mini"})
    found = page(*workers)
    assert found["filterd_cache_hits_total[]"] == sum(counts)
    assert found["filterd_batch_messages_bucket[('le', '4.0')]"] == sum(counts)
    assert found["filterd_batch_messages_sum[]"] == 3 * sum(counts)
    assert found["filterd_drift_psi[('kind', 'mail'), ('of', 'score')]"] == max(counts)
    assert found["filterd_bundle_info[('id', 'mini-1'), ('name', 'mini')]"] == 1
    assert found["filterd_workers[]"] == len(counts)


def test_the_status_of_all() -> None:
    def one(**changes: Any) -> dict[str, Any]:
        given_ = {"judged": {"ham": 1, "spam": 2}, "waiting": {"messages": 1, "tokens": 9}, "refused": 1}
        return (
            given_
            | {"abandoned": 0, "warning": "", "shadow": None, "trial": None, "uptime_s": 1.0, "model": "m"}
            | {"drift": {}}
            | changes
        )

    drifts: list[dict[str, Any]] = [{"mail": {"score": 0.1}}, {"mail": {"score": 0.3}, "sms": {"score": 0.2}}]
    second = one(warning="not reloaded", shadow={"seen": 3}, uptime_s=5.0, drift=drifts[0])
    found = siblings.status([one(), second, one(trial={"seen": 3}, drift=drifts[1])])
    assert found["drift"] == {"mail": {"score": 0.3}, "sms": {"score": 0.2}} and found["trial"] == {"seen": 3}
    assert found["judged"] == {"ham": 3, "spam": 6} and found["waiting"] == {"messages": 3, "tokens": 27}
    assert (found["refused"], found["warning"], found["shadow"], found["uptime_s"]) == (
        *(3, "not reloaded", {"seen": 3}, 5.0),
    )


async def test_who_does_not_answer_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(siblings, "ASK_S", 0.2)
    three = [Siblings(str(tmp_path), number, 4) for number in range(3)]
    for number, one in enumerate(three[:2]):
        await one.start(partial(dict, number=number))
    silent = socket.socket(socket.AF_UNIX)
    silent.bind(str(tmp_path / "3.sock"))
    silent.listen()
    assert await three[0].states() == [{"number": 1}]
    assert await three[2].states() == [{"number": 0}, {"number": 1}]
    assert await Siblings().states() == []
    for one in three:
        one.close()
    silent.close()
