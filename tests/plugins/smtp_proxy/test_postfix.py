"""The proxy between two ends of a real Postfix, by the very lines of deploy/postfix, with `filterd serve`."""

import re
import shutil
import signal
import smtplib
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from filterd_plugins.smtp_proxy.session import SIZE_HEADROOM
from tests.conftest import ROOT
from tests.filterd.daemon.test_server import GTUBE_MAIL, HAM, Daemon
from tests.peers.postfix import Postfix, free_port, running

DEPLOY = ROOT / "deploy" / "postfix"
FORGED = b"X-Spam-Flag: NO\nX-Spam-Status: No, score=-99\n" + HAM
TIMEOUT_S = 60.0
SLOW_S = 240.0  # for all mails; a quiet machine needs ten
MAX_BYTES = 64 << 20  # the plugin's default
OURS = (b"status", b"level", b"score", b"checker-version")
MAILS, SENDERS, KILLS = 150, 4, 3
AT_ONCE = {"proxy-before-queue.cf": SENDERS, "proxy-after-queue.cf": 20}  # mails under way; master.cf has 20


class Chain:
    """Postfix on `port`, filterd's proxy on `proxy`, and Postfix again on `inner`."""

    def __init__(self, folder: Path) -> None:
        self.port, self.proxy, self.inner = free_port(), free_port(), free_port()
        self.daemon = Daemon(folder)

    @property
    def section(self) -> dict[str, object]:
        """The plugin's, less what a test is about."""
        listen, next_hop = [f"tcp:127.0.0.1:{self.proxy}"], f"tcp:localhost:{self.inner}"
        return {"listen": listen, "next_hop": next_hop, "hostname": "filter.example.org"}

    def configure(self, **settings: object) -> None:
        self.daemon.configure(plugins={"smtp_proxy": self.section | settings})

    def services(self, file: str) -> list[str]:
        """The lines of a deploy file with this test's ports, and free of comments."""
        text = (DEPLOY / file).read_text("utf-8")
        text = text.replace(":10025", f":{self.proxy}").replace(":10026 ", f":{self.inner} ")
        text = re.sub(r"^smtp (.*)", rf"127.0.0.1:{self.port} \1", text, flags=re.M)
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        return [*lines, "tlsmgr unix - - n 1000? 1 tlsmgr"]


