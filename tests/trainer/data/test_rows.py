import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Message
from filterd.reading import text
from filterd_trainer.data import rows, sources
from filterd_trainer.data.sources import ReadingLosses, Source


def read(tmp_path: Path, *objects: dict[str, Any]) -> tuple[list[sources.LabelledMessage], ReadingLosses]:
    path = tmp_path / "more.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in objects))
    losses = ReadingLosses()
    return [*sources.read(Source(path, "more"), losses)], losses


def test_a_raw_mail_comes_as_its_bytes(tmp_path: Path) -> None:
    mail = b"From: a@b.example\nSubject: Tea\n\nat four \xe9\n"
    (one,), _ = read(tmp_path, {"label": "ham", "kind": "mail", "raw": base64.b64encode(mail).decode()})
    assert (one.raw, one.facts.kind) == (mail, Kind.MAIL)
    found, losses = read(tmp_path, {"label": "ham", "raw": "no base64!"})
    assert not found and losses.counts == {"no text": 1}


def test_a_mail_in_parts_is_a_mail_again(tmp_path: Path) -> None:
    given = {"label": "ham", "kind": "mail", "sender": "Zoë <z@b.example>", "subject": "Tea\nBcc: all"}
    plain, html = read(
        tmp_path, {**given, "text": "at four"}, {**given, "text": "<p>at <b>five</b></p>", "subject": ""}
    )[0]
    assert plain.raw.startswith(
        "From: Zoë <z@b.example>\nSubject: Tea Bcc: all\nContent-Type: text/plain".encode()
    )
    (found,) = text.read(Message(html.raw, kind=html.facts.kind))
    assert "at five" in found.canonical and "<" not in found.body


def test_what_a_row_says_of_itself(tmp_path: Path) -> None:
    row = {"label": "spam", "kind": "chat", "lang": "pt-BR", "year": 2024, "text": "oi", "id": "7"}
    (one,), _ = read(tmp_path, {**row, "uci": "hello", "group": "shop", "orig": "other:9"})
    assert one.facts == rows.RowFacts(
        Kind.SMS, "pt", 2024, ("group:shop", "uci:hello", "id:more:7", "id:other:9")
    )
    (one,), _ = read(tmp_path, {"label": "ham", "text": "oi", "lang": "und", "year": "soon", "kind": "fax"})
    assert one.facts == rows.NO_FACTS


def test_bare_text_has_no_label(tmp_path: Path) -> None:
    (one,), _ = read(tmp_path, {"label": "none", "kind": "text", "text": "Es regnet."})
    assert one.label == rows.UNLABELLED


@pytest.mark.parametrize(
    ("typed", "expected"), [("Ok! Ü 50p, CALL 0800", "oküpcall".replace("üp", "ü0p") + "0"), ("_ .", "")]
)
def test_folded_text(typed: str, expected: str) -> None:
    assert rows.folded(typed) == expected


@given(
    st.dictionaries(
        st.sampled_from(["raw", "text", "subject", "sender", "kind", "lang", "year", "id"]),
        st.one_of(st.none(), st.integers(), st.text(), st.booleans()),
    )
)
def test_any_object_is_read(row: dict[str, Any]) -> None:
    assert isinstance(rows.content(row, row.get("text")), bytes | None)
    assert isinstance(rows.facts(row, "x"), rows.RowFacts)
