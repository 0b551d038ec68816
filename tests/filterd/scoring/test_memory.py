"""The memory: the same bytes at judging and learning, effect at once, no effect on what is unrelated."""

import hashlib
import math
import random
import re
import tarfile
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filterd.api import Kind, Label
from filterd.errors import BadInput, StoreError
from filterd.scoring.memory import (
    BYTES_READ,
    CERTAIN,
    MAX_FEATURES,
    SLOTS,
    TABLE,
    TRUST,
    Features,
    Memory,
    Recollection,
    content_hash,
    features,
    fuse,
    normalise,
    pack,
    unpack,
)

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
ARCHIVE = SHARED / "data" / "email_spamassassin" / "email_spamassassin.tar.xz"
SPAM_FROM = 4.6  # log-odds of P = 0.99, where a bundle's spam threshold typically lies

JUDGED = b"""\
From: Offers <offers@pills.example>
To: anna@example.org
Subject: Your refill
 is waiting
Message-ID: <1@pills.example>
DKIM-Signature: v=1; a=rsa-sha256; d=pills.example; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;
 b=dzdVyOfAKCdLXdJOc9G2q8LoXSlEniSbav+yuU4zGeeruD00lszZVoG4ZHRNiYzR

Dear customer, your refill of the blue pills waits. Order at http://pills.example/a?id=12345678 today.
From now on you get half off. We ship all over the world in plain boxes.
"""

DELIVERED = (
    b"From offers@pills.example  Mon Jan  6 10:00:00 2025\n"
    b"Return-Path: <offers@pills.example>\n"
    b"Delivered-To: anna@example.org\n"
    b"Received: from mx.pills.example (mx.pills.example [192.0.2.7])\n"
    b"\tby mail.example.org (Postfix) with ESMTPS id 4F2B91\n"
    b"\tfor <anna@example.org>; Mon, 6 Jan 2025 10:00:00 +0000\n"
    b"X-Spam-Flag: YES\n"
    b"X-Spam-Status: Yes, score=9.1 required=5.0\n"
    b"\ttests=GPT2\n"
    + JUDGED.replace(b"\nFrom now", b"\n>From now").replace(b"refill\n is", b"refill is")
    + b"\n"
)


def mail(raw: bytes) -> Features:
    return features(normalise(raw, Kind.MAIL), Kind.MAIL)


def sms(text: str) -> Features:
    return features(normalise(text.encode(), Kind.SMS), Kind.SMS)


