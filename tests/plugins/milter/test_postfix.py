"""The milter in a real Postfix, mail by swaks and by hand; the daemon stopped, hung, overloaded, killed."""

import re
import signal
import smtplib
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.peers.postfix import Postfix, free_port, running
from tests.plugins.milter import filter as filters
from tests.plugins.milter.filter import Filter

HAM = b"""From: Ann <ann@example.net>
Date: Tue, 24 Nov 2026 20:00:00 +0000
Message-ID: <1@example.net>
To: ben@example.org
Subject:  lunch on
\tFriday
X-Spam-Flag: YES
X-Kept:no blank
x-spam-flag: YES
X-Spam-Status: No, score=-100

Shall we meet at noon, by the river?
.
..
The end.
"""
SPAM = (
    b"From: win@example.net\nSubject: urgent\nX-Spam-Flag: NO\n\nYou are the winner of a prize, the winner!\n"
)
REFUSED_BY_MACRO = "550 5.7.1 Not from this network"
RULES = [
    {"do": "tag", "recipients": ["tag@*"]},
    {"do": "quarantine", "label": ["spam"], "recipients": ["hold@*"]},
    {"do": "tempfail", "label": ["spam"], "recipients": ["defer@*"]},
    {"do": "discard", "label": ["spam"], "recipients": ["discard@*"]},
    # Postfix sends neither of these macros with MAIL unless it is told to.
    {"do": "reject", "macros": {"client_addr": "203.0.113.*", "tls_version": ""}, "reply": REFUSED_BY_MACRO},
    {"do": "reject", "min_points": 5, "reply": "550 5.7.1 No spam here: 100 percent"},
]
TEMPFAIL, ACCEPT = "tempfail", "accept"
REFUSED_AT_DATA = 26  # swaks(1), exit codes
LARGE = 50 << 20  # bytes; 25 times max_bytes
HELD = 16 << 20  # bytes that filterd may need for it; max_bytes, some copies of that, and the model's own
TIMEOUT_S = 60.0
HUNG_S = "2s"  # Postfix's patience where filterd hangs for good; elsewhere it has its own, 300 s


def ours(mail: bytes) -> list[bytes]:
    """Names of the headers that begin with X-Spam-, in their order."""
    return re.findall(rb"^(X-Spam-[A-Za-z-]+):", mail.partition(b"\n\n")[0], re.M | re.I)


TAGGED = [b"X-Spam-Status", b"X-Spam-Level", b"X-Spam-Score", b"X-Spam-Checker-Version"]


class Running:
    """A Postfix with a port for each milter_default_action, and the filter behind it.

    impatient: the same, where Postfix does not wait long.
    """

    def __init__(
        self, postfix: Postfix, filter_: Filter, ports: dict[str, int], impatient: dict[str, int]
    ) -> None:
        self.postfix, self.filter = postfix, filter_
        self.ports = {TEMPFAIL: postfix.port} | ports
        self.impatient = impatient


@pytest.fixture(scope="module")
def mails() -> Iterator[Running]:
    accepting, impatient = free_port(), {TEMPFAIL: free_port(), ACCEPT: free_port()}
    with filters.made(rules=RULES, quarantine="server", skip_networks=["198.51.100.0/24"]) as filter_:
        filter_.start()
        milter = f"unix:{filter_.socket}"
        times = " ".join(f"-o milter_{name}_timeout={HUNG_S}" for name in ("connect", "command", "content"))
        smtpd = "127.0.0.1:{} inet n - n - - smtpd -o milter_default_action={} {}"
        services = [smtpd.format(port, action, times) for action, port in impatient.items()]
        with running(
            [smtpd.format(accepting, ACCEPT, ""), *services],
            smtpd_milters=milter,
            non_smtpd_milters=milter,
            milter_default_action=TEMPFAIL,
        ) as postfix:
            yield Running(postfix, filter_, {ACCEPT: accepting}, impatient)


def test_a_mail_arrives_tagged_once_and_otherwise_as_it_was(mails: Running) -> None:
    sent = mails.postfix.swaks("--from", "ann@example.net", "--to", "ham@example.org", mail=HAM)
    assert sent.returncode == 0, sent.stdout
    (mail,) = mails.postfix.wait_for_mail("ham@example.org")
    assert ours(mail) == TAGGED
    assert mail.startswith(b"X-Spam-Status: No, score=")
    received, _, rest = mail.partition(b"\nReceived: ")[2].partition(b"\nFrom: ")
    assert b"client.example.net" in received
    kept = re.sub(rb"^x-spam-.*\n", b"", HAM, flags=re.M | re.I)
    assert rest.rstrip(b"\n") == kept.removeprefix(b"From: ").rstrip(b"\n")


