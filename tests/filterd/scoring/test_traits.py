"""What a message is known by: the same for every copy of it, bounded, and unpacked as it was packed."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filterd.api import Kind, Label, Message
from filterd.corrections.correction import correct, seen
from filterd.errors import BadInput
from filterd.reading.text import read
from filterd.scoring.traits import (
    MAX_IDS,
    MIN_SHINGLES,
    SKETCH,
    Traits,
    likeness,
    of_message,
    of_text,
    pack,
    unpack,
)

HEAD = b"""\
From: Offers <offers@pills.example>
To: Anna Berg <anna@example.org>
Subject: Your refill
 is waiting
Date: Mon, 6 Jan 2025 10:00:00 +0000
Message-ID: <1@pills.example>
DKIM-Signature: v=1; a=rsa-sha256; d=pills.example; b=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
"""
BODY = b"""\
Dear Anna, your refill of the blue pills waits. Order at http://pills.example/a?id=12345678 today.
From now on you get half off. We ship all over the world in plain boxes.
"""
JUDGED = HEAD + b"\n" + BODY
BASE64 = HEAD + b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(BODY)
WRAPPED = b"""\
From: filter@example.org
Subject: *****SPAM***** Your refill is waiting
X-Spam-Flag: YES
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="----------=_4E.1"

This is a multi-part message in MIME format.

------------=_4E.1
Content-Type: text/plain

%b

------------=_4E.1
Content-Type: message/rfc822; x-spam-type=original
Content-Description: original message before SpamAssassin

%b
------------=_4E.1--
"""
FORWARDED = b"""\
From: anna@example.org
To: spam@example.org
Subject: Fwd: Your refill is waiting
Content-Type: multipart/mixed; boundary=frontier

--frontier
Content-Type: text/plain

this one

--frontier
Content-Type: message/rfc822