@contextmanager
def chain(
    file: str, main: dict[str, str] | None = None, **settings: object
) -> Iterator[tuple[Chain, Postfix]]:
    """A daemon and a Postfix that takes any newline, as all did before 2024: it is the proxy that is safe."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="filterd-"))
    made = Chain(folder)
    made.configure(**settings)
    made.daemon.start()
    try:
        with running(made.services(file), smtpd_forbid_bare_newline="no", **(main or {})) as postfix:
            yield made, postfix
        assert "Traceback" not in made.daemon.log.read_text()
    finally:
        if made.daemon.process and made.daemon.process.poll() is None:
            made.daemon.end(signal.SIGKILL)
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def before(certificate: Path) -> "Iterator[tuple[Chain, Postfix]]":
    """Before the queue, with TLS to the proxy and from it to the next hop."""
    pem = str(certificate)
    settings = {"tls_certificate": pem, "tls_key": pem, "next_hop_tls": "verify", "next_hop_ca": pem}
    main = {"smtpd_tls_chain_files": pem, "smtpd_tls_security_level": "may", "smtpd_tls_loglevel": "1"}
    with chain("proxy-before-queue.cf", main, spam="reject", **settings) as made:
        yield made


@pytest.fixture(scope="module")
def after() -> "Iterator[tuple[Chain, Postfix]]":
    with chain("proxy-after-queue.cf") as made:
        yield made


def headers(mail: bytes) -> list[bytes]:
    return [
        line.split(b":")[0].lower()
        for line in mail.partition(b"\n\n")[0].splitlines()
        if line[:1] not in b" \t"
    ]


def test_before_the_queue_ham_arrives_tagged_once(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    done = postfix.swaks("--to", "ann@example.org", mail=FORGED, port=made.port)
    assert done.returncode == 0, done.stdout
    (mail,) = postfix.wait_for_mail("ann@example.org")
    assert headers(mail).count(b"x-spam-status") == 1
    assert b"score=-99" not in mail
    assert mail.rstrip(b"\n").endswith(HAM.partition(b"\n\n")[2].rstrip(b"\n"))


def test_before_the_queue_spam_is_refused_to_its_sender(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    done = postfix.swaks("--to", "spam@example.org", mail=GTUBE_MAIL, port=made.port)
    assert "550 5.7.1 Message refused as spam" in done.stdout
    assert done.returncode == 26, "swaks: refused after DATA"
    assert not postfix.mailbox("spam@example.org")


def test_the_next_hop_knows_the_real_client(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    xclient = ("--xclient", "ADDR=192.0.2.7 NAME=far.example.net")
    done = postfix.swaks("--to", "carla@example.org", *xclient, mail=HAM, port=made.port)
    assert done.returncode == 0, done.stdout
    postfix.wait_for_mail("carla@example.org")
    assert re.search(r"client=far\.example\.net\[192\.0\.2\.7\]", postfix.log)


def test_after_the_queue(after: "tuple[Chain, Postfix]") -> None:
    made, postfix = after
    for user, mail in (("ben", FORGED), ("junk", GTUBE_MAIL)):
        done = postfix.swaks("--to", f"{user}@example.org", mail=mail, port=made.port)
        assert done.returncode == 0, done.stdout
    (ham,), (spam,) = postfix.wait_for_mail("ben@example.org"), postfix.wait_for_mail("junk@example.org")
    assert headers(ham).count(b"x-spam-status") == headers(spam).count(b"x-spam-status") == 1
    assert b"score=-99" not in ham
    assert b"\nX-Spam-Flag: YES\n" in spam
    postfix.wait_until_empty()


def raw(port: int, *said: bytes) -> bytes:
    """Everything that is answered to these pieces, each sent once the one before it has been answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as client:
        answer = client.recv(4096)
        for piece in said:
            client.sendall(piece)
            answer += client.recv(4096)
        client.shutdown(socket.SHUT_WR)
        while more := client.recv(4096):
            answer += more
    return answer


def smuggler(user: str, end: bytes) -> list[bytes]:
    """A mail to `user`, and one to evil-`user` behind what some take for its end."""
    inner = b"MAIL FROM:<evil@example.net>\r\nRCPT TO:<evil-%b@example.org>\r\nDATA\r\n" % user.encode()
    inner += b"Subject: smuggled\r\n\r\nhello\r\n.\r\nQUIT\r\n"
    lines = [
        b"EHLO client.example.net",
        b"MAIL FROM:<ann@example.net>",
        b"RCPT TO:<%b@example.org>" % user.encode(),
    ]
    return [*(line + b"\r\n" for line in (*lines, b"DATA")), b"Subject: hello\r\n\r\nhello" + end + inner]


ENDS = {"LF": b"\n.\n", "LF-CRLF": b"\n.\r\n", "CRLF-LF": b"\r\n.\n", "CR": b"\r.\r", "CR-CRLF": b"\r.\r\n"}