class TestNormalise:
    @pytest.mark.parametrize(
        "copy",
        [
            pytest.param(JUDGED, id="as-judged"),
            pytest.param(JUDGED.replace(b"\n", b"\r\n"), id="on-the-wire"),
            pytest.param(DELIVERED, id="in-an-mbox"),
            pytest.param(DELIVERED.partition(b"\n")[2], id="in-a-maildir"),
            pytest.param(b"X-OLD-SPAM-Score: 1\n" + JUDGED, id="renamed-forgery"),
            pytest.param(
                b"Authentication-Results: mail.example.org; spf=pass\n" + JUDGED, id="authenticated"
            ),
            pytest.param(
                b"Delivery-date: x\nEnvelope-to: y\nX-UID: 7\nStatus: RO\n" + JUDGED, id="exim-and-imap"
            ),
            pytest.param(b"X-Mozilla-Status: 0001\nX-Keywords: $Junk\n" + JUDGED, id="thunderbird"),
            pytest.param(JUDGED.replace(b"b=dzdVyOfAKC", b"b=AAAAAAAAAA"), id="signed-anew"),
        ],
    )
    def test_copies_are_the_same_message(self, copy: bytes) -> None:
        assert normalise(copy, Kind.MAIL) == normalise(JUDGED, Kind.MAIL)
        assert content_hash(normalise(copy, Kind.MAIL), Kind.MAIL) == content_hash(
            normalise(JUDGED, Kind.MAIL), Kind.MAIL
        )

    @pytest.mark.parametrize(
        "other",
        [
            pytest.param(JUDGED.replace(b"anna@", b"bert@"), id="recipient"),
            pytest.param(JUDGED.replace(b"half off", b"one off"), id="body"),
            pytest.param(JUDGED.replace(b"From: Offers", b"From: Anna"), id="author"),
        ],
    )
    def test_other_messages_are_not(self, other: bytes) -> None:
        assert normalise(other, Kind.MAIL) != normalise(JUDGED, Kind.MAIL)

    def test_our_own_prefix_is_configurable(self) -> None:
        tagged = b"X-Filterd-Score: 9.1\n" + JUDGED
        assert normalise(tagged, Kind.MAIL, "X-Filterd-") == normalise(JUDGED, Kind.MAIL)
        assert normalise(tagged, Kind.MAIL) != normalise(JUDGED, Kind.MAIL)

    def test_sms_is_read_as_it_is(self) -> None:
        assert normalise(b"Received: your parcel\r\n", Kind.SMS) == b"Received: your parcel"

    @given(st.binary(max_size=300), st.sampled_from(list(Kind)))
    def test_is_idempotent_enough_to_hash(self, raw: bytes, kind: Kind) -> None:
        assert content_hash(normalise(raw, kind), kind) == content_hash(
            normalise(raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"), kind), kind
        )

    def test_kinds_hash_apart(self) -> None:
        assert content_hash(b"hello", Kind.SMS) != content_hash(b"hello", Kind.MAIL)


class TestFeatures:
    @given(st.binary(max_size=5000), st.sampled_from(list(Kind)))
    def test_sorted_unique_bounded(self, data: bytes, kind: Kind) -> None:
        found = features(data, kind)
        assert found.dtype == np.uint32
        assert len(found) <= MAX_FEATURES
        assert bool((found[1:] > found[:-1]).all())
        assert all(int(f) >= TABLE for f in found[:1]) is (kind is Kind.SMS or not len(found))
        assert len(found) > 0 or not data

    @given(st.binary(max_size=5000), st.sampled_from(list(Kind)))
    def test_pack_round_trips(self, data: bytes, kind: Kind) -> None:
        found = features(data, kind)
        assert np.array_equal(unpack(pack(found)), found)

    @given(st.binary(max_size=200))
    def test_unpack_refuses_or_reads(self, data: bytes) -> None:
        try:
            assert pack(unpack(data)) == data
        except BadInput as error:
            assert "\n" not in str(error)

    def test_reads_the_beginning_only(self) -> None:
        data = random.Random(1).randbytes(BYTES_READ)
        assert np.array_equal(features(data, Kind.MAIL), features(data + b"more", Kind.MAIL))


class TestFuse:
    @given(st.floats(-CERTAIN, CERTAIN))
    def test_an_empty_memory_adds_nothing(self, model: float) -> None:
        assert fuse(model, Recollection()) == model
        assert fuse(model, Memory().recollect(mail(JUDGED))) == model

    @given(st.floats(-CERTAIN, CERTAIN), st.sampled_from([-1, 1]))
    def test_a_copy_outdoes_any_model(self, model: float, label: int) -> None:
        assert fuse(model, Recollection(0.0, 0.0, 1.0, label)) == label * CERTAIN

    @given(st.floats(-9, 9), st.floats(-9, 9), st.floats(0, TRUST), st.floats(0, 1), st.floats(0, 1))
    def test_is_monotone(self, model: float, memory: float, trust: float, one: float, two: float) -> None:
        less, more = sorted((one, two))
        a, b = (fuse(model, Recollection(memory, trust, overlap, 1)) for overlap in (less, more))
        assert b >= a - 1e-9 or model + trust * memory > CERTAIN
        assert fuse(model + 1, Recollection(memory, trust, less, 1)) >= a


class TestMemory:
    @pytest.mark.parametrize("label", [Label.HAM, Label.SPAM])
    @pytest.mark.parametrize("found", [mail(JUDGED), sms("ok"), sms("WIN 500 now, call 0900 123")])
    def test_takes_effect_at_once(self, found: Features, label: Label) -> None:
        memory = Memory()
        memory.learn(found, label)
        sign = 1 if label is Label.SPAM else -1
        assert sign * memory.score(found) > 3.5
        assert sign * fuse(-sign * CERTAIN, memory.recollect(found)) > SPAM_FROM

    def test_the_last_word_wins(self) -> None:
        memory = Memory()
        for label in (Label.SPAM, Label.HAM, Label.SPAM, Label.HAM):
            memory.learn(mail(JUDGED), label)
            sign = 1 if label is Label.SPAM else -1
            assert sign * fuse(-sign * CERTAIN, memory.recollect(mail(DELIVERED))) > SPAM_FROM

    def test_the_message_itself_is_never_forgotten(self) -> None:
        memory = Memory()
        memory.learn(mail(JUDGED), Label.SPAM)
        for i in range(20):  # take over every feature that it owned, and teach the contrary
            memory.learn(mail(JUDGED.replace(b"anna", b"user%d" % i) + b"More.\n" * i), Label.HAM)
        assert fuse(-CERTAIN, memory.recollect(mail(JUDGED))) > SPAM_FROM

    def test_kinds_do_not_meet(self) -> None:
        memory = Memory()
        memory.learn(sms(JUDGED.decode()), Label.SPAM)
        assert memory.recollect(mail(JUDGED)) == Recollection()

    def test_empty_message(self) -> None:
        memory = Memory()
        memory.learn(mail(b""), Label.SPAM)
        assert len(memory) == 0
        assert memory.recollect(mail(b"")) == Recollection()

    def test_one_sided_corrections_leave_strangers_alone(self) -> None:
        memory, stranger = (
            Memory(),
            b"From: bob@example.net\nSubject: lunch\n\nShall we meet at noon by the lake?\n",
        )
        for i in range(30):
            memory.learn(mail(JUDGED.replace(b"anna", f"user{i}".encode())), Label.SPAM)
        assert fuse(-3.0, memory.recollect(mail(stranger))) == -3.0

    def test_slots_are_reused(self) -> None:
        memory = Memory()
        memory.learn(mail(JUDGED), Label.SPAM)
        memory.counts[0, 0] = SLOTS - 2  # as if so many had been learned in between; the next takes its slot
        memory.learn(mail(b"Subject: hello\n\nQuite another mail."), Label.HAM)
        assert memory.recollect(mail(JUDGED)).overlap < 0.4
        assert int(memory.owned[1:].sum()) == int((memory.owner > 0).sum())

    @settings(max_examples=20, deadline=None)
    @given(st.lists(st.tuples(st.binary(max_size=40), st.sampled_from([Label.HAM, Label.SPAM])), max_size=12))
    def test_owned_counts_what_is_owned(self, learned: list[tuple[bytes, Label]]) -> None:
        memory = Memory.rebuild((features(data, Kind.SMS), label) for data, label in learned)
        slots = np.bincount(memory.owner, minlength=SLOTS)
        assert np.array_equal(memory.owned[1:], slots[1:])

    def test_forgetting_is_replaying_the_others(self) -> None:
        rng = random.Random(3)
        taken = [
            (features(rng.randbytes(400), Kind.MAIL), rng.choice([Label.HAM, Label.SPAM])) for _ in range(40)
        ]
        wrong = (mail(JUDGED), Label.HAM)
        without, forgot = (
            Memory(),
            Memory.rebuild(c for c in [*taken[:20], wrong, *taken[20:]] if c is not wrong),
        )
        for found, label in taken:
            without.learn(found, label)
        for a, b in zip(without._arrays(), forgot._arrays(), strict=True):
            assert np.array_equal(a, b)
        assert forgot.recollect(wrong[0]).overlap < 0.1

    def test_is_quick(self) -> None:
        memory, rng = Memory(), random.Random(4)
        raws = [b"Subject: %d\n\n" % i + rng.randbytes(BYTES_READ).hex().encode() for i in range(100)]
        started = time.perf_counter()
        for raw in raws:
            memory.learn(mail(raw), Label.SPAM)
            memory.recollect(mail(raw))
        # 0.3 ms measured for the pair on a quiet machine; ten times as much catches a slip in complexity
        assert (time.perf_counter() - started) / len(raws) < 0.003


class TestSaving:
    def test_round_trips(self, tmp_path: Path) -> None:
        memory = Memory.rebuild([(mail(JUDGED), Label.SPAM), (sms("see you"), Label.HAM)])
        memory.revision = 17
        memory.save(tmp_path / "state" / "memory")
        loaded = Memory.load(tmp_path / "state" / "memory")
        assert loaded.revision == 17
        for a, b in zip(memory._arrays(), loaded._arrays(), strict=True):
            assert np.array_equal(a, b)
        assert (tmp_path / "state" / "memory").stat().st_mode & 0o777 == 0o600
        assert [p.name for p in (tmp_path / "state").iterdir()] == ["memory"]

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda raw: b"", id="empty"),
            pytest.param(lambda raw: raw[:-1], id="truncated"),
            pytest.param(lambda raw: raw + b"x", id="longer"),
            pytest.param(lambda raw: raw[:5000] + bytes([raw[5000] ^ 1]) + raw[5001:], id="bit"),
            pytest.param(lambda raw: raw.replace(b'"format": 1', b'"format": 2', 1), id="version"),
            pytest.param(lambda raw: raw.replace(b'"revision": 0', b'"revision": 1', 1), id="revision"),
            pytest.param(lambda raw: b"[]\n" + raw, id="header"),
        ],
    )
    def test_refuses_damage(self, tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
        path = tmp_path / "memory"
        Memory().save(path)
        path.write_bytes(damage(path.read_bytes()))
        with pytest.raises(StoreError, match="rebuild"):
            Memory.load(path)

    def test_says_what_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="No such file"):
            Memory.load(tmp_path / "none")


