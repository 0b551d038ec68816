import email
import email.policy

from hypothesis import given
from hypothesis import strategies as st

from filterd_trainer.data.envelopes import addressed, is_bare

BARE = [f"Subject: order {i}\n\nsee https://www.harbor{i}.example/x\n".encode() for i in range(200)]


def test_half_of_bare_mails_get_headers_of_one_recipe() -> None:
    got, again = ([*filter(None, map(addressed, BARE))] for _ in range(2))
    assert 60 < len(got) < 140 and got == again
    one = email.message_from_bytes(got[0], policy=email.policy.default)
    assert all(one[name] for name in ("From", "To", "Date", "Message-ID"))
    assert one["Subject"].startswith("order ") and "see https" in one.get_content()
    own = [raw for raw in got if b"@harbor" in raw.partition(b"Subject")[0].partition(b"To:")[0]]
    assert 0.3 < len(own) / len(got) < 0.7


def test_a_sender_that_is_there_stays() -> None:
    got = [found for raw in BARE if (found := addressed(b"From: Zo <z@b.example>\n" + raw))]
    assert got and all(raw.count(b"From:") == 1 and b"z@b.example" in raw for raw in got)


def test_a_mail_as_it_came_is_not_bare() -> None:
    assert is_bare(b"Subject: x\n\nDate: is text\nFrom: too\n")
    assert is_bare(b"From: a@b.example\nSubject: x\n\n")
    assert not is_bare(b"From: a@b.example\nDate: Mon, 1 Jan 2024 10:00:00 +0000\n\n")


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    is_bare(raw)
    got = addressed(raw)
    assert got is None or got.endswith(raw)