%b
--frontier--
"""
DELIVERED = (
    b"From offers@pills.example  Mon Jan  6 10:00:00 2025\n"
    b"Return-Path: <offers@pills.example>\nDelivered-To: anna@example.org\n"
    b"Received: from mx.pills.example (mx.pills.example [192.0.2.7])\n"
    b"\tby mail.example.org (Postfix) with ESMTPS id 4F2B91\n"
    b"Authentication-Results: mail.example.org; spf=pass\n"
    b"X-Spam-Status: Yes, score=9.1 required=5.0\n\ttests=GPT2\nX-UID: 7\nStatus: RO\n" + JUDGED
)


def mail(raw: bytes) -> Traits:
    return of_message(raw, read(Message(raw, kind=Kind.MAIL))[0])


def same(one: Traits, other: Traits) -> bool:
    return one.content_hash == other.content_hash and all(
        np.array_equal(a, b) for a, b in zip(one[2:], other[2:], strict=True)
    )


class TestCopies:
    @pytest.mark.parametrize(
        "copy",
        [
            pytest.param(JUDGED.replace(b"\n", b"\r\n"), id="on-the-wire"),
            pytest.param(DELIVERED, id="delivered-in-an-mbox"),
            pytest.param(BASE64, id="encoded-anew"),
            pytest.param(WRAPPED % (b"Spam detected. " * 40, JUDGED), id="report-safe"),
            pytest.param(FORWARDED % JUDGED, id="forwarded"),
            pytest.param(FORWARDED.replace(b"\n", b"\r\n") % DELIVERED.partition(b"\n")[2], id="of-a-copy"),
            pytest.param(JUDGED.replace(b"b=dzdVyO", b"b=AAAAAA"), id="signed-anew"),
        ],
    )
    def test_have_the_same_traits(self, copy: bytes) -> None:
        assert same(seen(copy, Kind.MAIL)[1], mail(JUDGED))

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(JUDGED.replace(b"anna@", b"bert@"), id="recipient"),
            pytest.param(JUDGED.replace(b"half off", b"one off"), id="body"),
            pytest.param(JUDGED.replace(b"From: Offers", b"From: Anna"), id="author"),
            pytest.param(JUDGED.replace(b"10:00:00", b"10:00:01"), id="time"),
        ],
    )
    def test_other_messages_are_others(self, other: bytes) -> None:
        assert mail(other).content_hash != mail(JUDGED).content_hash

    def test_a_forward_that_says_something_is_a_mail_itself(self) -> None:
        said = FORWARDED.replace(b"this one", b"Please look at what they wrote to us. " * 9) % JUDGED
        assert seen(said, Kind.MAIL)[1].content_hash != mail(JUDGED).content_hash

    def test_our_own_prefix_is_configurable(self) -> None:
        tagged = b"X-Filterd-Score: 9.1\n" + JUDGED
        assert same(seen(tagged, Kind.MAIL, "X-Filterd-")[1], mail(JUDGED))
        assert not same(seen(tagged, Kind.MAIL)[1], mail(JUDGED))

    @pytest.mark.parametrize("at", range(0, len(JUDGED), 7))
    def test_a_cut_mail_has_traits(self, at: int) -> None:
        assert len(mail(JUDGED[:at]).content_hash) == 64


class TestSketch:
    def test_another_recipient_and_other_numbers_make_no_difference(self) -> None:
        copy = JUDGED.replace(b"Anna Berg <anna@", b"Bert Zahn <bert@").replace(b"Dear Anna", b"Dear Bert")
        assert likeness(mail(JUDGED).sketch, mail(copy.replace(b"12345678", b"99")).sketch) == 1.0

    def test_a_footer_makes_nobody_alike(self) -> None:
        footer = b"\n_______________________________________________\n" + b"The list of all who ride " * 9
        one = b"Subject: a\n\nshall we meet on the bridge tomorrow after lunch, as last year?\n" + footer
        other = b"Subject: b\n\nmy new wheel has arrived and it fits well into the old frame\n" + footer
        assert likeness(mail(one).sketch, mail(other).sketch) == 0.0

    def test_a_text_too_short_has_none(self) -> None:
        assert not len(mail(b"Subject: hi\n\nsee you there at 8\n").sketch)

    def test_scripts_without_blanks_have_one(self) -> None:
        text = "今天晚上我们一起去河边吃饭吧好不好"
        raw = f"Content-Type: text/plain; charset=utf-8\n\n{text}\n".encode()
        assert len(mail(raw).sketch) >= MIN_SHINGLES


class TestBounds:
    @given(st.binary(max_size=3000))
    def test_ids_are_sorted_and_bounded(self, raw: bytes) -> None:
        found = mail(raw)
        for ids in found[2:]:
            assert ids.dtype == np.uint32
            assert len(ids) <= MAX_IDS
            assert bool((ids[1:] > ids[:-1]).all())
        assert len(found.sketch) <= SKETCH

    def test_a_head_of_megabytes_is_looked_at_in_part(self) -> None:
        text = read(Message(JUDGED, kind=Kind.MAIL))[0]
        huge = b"X-A: b\n" * 1_500_000 + b"\nbody\n"

        assert len(of_message(huge, text).head) < 2_100

    def test_kinds_share_no_ids(self) -> None:
        said = "your parcel waits at the shop, come and take it before the weekend"
        one, other = of_text("", said, Kind.SMS), of_text("", said, Kind.MAIL)
        assert not len(np.intersect1d(one.words, other.words))


class TestPacking:
    @given(st.text(max_size=3000), st.sampled_from(list(Kind)))
    def test_round_trip(self, said: str, kind: Kind) -> None:
        found = of_text("0" * 64, said, kind)
        assert same(unpack(pack(found), found.content_hash, kind), found)

    @given(st.binary(max_size=200))
    def test_refuses_or_reads(self, packed: bytes) -> None:
        try:
            assert pack(unpack(packed, "", Kind.MAIL)) == packed
        except BadInput as error:
            assert "damaged" in str(error)

    def test_of_a_correction(self) -> None:
        assert same(correct(JUDGED, Kind.MAIL, Label.SPAM).traits(), mail(JUDGED))