def test_spam_arrives_tagged(mails: Running) -> None:
    assert mails.postfix.swaks("--to", "tag@example.org", mail=SPAM).returncode == 0
    (mail,) = mails.postfix.wait_for_mail("tag@example.org")
    assert ours(mail) == [b"X-Spam-Flag", *TAGGED]
    assert mail.startswith(b"X-Spam-Flag: YES\nX-Spam-Status: Yes, score=")


def test_spam_is_refused_at_data(mails: Running) -> None:
    sent = mails.postfix.swaks("--to", "refuse@example.org", mail=SPAM)
    assert sent.returncode == REFUSED_AT_DATA
    assert "<** 550 5.7.1 No spam here: 100 percent" in sent.stdout
    mails.postfix.wait_until_empty()
    assert not mails.postfix.mailbox("refuse@example.org")


def test_spam_is_deferred(mails: Running) -> None:
    sent = mails.postfix.swaks("--to", "defer@example.org", mail=SPAM)
    assert sent.returncode == REFUSED_AT_DATA
    assert "<** 451 4.7.1 Try again later" in sent.stdout
    mails.postfix.wait_until_empty()
    assert not mails.postfix.mailbox("defer@example.org")


def test_spam_is_dropped(mails: Running) -> None:
    sent = mails.postfix.swaks("--to", "discard@example.org", mail=SPAM)
    assert sent.returncode == 0
    mails.postfix.wait_for(lambda: "milter-discard" in mails.postfix.log or not mails.postfix.queued())
    assert not mails.postfix.mailbox("discard@example.org")


def test_spam_is_held_with_its_headers(mails: Running) -> None:
    assert mails.postfix.swaks("--to", "hold@example.org", mail=SPAM).returncode == 0
    mails.postfix.wait_for(lambda: [one["queue_name"] for one in mails.postfix.queued()] == ["hold"])
    assert not mails.postfix.mailbox("hold@example.org")
    mails.postfix.release()
    (mail,) = mails.postfix.wait_for_mail("hold@example.org")
    assert ours(mail) == [b"X-Spam-Flag", *TAGGED]


def test_recipients_who_disagree_get_the_mildest(mails: Running) -> None:
    sent = mails.postfix.swaks("--to", "mild@example.org,tag@mild.example.org", mail=SPAM)
    assert sent.returncode == 0, sent.stdout
    for recipient in ("mild@example.org", "tag@mild.example.org"):
        (mail,) = mails.postfix.wait_for_mail(recipient)
        assert ours(mail) == [b"X-Spam-Flag", *TAGGED]


def test_many_mails_on_one_connection(mails: Running) -> None:
    with smtplib.SMTP("127.0.0.1", mails.postfix.port) as client:
        client.sendmail("ann@example.net", ["many@example.org"], HAM)
        with pytest.raises(smtplib.SMTPDataError):
            client.sendmail("ann@example.net", ["many@example.org"], SPAM)
        client.mail("ann@example.net")
        client.rcpt("many@example.org")
        client.rset()
        client.sendmail("ann@example.net", ["many@example.org"], HAM)
        client.sendmail("ann@example.net", ["many@example.org", "tag@many.example.org"], SPAM)
    all_ = mails.postfix.wait_for_mail("many@example.org", 3)
    all_.sort(key=lambda mail: b"\nSubject: urgent\n" in mail)  # Postfix may deliver them in another order
    assert [ours(mail) for mail in all_] == [TAGGED, TAGGED, [b"X-Spam-Flag", *TAGGED]]


def test_the_servers_own_submission(mails: Running) -> None:
    mails.postfix.sendmail("own@example.org", mail=HAM)
    (mail,) = mails.postfix.wait_for_mail("own@example.org")
    assert ours(mail) == TAGGED


def test_own_networks_are_let_through_untouched(mails: Running) -> None:
    sent = mails.postfix.swaks(
        "--to", "net@example.org", "--xclient-addr", "198.51.100.7", "--xclient-no-verify", mail=SPAM
    )
    assert sent.returncode == 0, sent.stdout
    (mail,) = mails.postfix.wait_for_mail("net@example.org")
    assert ours(mail) == [b"X-Spam-Flag"]
    assert b"X-Spam-Flag: NO\n" in mail