@cache
def corpus() -> tuple[tuple[bytes, bool], ...]:
    """Every second SpamAssassin mail, those no constant here was chosen on, and whether it is spam."""
    with tarfile.open(ARCHIVE) as archive:
        members = [m for m in archive if m.isfile() and ("/spam-" in m.name or "-ham-" in m.name)]
        names = [(m, "/".join(m.name.split("/")[-2:])) for m in members]
        held_out = [(m, n) for m, n in names if hashlib.sha256(n.encode()).digest()[0] & 1]
        return tuple((archive.extractfile(m).read(), n.startswith("spam-")) for m, n in held_out)  # type: ignore[union-attr]


def near_copy(raw: bytes, rng: random.Random) -> bytes:
    """The same campaign for somebody else: other recipient, numbers and ids, one sentence replaced."""
    head, gap, body = raw.partition(b"\n\n")
    name = bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz", k=rng.randint(4, 9)))
    if to := re.search(rb"(?im)^to:.*?([\w.-]+)@", head):
        head, body = head.replace(to[1] + b"@", name + b"@"), body.replace(to[1], name)
    head = re.sub(rb"(?im)^(?:date|message-id|subject|x-[^:]*):.*", lambda m: _digits(m[0], rng), head)
    body = re.sub(
        rb"(?<=[?&/=])\w{6,}(?=[&\"\s>])", lambda m: bytes(rng.choices(b"abcd0123", k=len(m[0]))), body
    )
    body = re.sub(rb"\d{3,}", lambda m: _digits(m[0], rng), body)
    if sentences := list(re.finditer(rb"[A-Za-z][A-Za-z ,\n]{25,120}[.!?]", body[:3000])):
        one = rng.choice(sentences)
        words = rng.choices(
            [b"please", b"order", b"garden", b"price", b"letter", b"meeting"], k=len(one[0]) // 6
        )
        body = body[: one.start()] + b" ".join(words) + b"." + body[one.end() :]
    return head + gap + body