@pytest.mark.parametrize("name", ENDS)
def test_nothing_is_smuggled(name: str, before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    said = raw(made.proxy, *smuggler(name, ENDS[name]))
    assert b"\r\n550 5.5.2 " in said
    done = postfix.swaks("--to", f"after-{name}@example.org", mail=HAM)
    assert done.returncode == 0, done.stdout
    postfix.wait_for_mail(f"after-{name}@example.org")
    assert postfix.mailbox(f"evil-{name}@example.org") == postfix.mailbox(f"{name}@example.org") == []


def test_the_same_is_smuggled_past_the_proxy(before: "tuple[Chain, Postfix]") -> None:
    """Shows that the test above has something to show."""
    _, postfix = before
    raw(postfix.port, *smuggler("open", ENDS["LF-CRLF"]))
    postfix.wait_for_mail("evil-open@example.org")


def test_nothing_is_injected_before_tls(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    _, *rest = smuggler("injected", b"\r\n.\r\n")
    said = raw(made.proxy, b"EHLO client.example.net\r\n", b"STARTTLS\r\n" + b"".join(rest))
    assert said.endswith(b"554 5.5.1 Nothing may follow STARTTLS before its answer\r\n")
    done = postfix.swaks("--to", "tls@example.org", "--tls", mail=HAM, port=made.proxy)
    if "TLS not available" in done.stderr:
        pytest.skip("what the program swaks needs for TLS, Net::SSLeay, is not installed")
    assert done.returncode == 0, done.stdout
    assert "TLS started" in done.stdout
    postfix.wait_for_mail("tls@example.org")
    assert postfix.mailbox("injected@example.org") == postfix.mailbox("evil-injected@example.org") == []


def test_tls_to_the_real_next_hop(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    postfix.swaks("--to", "onward@example.org", mail=HAM, port=made.port)
    postfix.wait_for_mail("onward@example.org")
    assert "TLS connection established from localhost[127.0.0.1]: TLSv1.3" in postfix.log


def test_who_the_next_hop_refuses_is_refused_in_its_words(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    said = [b"EHLO x.example.net\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<x@y..z>\r\n", b"QUIT\r\n"]
    through, direct = (raw(port, *said).splitlines() for port in (made.proxy, postfix.port))
    assert through[-2].startswith(b"501 5.1.3 ")
    assert through[-3:-1] == direct[-3:-1]


def test_who_xclient_names_is_treated_as_such_by_the_next_hop(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    xclient = ("--xclient", "ADDR=192.0.2.9 NAME=named.example.net")
    done = postfix.swaks("--to", "xclient@example.org", *xclient, mail=HAM, port=made.proxy)
    assert "<** 554 5.7.1 <xclient@example.org>: Recipient address rejected" in done.stdout, done.stdout
    postfix.wait_for(lambda: "reject: RCPT from named.example.net[192.0.2.9]" in postfix.log)


def test_the_next_hops_size_is_the_proxys_less_room_for_our_headers(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    hello = b"EHLO x.example.net\r\n"
    through, direct = (
        int(re.findall(rb"250[ -]SIZE ([0-9]+)", raw(port, hello, b"QUIT\r\n"))[0])
        for port in (made.proxy, postfix.port)
    )
    assert through == min(direct - SIZE_HEADROOM, MAX_BYTES)
    said = raw(made.proxy, hello, b"MAIL FROM:<ann@example.net> SIZE=%d\r\n" % (through + 1), b"QUIT\r\n")
    assert b"\r\n552 5.3.4 " in said


def test_every_byte_arrives(before: "tuple[Chain, Postfix]") -> None:
    """But for headers that are added: dots, 8 bits, blanks at ends, lines like headers."""
    made, postfix = before
    head = (
        b"From: ann@example.net\r\nDate: Tue, 24 Nov 2026 20:00:00 +0000\r\nMessage-ID: <1@example.net>\r\n"
    )
    head += b"X-Odd:no blank\r\nSubject:  two\r\n\tlines \r\nX-Odd: again\r\n"
    body = (
        b".\r\n..\r\n.dot\r\nFrom here\r\nX-Spam-Flag: YES\r\nblanks  \r\n\r\n\xe9\x80\xff\r\n" + b"x" * 900
    )
    start = [b"EHLO x.example.net\r\n", b"MAIL FROM:<ann@example.net> BODY=8BITMIME\r\n"]
    start += [b"RCPT TO:<bytes@example.org>\r\n", b"DATA\r\n"]
    stuffed = re.sub(rb"^\.", rb"..", body, flags=re.M)
    said = raw(made.proxy, *start, head + b"\r\n" + stuffed + b"\r\n.\r\n", b"QUIT\r\n")
    assert b"250 2.0.0 Ok: queued as" in said, said
    (mail,) = postfix.wait_for_mail("bytes@example.org")
    sent = (head + b"\r\n" + body).replace(b"\r\n", b"\n") + b"\n"
    assert mail.endswith(sent)
    assert headers(mail.removesuffix(sent) + b"\n") == [b"received", *(b"x-spam-" + name for name in OURS)]


def test_dsn_and_utf8_get_through(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    lines = ["EHLO x.example.net", "MAIL FROM:<jürgen@example.net> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=e1"]
    lines += ["RCPT TO:<ünser@example.org> NOTIFY=SUCCESS ORCPT=utf-8;x@example.org", "DATA"]
    body = "Subject: Grüße\r\n\r\nSchöne Grüße, 8 Bit.\r\n.\r\n"
    said = raw(made.proxy, *(f"{line}\r\n".encode() for line in lines), body.encode(), b"QUIT\r\n")
    assert b"250 2.0.0 Ok: queued as" in said, said
    (mail,) = postfix.wait_for_mail("ünser@example.org")
    assert "Subject: Grüße\n".encode() in mail
    (notice,) = postfix.wait_for_mail("jürgen@example.net")
    assert b"Original-Envelope-Id: e1" in notice


def test_a_hung_daemon_defers_and_doubles_nothing(before: "tuple[Chain, Postfix]") -> None:
    made, postfix = before
    impatient = (f"smtpd_proxy_filter=127.0.0.1:{made.proxy}", "smtpd_proxy_timeout=3s")
    with postfix.port_with(*impatient) as port:
        made.daemon.send(signal.SIGSTOP)
        try:
            done = postfix.swaks("--to", "hung@example.org", mail=HAM, port=port)
        finally:
            made.daemon.send(signal.SIGCONT)
    assert "<** 451 4.3.0" in done.stdout, done.stdout
    again = postfix.swaks("--to", "hung@example.org", mail=HAM, port=made.port)
    assert again.returncode == 0, again.stdout
    postfix.wait_for_mail("hung@example.org")


def offer(port: int, number: int) -> bool:
    """Whether a mail was taken; whatever else happens is for another time."""
    try:
        with smtplib.SMTP("127.0.0.1", port, timeout=TIMEOUT_S) as client:
            body = HAM + b"number %d\n" % number
            client.sendmail("ann@example.net", [f"n{number}@example.org"], body)
            return True
    except (smtplib.SMTPException, OSError):
        return False


@pytest.mark.slow
@pytest.mark.parametrize("file", AT_ONCE)
def test_no_mail_is_lost_while_the_daemon_is_killed(file: str) -> None:
    """Senders repeat what was not taken, as mail servers do; a copy more is possible only for mails that the
    next hop was about to answer for (RFC 1047)."""
    with chain(file) as (made, postfix), ThreadPoolExecutor(SENDERS) as pool:

        def deliver(number: int) -> None:
            while not offer(made.port, number):
                time.sleep(0.05)

        sending = [pool.submit(deliver, number) for number in range(MAILS)]
        for kill in range(KILLS):
            enough = (kill + 1) * MAILS // (KILLS + 2)
            postfix.wait_for(lambda enough=enough: len(postfix.delivered()) >= enough, SLOW_S)  # type: ignore[misc]
            made.daemon.end(signal.SIGKILL)
            made.daemon.start()
        for one in sending:
            one.result(SLOW_S)
        postfix.wait_for(lambda: not postfix.queued(), SLOW_S)
        found = [len(postfix.mailbox(f"n{number}@example.org")) for number in range(MAILS)]
    assert min(found) == 1, "lost"
    assert sum(found) - MAILS <= KILLS * AT_ONCE[file], found