def test_whoever_has_logged_in_is_let_through_untouched(mails: Running) -> None:
    sent = mails.postfix.swaks(
        "--to", "auth@example.org", "--xclient-login", "ann", "--xclient-no-verify", mail=SPAM
    )
    assert sent.returncode == 0, sent.stdout
    (mail,) = mails.postfix.wait_for_mail("auth@example.org")
    assert b"X-Spam-Flag: NO\n" in mail
    assert ours(mail) == [b"X-Spam-Flag"]


def test_rules_see_macros_that_postfix_is_asked_for(mails: Running) -> None:
    xclient = ("--xclient-addr", "203.0.113.9", "--xclient-no-verify")
    sent = mails.postfix.swaks("--to", "macro@example.org", *xclient, mail=HAM)
    assert sent.returncode == REFUSED_AT_DATA
    assert f"<** {REFUSED_BY_MACRO}" in sent.stdout


def most_memory(process: int) -> int:
    """Bytes of resident memory at its largest until now."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def test_a_large_mail_is_judged_by_its_beginning_and_not_kept(mails: Running) -> None:
    assert mails.filter.process
    before = most_memory(mails.filter.process.pid)
    head, _, body = SPAM.partition(b"\n\n")
    filler = b"".join(b"%063d\n" % i for i in range(LARGE // 64))
    with smtplib.SMTP("127.0.0.1", mails.postfix.port) as client:
        client.sendmail("ann@example.net", ["tag@large.example.org"], head + b"\n\n" + body + filler)
    (mail,) = mails.postfix.wait_for_mail("tag@large.example.org")
    assert mail.startswith(b"X-Spam-Flag: YES\n")
    assert mail.rstrip(b"\n").endswith(filler.rstrip(b"\n"))
    assert most_memory(mails.filter.process.pid) - before < HELD


def test_a_megabyte_of_headers(mails: Running) -> None:
    many = b"".join(b"X-Filler-%04d: %s\n" % (i, b"x" * 80_000) for i in range(13))
    mail = many + b"X-Spam-Flag: NO\n" + HAM
    with smtplib.SMTP("127.0.0.1", mails.postfix.port) as client:
        client.sendmail("ann@example.net", ["headers@example.org"], mail)
    (arrived,) = mails.postfix.wait_for_mail("headers@example.org")
    assert ours(arrived) == TAGGED
    assert arrived.count(b"\nX-Filler-") == 13


# What goes wrong. Each test leaves the filter running.


@pytest.fixture
def broken(mails: Running) -> Iterator[Running]:
    """The same; afterwards the filter runs as before."""
    yield mails
    process = mails.filter.process
    assert process
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
    else:
        mails.filter.start()


def send(port: int, recipient: str) -> str:
    """The server's answer to a whole mail: "250", "451" …"""
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=TIMEOUT_S) as client:
            client.sendmail("ann@example.net", [recipient], HAM)
    except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
        code = getattr(error, "smtp_code", None) or next(iter(error.recipients.values()))[0]  # type: ignore[union-attr]
        return str(code)
    return "250"


def check_outcome(mails: Running, action: str, recipient: str, answer: str) -> None:
    """What was refused is not delivered, and delivered once where it is sent again; what was taken is."""
    assert answer == {TEMPFAIL: "451", ACCEPT: "250"}[action]
    if action == TEMPFAIL:
        mails.postfix.wait_until_empty()
        assert not mails.postfix.mailbox(recipient)
        process = mails.filter.process
        assert process
        if process.poll() is not None:
            mails.filter.start()
        process.send_signal(signal.SIGCONT)
        assert send(mails.ports[action], recipient) == "250"
    (mail,) = mails.postfix.wait_for_mail(recipient)
    mails.postfix.wait_until_empty()
    assert len(mails.postfix.mailbox(recipient)) == 1
    # Unjudged, the mail is as it came; so are its headers, which nobody has looked at.
    assert mail.startswith(b"X-Spam-Status: No, score=") is (action == TEMPFAIL)


ACTIONS = pytest.mark.parametrize("action", [TEMPFAIL, ACCEPT])


@ACTIONS
def test_stopped(action: str, broken: Running) -> None:
    assert broken.filter.end() == 0
    recipient = f"stopped@{action}.example.org"
    check_outcome(broken, action, recipient, send(broken.ports[action], recipient))


@ACTIONS
def test_hung(action: str, broken: Running) -> None:
    broken.filter.send(signal.SIGSTOP)
    recipient = f"hung@{action}.example.org"
    check_outcome(broken, action, recipient, send(broken.impatient[action], recipient))


