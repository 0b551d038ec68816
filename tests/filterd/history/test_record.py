"""Numbers, ids and hashes of the history."""

from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Label, Verdict
from filterd.history.record import (
    COUNT_BITS,
    KeyedHashes,
    RecordNumbers,
    at,
    clean,
    decode,
    domains,
    encode,
    message_id,
    settled,
)


@given(st.integers(0, (1 << 63) - 1))
def test_an_id_comes_back_as_its_number_in_either_case(number: int) -> None:
    assert decode(encode(number)) == number
    assert decode(f" {encode(number).lower()}\n") == number


@given(st.text(max_size=20))
def test_whatever_is_typed_is_a_number_or_none(text: str) -> None:
    number = decode(text)
    assert number is None or encode(number) == text.strip().upper()


def test_numbers_differ_and_rise_though_the_clock_stands_or_goes_back() -> None:
    numbers = RecordNumbers()
    times = [5.0] * 9000 + [4.0, 6.0]
    found = [numbers.next(time) for time in times]
    assert len(set(found)) == len(found)
    assert found == sorted(found)
    assert found[0] >> COUNT_BITS == 5000
    assert at(5.0) <= found[0] < at(5.001)


def test_hashes_need_the_key_and_know_an_address_however_it_is_written() -> None:
    keys = KeyedHashes(b"k" * 32)
    assert keys.address("<Ann@Example.org>") == keys.address(" ann@example.org")
    assert keys.address("ann@example.org") != KeyedHashes(b"l" * 32).address("ann@example.org")
    assert keys.address("a") != keys.message_id("a")
    assert keys.address("") == keys.address("<>") == ""


def test_a_message_id_is_looked_for_in_the_head_only() -> None:
    assert message_id(b"Subject: x\r\nMESSAGE-ID: <1@a>\r\n\r\nMessage-ID: <2@b>") == "1@a"
    assert message_id(b"Subject: x\n\nMessage-ID: <2@b>") == ""


@given(st.text(max_size=2000))
def test_what_a_sender_wrote_becomes_one_printable_line(text: str) -> None:
    assert clean(text).isprintable()
    assert len(clean(text)) <= 200


def test_domains_are_named_once_and_local_parts_never() -> None:
    assert domains(["<ann@Example.org>", "ben@example.org", "", "+49151"]) == ("example.org",)


def test_the_stage_that_decided() -> None:
    def of(*tests: str, available: bool = True) -> str:
        return settled(
            Verdict(
                label=Label.HAM, probability=0.1, points=0.0, kind=Kind.MAIL, tests=tests, available=available
            )
        )

    assert of("GPT2", "HTML_ONLY") == "model"
    assert of("FASTPATH") == "fastpath"
    assert of("GPT2", "GTUBE") == "gtube"
    assert of("GPT2", "DENIED") == "list"
    assert of("GPT2", "CORRESPONDENT") == "known"
    assert of("GPT2", "DENIED", "RELEASED") == "released"
    assert of(available=False) == "none"
