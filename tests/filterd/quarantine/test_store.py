"""Kept whole, released once for each recipient, and lost by no crash, whatever it comes between."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from filterd.config import Config, Feedback, Headers, parse
from filterd.config import Quarantine as Section
from filterd.errors import ConfigError, NotFound, StoreError
from filterd.history.record import at, encode
from filterd.quarantine import files as held_files
from filterd.quarantine import index, nexthop
from filterd.quarantine.files import STALE_S, HeldMail
from filterd.quarantine.index import QuarantineQuery, QuarantineState
from filterd.quarantine.nexthop import ReleaseFailed, ReleaseHop
from filterd.quarantine.store import QuarantineStore
from tests.conftest import ROOT
from tests.filterd.quarantine.made import ANN, BEN, RAW, SPAM, config_of, mail, quarantine_of
from tests.plugins.smtp_proxy.peers import Sink

HOP = "tcp:127.0.0.1:9"


@pytest.fixture
def quarantine(tmp_path: Path, database: str) -> Iterator[QuarantineStore]:
    config = Config(state=str(tmp_path), feedback=Feedback(url=database))
    with QuarantineStore.open(config) as made:
        yield made


@pytest.fixture
async def sink(quarantine: QuarantineStore) -> AsyncIterator[Sink]:
    made = Sink()
    address = await made.start_tcp()
    quarantine.config = config_of(Path(quarantine.config.state), next_hop=address)
    yield made
    made.stop()


def files(state: Path) -> list[Path]:
    return sorted(path for path in (state / "quarantine").rglob("*") if path.is_file())


def keys(quarantine: QuarantineStore, address: str) -> tuple[str, ...]:
    found = quarantine.keys(address)
    assert found
    return found


def test_a_digest_may_name_more_than_a_statement_takes(quarantine: QuarantineStore) -> None:
    number = quarantine.keep(mail(), SPAM)
    (key,) = keys(quarantine, ANN)
    quarantine.index.tell(key, [*range(70_000), number])
    assert quarantine.index.untold(0.0) == [] and quarantine.find(encode(number)).recipients[0].told


def test_a_message_is_kept_whole_and_private(quarantine: QuarantineStore) -> None:
    number = quarantine.keep(mail(ANN, BEN, ANN), SPAM)
    (path,) = files(Path(quarantine.config.state))
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o077 == 0
    held, raw = quarantine.files.read(number)
    assert raw == RAW and held.recipients == (ANN, BEN, ANN) and held.sender == "win@bad.example"
    (entry,) = quarantine.search(QuarantineQuery(), 10)
    assert (entry.number, entry.size, entry.subject, entry.kept) == (number, len(RAW), "prize", True)
    assert [(one.address, one.state) for one in entry.recipients] == [
        (ANN, QuarantineState.HELD),
        (BEN, QuarantineState.HELD),
    ]
    assert quarantine.find(entry.id.lower()) == entry
    assert quarantine.message(number, ANN).raw == RAW


def test_it_is_found_by_who_may_see_it(quarantine: QuarantineStore) -> None:
    first, second = (quarantine.keep(mail(one), SPAM) for one in (ANN, BEN))
    mine = keys(quarantine, "Ann@Example.org")
    wanted = [
        QuarantineQuery(mine=mine),
        QuarantineQuery(to=ANN),
        QuarantineQuery(text="PRIZE", to=ANN),
        QuarantineQuery(below=second),
    ]
    assert [[one.number for one in quarantine.search(some, 9)] for some in wanted] == [[first]] * 4
    assert [one.number for one in quarantine.search(QuarantineQuery(sender="<WIN@bad.example>"), 9)] == [
        second,
        first,
    ]
    assert [one.number for one in quarantine.search(QuarantineQuery(above=first), 9)] == [second]
    assert (
        quarantine.search(QuarantineQuery(text="100%"), 9)
        == quarantine.search(QuarantineQuery(mine=()), 9)
        == []
    )
    other = quarantine.search(QuarantineQuery(to=BEN), 1)[0].id
    for name in (other, "nonsense", "0" * 13):
        with pytest.raises(NotFound, match="not in quarantine, or not yours"):
            quarantine.find(name, mine)


async def test_released_it_is_as_it_came_for_each_his_own(quarantine: QuarantineStore, sink: Sink) -> None:
    number = quarantine.keep(mail(ANN, BEN), SPAM)
    assert await asyncio.to_thread(quarantine.release, number, keys(quarantine, BEN), "ben") == [BEN]
    assert quarantine.files.read(number)[1] == RAW  # Ann's still lies here
    (taken,) = sink.taken
    assert taken.commands[1].upper().startswith("MAIL FROM:<WIN@BAD.EXAMPLE>")
    assert taken.commands[2].upper() == "RCPT TO:<BEN@EXAMPLE.ORG>"
    head, _, rest = taken.data.removesuffix(b"\r\n.\r\n").partition(b"\r\n")
    assert head.startswith(b"X-Spam-Released: ")
    assert rest.replace(b"\r\n..you", b"\r\n.you") + b"\r\n" == RAW
    with pytest.raises(NotFound, match="nobody waits"):
        await asyncio.to_thread(quarantine.release, number, keys(quarantine, BEN), "ben")
    assert await asyncio.to_thread(quarantine.release, number, None, "anna") == [ANN]
    assert files(Path(quarantine.config.state)) == [] and len(sink.taken) == 2
    (entry,) = quarantine.search(QuarantineQuery(state=None), 9)
    assert [(one.state, one.by) for one in entry.recipients] == [("released", "anna"), ("released", "ben")]
    assert not entry.kept and quarantine.search(QuarantineQuery(), 9) == []


def test_another_prefix_holds_from_a_reload_on(quarantine: QuarantineStore) -> None:
    quarantine.config = msgspec.structs.replace(quarantine.config, headers=Headers(prefix="X-Our-"))
    stamped = quarantine.signer.stamp(RAW, at(time.time()), ANN)
    assert stamped.startswith(b"X-Our-Released: ")
    assert quarantine.signer.released(mail(raw=stamped))


async def test_pressed_twice_it_is_sent_once(quarantine: QuarantineStore, sink: Sink) -> None:
    number = quarantine.keep(mail(), SPAM)
    both = [asyncio.to_thread(quarantine.release, number, None, "anna") for _ in range(2)]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(isinstance(one, NotFound) for one in done) == [False, True] and len(sink.taken) == 1


def test_two_processes_that_release_send_it_once(
    quarantine: QuarantineStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending, done, sent = threading.Event(), threading.Event(), []

    def send(hop: ReleaseHop, sender: str, recipient: str, raw: bytes) -> None:
        sent.append(recipient)
        sending.set()
        assert done.wait(20)

    monkeypatch.setattr(ReleaseHop, "send", send)
    config = Config(
        state=quarantine.config.state, feedback=Feedback(url=database), quarantine=Section(next_hop=HOP)
    )
    quarantine.config = config
    number, other = quarantine.keep(mail(), SPAM), quarantine.keep(mail(BEN), SPAM)
    with QuarantineStore.open(config) as process, ThreadPoolExecutor(1) as thread:
        first = thread.submit(quarantine.release, number, None, "one")
        assert sending.wait(20)
        assert [one.state for one in process.find(encode(number)).recipients] == [QuarantineState.RELEASING]
        assert [one.number for one in process.search(QuarantineQuery(), 9)] == [other, number]
        for deed in (process.release, process.delete, quarantine.release, quarantine.delete):
            with pytest.raises(NotFound, match="nobody waits"):
                deed(number, None, "two")
        quarantine.delete(other, None, "two")  # nobody waits for the network but who sends
        process.tidy(settled_s=-1.0)
        done.set()
        assert first.result(20) == [ANN]
    assert sent == [ANN] and not files(Path(config.state))


def test_a_claim_of_a_crash_is_held_again(
    quarantine: QuarantineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = quarantine.keep(mail(), SPAM)
    (key,) = keys(quarantine, ANN)
    assert quarantine.index.claim(number, key, "crashed")
    quarantine.tidy()
    assert not quarantine.index.claim(number, key, "two") and not quarantine.find(encode(number)).held
    monkeypatch.setattr(index, "CLAIMED_S", -1.0)
    late = quarantine.index.claim(number, key, "two")
    assert late
    quarantine.index.give_back(number, key, late - 1)  # whose claim it was no more
    assert not quarantine.find(encode(number)).held
    quarantine.tidy()
    assert quarantine.find(encode(number)).recipients[0] == (key, ANN, QuarantineState.HELD, "", None, None)


def test_of_two_that_settle_at_once_one_is_the_last(quarantine: QuarantineStore) -> None:
    people = [f"{i}@example.org" for i in range(8)]
    for _ in range(5):
        number = quarantine.keep(mail(*people), SPAM)
        with ThreadPoolExecutor(8) as pool:
            theirs = [keys(quarantine, one)[0] for one in people]
            work = partial(quarantine.index.settle, number, state=QuarantineState.DELETED, by="x")
            said = list(pool.map(work, theirs))
        assert said.count(True) == 1 and not quarantine.find(encode(number)).kept


@pytest.mark.parametrize("says", [{"RCPT": "550 5.1.1 no\x1bbody"}, {".": "451 4.3.0 full"}, {"DATA": "cut"}])
async def test_what_is_not_taken_stays(quarantine: QuarantineStore, sink: Sink, says: dict[str, Any]) -> None:
    sink.says = says
    number = quarantine.keep(mail(), SPAM)
    with pytest.raises(ReleaseFailed, match="next hop") as error:
        await asyncio.to_thread(quarantine.release, number, None, "anna")
    assert str(error.value).isprintable()
    assert quarantine.search(QuarantineQuery(), 9)[0].held and quarantine.files.read(number)[1] == RAW


async def test_lmtp_over_a_unix_socket_and_a_null_sender(tmp_path: Path) -> None:
    sink = Sink(lmtp=True)
    await sink.start(tmp_path / "lmtp")
    with quarantine_of(tmp_path, next_hop=f"unix:{tmp_path / 'lmtp'}", protocol="lmtp") as quarantine:
        number = quarantine.keep(mail(ANN, sender=""), SPAM)
        assert await asyncio.to_thread(quarantine.release, number, None, "x") == [ANN]
    sink.stop()
    assert sink.heard[0].startswith("lhlo") or sink.heard[0].startswith("LHLO")
    assert "FROM:<>" in sink.taken[0].commands[1].upper()


def test_where_released_mail_goes() -> None:
    proxies = {"lmtp_proxy": {"next_hop": "unix:/run/x"}, "smtp_proxy": {"next_hop": "tcp:127.0.0.1:10026"}}
    assert ReleaseHop.of(Config(plugins=proxies)) == ReleaseHop("127.0.0.1", 10026, lmtp=False)
    del proxies["smtp_proxy"]
    assert ReleaseHop.of(Config(plugins=proxies)) == ReleaseHop("/run/x", 0, lmtp=True)
    with pytest.raises(NotFound, match=r"set quarantine\.next_hop"):
        ReleaseHop.of(Config())
    with pytest.raises(ConfigError, match="a unix socket is for LMTP alone"):
        ReleaseHop.of(Config(plugins={"smtp_proxy": {"next_hop": "unix:/run/x"}}))
    for bad in (
        *("next_hop: x", "next_hop: 'systemd:x'", "next_hop: 'tcp:h:0'", "next_hop: 'unix:/run/x'"),
        *("next_hop: 'unix:x', protocol: lmtp", "next_hop: 'tcp:h:0', protocol: lmtp"),
        "link: 'ftp://x'",
        "link: 'https://x/'",
        "sender: x",
    ):
        with pytest.raises(ConfigError, match=r"f:1: quarantine: "):
            parse(f"quarantine: {{{bad}}}", "f")


def test_an_address_cannot_say_more_to_the_next_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nexthop, "TIMEOUT_S", 5.0)
    with pytest.raises(ReleaseFailed):
        ReleaseHop("127.0.0.1", 9, lmtp=False).send("a\r\nRCPT TO:<x>", ANN, RAW)


def test_deleted_is_gone_for_those_it_is_deleted_for(quarantine: QuarantineStore) -> None:
    number = quarantine.keep(mail(ANN, BEN), SPAM)
    quarantine.delete(number, keys(quarantine, ANN), "ann")
    assert files(Path(quarantine.config.state))
    quarantine.delete(number, None, "anna")
    assert not files(Path(quarantine.config.state)) and quarantine.search(QuarantineQuery(), 9) == []
    with pytest.raises(NotFound, match="not on this machine, or not any more"):
        quarantine.files.read(number)


def test_what_is_old_or_too_much_goes_the_oldest_first(quarantine: QuarantineStore) -> None:
    state = Path(quarantine.config.state)
    numbers = [quarantine.keep(mail(), SPAM) for _ in range(4)]
    assert quarantine.tidy(settled_s=0.0) == 0
    quarantine.config = config_of(state, max_bytes=2 * len(RAW) + 1)
    assert quarantine.tidy() == 2
    assert [one.number for one in quarantine.search(QuarantineQuery(), 9)] == numbers[:1:-1]
    assert len(files(state)) == 2
    old = quarantine.files.read(numbers[3])[0]
    held = type(old)(**{name: getattr(old, name) for name in old.__struct_fields__} | {"number": at(1e9)})
    quarantine.files.keep(held, RAW)
    assert quarantine.tidy() == 1 and len(files(state)) == 2


def test_a_host_with_another_name_keeps_to_the_retention_of_its_own_files(
    quarantine: QuarantineStore, database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old, new = quarantine.keep(mail(), SPAM), quarantine.keep(mail(), SPAM)
    feedback = Feedback(url=database)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    small = Section(max_bytes=len(RAW))
    other = Config(state=str(elsewhere), feedback=feedback, quarantine=small)
    with QuarantineStore.open(other) as stranger:  # of the same name, on the same database
        theirs = stranger.keep(mail(), SPAM)
        assert stranger.tidy() == 0
    monkeypatch.setattr(socket, "gethostname", lambda: "made-anew")
    here = Config(state=quarantine.config.state, feedback=feedback, quarantine=small)
    with QuarantineStore.open(here) as again:
        assert again.tidy(settled_s=-1.0) == 1
        assert [row.number for row in again.search(QuarantineQuery(), 9)] == [theirs, new]
        with pytest.raises(NotFound):
            again.files.read(old)


def test_a_disk_that_is_full_is_said(quarantine: QuarantineStore, tmp_path: Path) -> None:
    (tmp_path / "quarantine").write_bytes(b"")
    with pytest.raises(StoreError, match="check its folder's owner, mode and space"):
        quarantine.keep(mail(), SPAM)


def test_while_the_database_is_away_retries_leave_nothing(
    quarantine: QuarantineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(quarantine.index, "put", away)
        for _ in range(3):
            with pytest.raises(StoreError, match="away"):
                quarantine.keep(mail(), SPAM)
    assert files(Path(quarantine.config.state)) == []
    quarantine.keep(mail(), SPAM)
    assert quarantine.tidy(settled_s=-1.0) == 0 and len(quarantine.search(QuarantineQuery(), 9)) == 1


def test_what_the_index_perhaps_noted_goes_as_well(
    quarantine: QuarantineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = quarantine.index.put

    def cut(held: HeldMail) -> None:
        put(held)
        raise StoreError("the answer to the commit never came")

    monkeypatch.setattr(quarantine.index, "put", cut)
    with pytest.raises(StoreError, match="never came"):
        quarantine.keep(mail(), SPAM)
    assert quarantine.search(QuarantineQuery(), 9) == [] == files(Path(quarantine.config.state))


def test_a_database_that_is_away_is_no_damaged_file(
    quarantine: QuarantineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StoreError("the database is away")

    number = quarantine.keep(mail(), SPAM)
    quarantine.index.drop([number])
    with monkeypatch.context() as patched:
        patched.setattr(quarantine.index, "put", away)
        with pytest.raises(StoreError, match="away"):
            quarantine.tidy(settled_s=-1.0)
    quarantine.tidy(settled_s=-1.0)
    assert quarantine.find(encode(number)).held


def test_rows_of_an_owner_that_is_gone_go_by_their_age(quarantine: QuarantineStore, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = msgspec.structs.replace(quarantine.config, state=str(elsewhere))
    now, days = time.time(), 10.0 + index.ORPHANED_DAYS
    ages = [at(now - (days + later) * 86_400) for later in (1.0, -1.0)]
    with QuarantineStore.open(other) as gone:
        held, _ = gone.files.read(gone.keep(mail(), SPAM))
        for number in ages:
            gone.index.put(msgspec.structs.replace(held, number=number))
    assert quarantine.index.over(days=10.0, max_bytes=1 << 20) == ages[:1]


@pytest.mark.parametrize("step", ["fsync", "sync"])
def test_a_disk_that_fills_up_leaves_nothing_half(
    quarantine: QuarantineStore, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    quarantine.keep(mail(), SPAM)
    before = files(Path(quarantine.config.state))
    monkeypatch.setattr(held_files if step == "sync" else os, step, full)
    with pytest.raises(StoreError, match="No space left"):
        quarantine.keep(mail(), SPAM)
    assert files(Path(quarantine.config.state)) == before


def test_a_half_written_file_goes_once_nobody_can_be_writing_it(quarantine: QuarantineStore) -> None:
    quarantine.keep(mail(), SPAM)
    (path,) = files(Path(quarantine.config.state))
    part = path.with_suffix(".part")
    part.write_bytes(b"half")
    quarantine.tidy(settled_s=0.0)
    assert part.exists()
    os.utime(part, (time.time() - STALE_S - 1,) * 2)
    quarantine.tidy(settled_s=0.0)
    assert not part.exists() and path.exists()


def test_one_damaged_file_stops_neither_the_mending_nor_the_retention(
    quarantine: QuarantineStore, caplog: pytest.LogCaptureFixture
) -> None:
    state = Path(quarantine.config.state)
    bad, lost, kept = (quarantine.keep(mail(), SPAM) for _ in range(3))
    damaged, _, _ = files(state)
    damaged.write_bytes(b"{half\n")
    aside = state / "quarantine" / "damaged"
    aside.mkdir()
    (aside / damaged.name).write_bytes(b"{moved away\n")
    (damaged.parent / f"{encode(at(1e9))}.held").write_bytes(b"of another day\n")
    quarantine.index.drop([bad, lost])
    quarantine.config = config_of(state, max_bytes=len(RAW))
    assert [quarantine.tidy(settled_s=-1.0) for _ in range(2)] == [1, 0]
    assert [row.number for row in quarantine.search(QuarantineQuery(state=None), 9)] == [kept]
    assert damaged.exists() and (aside / damaged.name).exists()
    (said,) = [one for one in caplog.records if "one file left" in one.message]
    assert "damaged; move it away" in said.fields["reason"]  # type: ignore[attr-defined]


# A process dies before the step of that number: each is a call that changes what is on the disk.
DYING = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from filterd.corrections.database import Database
from filterd.quarantine import files, nexthop, store
from tests.filterd.quarantine.made import ANN, BEN, SPAM, mail, quarantine_of

left = int(sys.argv[2])
def counted(call):
    def step(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return call(*args, **kwargs)
    return step

sent = Path(sys.argv[1]) / "sent"
def send(self, sender, recipient, raw):
    with sent.open("ab") as stream:
        stream.write(recipient.encode() + b"\\n")

quarantine = quarantine_of(Path(sys.argv[1]), next_hop="tcp:127.0.0.1:9")
nexthop.ReleaseHop.send = counted(send)
os.fsync, Path.rename, Path.unlink = counted(os.fsync), counted(Path.rename), counted(Path.unlink)
held, index = files.HeldFiles, store.QuarantineIndex
held.keep, index.put = counted(held.keep), counted(index.put)
index.claim, index.settle = counted(index.claim), counted(index.settle)
number = quarantine.keep(mail(ANN, BEN), SPAM)
print("kept", flush=True)
quarantine.release(number, None, "anna")
print("released", flush=True)
"""


def test_killed_at_any_step_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "CLAIMED_S", -1.0)
    for steps in range(40):
        state = tmp_path / str(steps)
        state.mkdir()
        command = [sys.executable, "-c", DYING, str(state), str(steps)]
        died = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=120, check=False)
        assert died.returncode in {0, 9}, died.stderr.decode()
        sent = (state / "sent").read_text().split() if (state / "sent").exists() else []
        with quarantine_of(state) as quarantine:
            quarantine.tidy(settled_s=-1.0)
            rows = quarantine.search(QuarantineQuery(), 9)
            waiting = [
                one.address for row in rows for one in row.recipients if one.state is QuarantineState.HELD
            ]
            if b"kept" in died.stdout:  # from then on the sender relies on us
                assert {*waiting, *sent} == {ANN, BEN}
            for row in rows:
                assert quarantine.files.read(row.number)[1] == RAW
            if b"released" in died.stdout:
                assert (waiting, sent, files(state)) == ([], [ANN, BEN], [])
        if died.returncode == 0:
            assert steps > 8
            return
    pytest.fail("it never came to its end")