def begun(client: smtplib.SMTP, recipient: str) -> None:
    """A mail as far as the middle of its text."""
    client.ehlo("client.example.net")
    client.mail("ann@example.net")
    client.rcpt(recipient)
    assert client.docmd("DATA")[0] == 354
    client.send(HAM[:200].replace(b"\n", b"\r\n"))


def ended(client: smtplib.SMTP) -> str:
    """The answer to the rest of it."""
    client.send(HAM[200:].replace(b"\n.", b"\n..").replace(b"\n", b"\r\n") + b".\r\n")
    return str(client.getreply()[0])


@ACTIONS
def test_killed_in_the_middle_of_a_mail(action: str, broken: Running) -> None:
    recipient = f"killed@{action}.example.org"
    with smtplib.SMTP("127.0.0.1", broken.ports[action], timeout=TIMEOUT_S) as client:
        begun(client, recipient)
        broken.filter.end(signal.SIGKILL)
        answer = ended(client)
    check_outcome(broken, action, recipient, answer)


@ACTIONS
def test_killed_while_it_judges(action: str, broken: Running) -> None:
    recipient = f"judging@{action}.example.org"
    with smtplib.SMTP("127.0.0.1", broken.ports[action], timeout=TIMEOUT_S) as client:
        begun(client, recipient)
        broken.filter.send(signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(ended, client)
            time.sleep(0.5)  # the whole mail is on its way to the filter, or there
            broken.filter.end(signal.SIGKILL)
            assert answer.result(TIMEOUT_S)
    check_outcome(broken, action, recipient, answer.result())


@ACTIONS
def test_not_the_protocol(action: str, broken: Running) -> None:
    broken.filter.end()
    with socket.socket(socket.AF_UNIX) as other:
        broken.filter.socket.unlink(missing_ok=True)
        other.bind(str(broken.filter.socket))
        broken.filter.socket.chmod(0o666)
        other.listen()
        recipient = f"other@{action}.example.org"
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(send, broken.ports[action], recipient)
            connection, _ = other.accept()
            with connection:
                connection.sendall(b"220 this is no milter\r\n")
            while not answer.done():
                time.sleep(0.05)
    broken.filter.socket.unlink()
    check_outcome(broken, action, recipient, answer.result())


@pytest.mark.parametrize(
    ("on_error", "queue_on_error"),
    [("accept", "accept"), ("accept", "tempfail"), ("tempfail", "accept"), ("tempfail", "tempfail")],
)
def test_overloaded(on_error: str, queue_on_error: str, mails: Running) -> None:
    """The plugin's on_error has the last word, whatever the queue's is."""
    recipient = f"overload@{on_error}.{queue_on_error}.example.org"
    with filters.made(on_error=on_error) as filter_:
        filter_.configure(queue={"deadline_s": 0.000001, "on_error": queue_on_error})
        filter_.start()
        with mails.postfix.port_with(f"smtpd_milters=unix:{filter_.socket}") as port:
            sent = mails.postfix.swaks("--to", recipient, mail=HAM, port=port)
    if on_error == "tempfail":
        assert sent.returncode == REFUSED_AT_DATA
        assert "<** 451 4.3.2 Spam filter took too long, try again later" in sent.stdout
        mails.postfix.wait_until_empty()
        assert not mails.postfix.mailbox(recipient)
    else:
        assert sent.returncode == 0, sent.stdout
        (mail,) = mails.postfix.wait_for_mail(recipient)
        assert mail.startswith(b"X-Spam-Status: No, score=0.0 required=5.0 tests=none filter=unavailable")
        assert ours(mail) == TAGGED


def test_the_shipped_lines_of_main_cf(mails: Running) -> None:
    """deploy/postfix/main.cf as it is, but for the socket's place."""
    text = (ROOT / "deploy" / "postfix" / "main.cf").read_text("utf-8")
    lines = re.sub(r"^#.*\n", "", text, flags=re.M).replace("\n ", " ")
    settings = dict(re.findall(r"^(\w+) *= *(.*)$", lines, re.M))
    assert set(settings) == {
        "smtpd_milters",
        "non_smtpd_milters",
        "milter_default_action",
        "milter_protocol",
    }
    milters = settings["smtpd_milters"].replace("/run/filterd/milter.sock", str(mails.filter.socket))
    with mails.postfix.port_with(f"smtpd_milters={milters}", "milter_protocol=6") as port:
        sent = mails.postfix.swaks("--to", "shipped@example.org", mail=HAM, port=port)
    assert sent.returncode == 0, sent.stdout
    (mail,) = mails.postfix.wait_for_mail("shipped@example.org")
    assert ours(mail) == TAGGED