def _digits(text: bytes, rng: random.Random) -> bytes:
    return re.sub(rb"\d", lambda _: bytes([rng.choice(b"0123456789")]), text)


@pytest.mark.shared
@pytest.mark.skipif(not ARCHIVE.exists(), reason="needs ../shared/data/email_spamassassin")
class TestOnRealMail:
    """Model log-odds are simulated: -13.8 (sure it is ham) for corrected spam, N(-3, 2) for ham."""

    @pytest.mark.parametrize("corrections", [1, 10, 100])
    def test_copies_flip_and_strangers_stay(self, corrections: int) -> None:
        rng = random.Random(corrections)
        spam = [raw for raw, is_spam in corpus() if is_spam]
        ham = [mail(raw) for raw, is_spam in rng.sample(corpus(), len(corpus())) if not is_spam][:2000]
        copies, created, rounds = [], 0, max(1, 4 // corrections)
        for _ in range(rounds):
            taken = rng.sample(spam, corrections)
            memory = Memory.rebuild((mail(raw), Label.SPAM) for raw in taken)
            for raw in taken:
                assert fuse(-CERTAIN, memory.recollect(mail(raw))) > SPAM_FROM
                copies.append(fuse(-CERTAIN, memory.recollect(mail(near_copy(raw, rng)))) > SPAM_FROM)
            for found in ham:
                model = rng.gauss(-3, 2)
                created += model < SPAM_FROM <= fuse(model, memory.recollect(found))
        assert np.mean(copies) >= 0.95
        assert created / (rounds * len(ham)) <= 0.0005

    def test_learns_a_stream(self) -> None:
        stream = random.Random(1).sample(corpus(), len(corpus()))
        memory, scores = Memory(), []
        for raw, is_spam in stream:
            found = mail(raw)
            scores.append((memory.score(found), is_spam))
            memory.learn(found, Label.SPAM if is_spam else Label.HAM)
        assert 1 - _area([s for s, y in scores if y], [s for s, y in scores if not y]) < 0.006


def _area(spam: list[float], ham: list[float]) -> float:
    """Area under the ROC curve: P(a spam scores above a ham)."""
    below = np.searchsorted(np.sort(np.array(ham)), np.array(spam))
    return float(below.mean()) / len(ham)


def test_score_is_scaled_by_length() -> None:
    memory = Memory()
    memory.weights[:] = 1.0
    assert math.isclose(memory.score(mail(JUDGED)), math.sqrt(len(mail(JUDGED))), rel_tol=1e-6)
