"""Where `filterd` begins: what a daemon answers at once, and what goes to the whole command line."""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from filterd import __version__
from filterd.api import Kind, Label, Message, Verdict
from filterd.commands import client, entry, local
from filterd.commands.client import Daemon
from filterd.errors import ModelUnavailable
from filterd.scoring import bundle

MAIL = b"From: ann@example.org\nSubject: lunch\n\nshall we meet at noon?\n"
SPAM = b"From: ann@example.org\nSubject: prize\n\nyou have won it\n"
SLOW = {"typer", "rich", "yaml", "msgspec", "selectolax", "numpy", "asyncio", "sqlalchemy", "tiktoken"}


class Asked:
    """Stands in for the daemon: a message with "won" in it is spam; keeps what it was asked."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def check(self, messages: list[Message]) -> list[Verdict]:
        self.said += [("check", message.kind) for message in messages]
        spam = [b"won" in message.raw for message in messages]
        return [
            Verdict(
                label=Label.SPAM if s else Label.HAM,
                probability=float(s),
                points=9.0 if s else -9.0,
                kind=m.kind or Kind.SMS,
            )
            for s, m in zip(spam, messages, strict=True)
        ]

    def learn(self, message: Message, label: Label) -> bool:
        self.said.append(("learn", label, message.kind))
        return True

    def forget(self, message: Message) -> bool:
        self.said.append(("forget", message.kind))
        return True


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(client, "socket_path", lambda: "/run/there.sock")
    for name in ("check", "learn", "forget"):
        monkeypatch.setattr(Daemon, name, lambda _, *rest, name=name: getattr(asked, name)(*rest))
    monkeypatch.delenv("FILTERD_BUNDLE", raising=False)
    return asked


def filterd(monkeypatch: pytest.MonkeyPatch, *arguments: str, stdin: bytes = MAIL) -> int | None:
    """The exit status that `filterd arguments` ends with."""
    monkeypatch.setattr(sys, "argv", ["filterd", *arguments])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin), isatty=lambda: False))
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code is None or isinstance(ended.value.code, int)
    return ended.value.code


def whole(came: list[bool]) -> Callable[..., None]:
    """Stands for the whole command line, which ends the process itself."""

    def app(**_: object) -> None:
        came.append(True)
        raise SystemExit(0)

    return app


@pytest.mark.parametrize(
    ("arguments", "ham", "spam"),
    [
        pytest.param((), 0, 0, id="plain"),
        pytest.param(("-",), 0, 0, id="stdin by name"),
        pytest.param(("--json",), 0, 0, id="json"),
        pytest.param(("--tag",), 0, 0, id="tag"),
        pytest.param(("--tag", "--strict"), 0, 0, id="strict"),
        pytest.param(("--exit-code",), 0, 1, id="as spamc"),
        pytest.param(("--bogofilter", "--mail"), 1, 0, id="as bogofilter"),
    ],
)
def test_check_asks_the_daemon_once(
    daemon: Asked, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], ham: int, spam: int
) -> None:
    monkeypatch.setitem(sys.modules, "filterd.commands.cli", None)  # importing it would fail
    assert filterd(monkeypatch, "check", *arguments) == ham
    assert filterd(monkeypatch, "check", *arguments, stdin=SPAM) == spam
    assert daemon.said == [("check", Kind.MAIL)] * 2


def test_tag_and_json_and_sms_and_files(
    daemon: Asked, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    filterd(monkeypatch, "check", "--tag", stdin=SPAM)
    tagged = capfdbinary.readouterr().out
    assert tagged.startswith(b"X-Spam-Flag: YES\n")
    assert tagged.endswith(SPAM)
    filterd(monkeypatch, "check", "--json", "--sms", stdin=b"you have won")
    said = json.loads(capfdbinary.readouterr().out)
    assert (said["label"], said["kind"]) == ("spam", "sms")
    (tmp_path / "one.eml").write_bytes(MAIL)
    filterd(monkeypatch, "check", str(tmp_path / "one.eml"))
    assert capfdbinary.readouterr().out.startswith(b"ham     0.000  mail  ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("learn", "--spam"), ("learn", Label.SPAM, Kind.MAIL)),
        (("learn", "--ham", "--sms"), ("learn", Label.HAM, Kind.SMS)),
        (("forget",), ("forget", Kind.MAIL)),
    ],
)
def test_corrections(
    daemon: Asked, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: tuple[object, ...]
) -> None:
    monkeypatch.setitem(sys.modules, "filterd.commands.cli", None)
    assert filterd(monkeypatch, *arguments) == 0
    assert daemon.said == [said]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        pytest.param(("check", "--mail", "--sms"), 78, id="check: exclude each other"),
        pytest.param(("check", "--tag", "--json"), 78, id="tag and json"),
        pytest.param(("check", "/nowhere.eml"), 66, id="no such file"),
        pytest.param(("learn",), 78, id="learn as what"),
        pytest.param(("learn", "--ham", "--spam"), 78, id="learn as both"),
        pytest.param(("forget", "--mail", "--sms"), 78, id="forget: exclude each other"),
    ],
)
def test_wrong_options_are_one_line(
    daemon: Asked,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
) -> None:
    stdin = MAIL if "--tag" not in arguments else b""
    code = filterd(monkeypatch, *arguments, stdin=stdin)
    assert code == (0 if "--tag" in arguments else status)
    said = capfd.readouterr().err
    assert said.startswith("filterd: ")
    assert said.count("\n") == 1
    assert not daemon.said


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--help",),
        ("status",),
        ("check", "--help"),
        ("check", "--bundle", "x"),
        ("check", "--threads=2"),
        ("check", "--json-lines"),
        ("check", "--", "-odd-name"),
        ("learn", "--spam", "--config", "x.yaml"),
        ("checks",),
    ],
    ids=" ".join,
)
def test_what_goes_to_the_whole_command_line(
    daemon: Asked, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    came: list[bool] = []
    monkeypatch.setitem(sys.modules, "filterd.commands.cli", SimpleNamespace(app=whole(came)))
    filterd(monkeypatch, *arguments)
    assert came == [True]
    assert not daemon.said


def test_with_a_bundle(daemon: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[bool] = []
    monkeypatch.setitem(sys.modules, "filterd.commands.cli", SimpleNamespace(app=whole(came)))
    monkeypatch.setenv("FILTERD_BUNDLE", "/some/bundle")
    filterd(monkeypatch, "check")
    assert came == [True]


def test_without_a_daemon_it_is_done_here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "filterd.commands.cli", None)
    monkeypatch.setattr(client, "socket_path", lambda: None)
    monkeypatch.delenv("FILTERD_BUNDLE", raising=False)
    monkeypatch.setattr(local, "open_judge", lambda *_: SimpleNamespace(judge=Asked().check))
    assert filterd(monkeypatch, "check", stdin=SPAM) == 0
    assert capfd.readouterr().out.startswith("spam    1.000  mail  ")
    assert filterd(monkeypatch, "--version") == 0
    assert capfd.readouterr().out == f"filterd {__version__}\n"


def test_a_daemon_that_fails_loses_no_mail(
    daemon: Asked, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def fail(*_: object) -> list[Verdict]:
        raise ModelUnavailable("it ended")

    monkeypatch.setattr(Daemon, "check", fail)
    assert filterd(monkeypatch, "check", "--tag") == 0
    assert capfdbinary.readouterr().out == MAIL
    assert filterd(monkeypatch, "check", "--tag", "--strict") == 75
    assert capfdbinary.readouterr().out == MAIL
    assert filterd(monkeypatch, "check") == ModelUnavailable.exit_status


@pytest.mark.parametrize("command", [["check", "--tag"], ["learn", "--spam"]], ids=" ".join)
def test_what_a_delivery_imports(command: list[str], tmp_path: Path) -> None:
    """What is asked here is answered in 80 ms because none of these is imported, not because of luck."""
    program = (
        "import sys\n"
        "from filterd.commands import client, entry\n"
        "sys.argv, path = sys.argv[:-1], sys.argv[-1]\n"
        "client.socket_path = lambda: path\n"
        "try: entry.main()\n"
        "finally: print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    path = str(tmp_path / "http.sock")
    with refusing(path):
        done = subprocess.run(
            [sys.executable, "-c", program, *command, path],
            input=MAIL,
            capture_output=True,
            check=False,
            env={**os.environ, "FILTERD_BUNDLE": ""},
        )
    assert b"not for you" in done.stderr
    assert not SLOW & set(done.stderr.decode().split())


@pytest.mark.parametrize("arguments", [(), ("--config", "named.yaml")], ids=len)
def test_a_rollback_does_not_wait_for_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str]
) -> None:
    shipped = bundle.read(bundle.DEFAULT)
    bundle.promote(shipped, tmp_path / "bundles", bundle.DEFAULT)
    (tmp_path / "bundles" / "other").symlink_to(shipped.id)
    (tmp_path / "bundles" / "previous").unlink(missing_ok=True)
    (tmp_path / "bundles" / "previous").symlink_to("other")
    (tmp_path / "named.yaml").write_text(json.dumps({"state": str(tmp_path)}))
    monkeypatch.setenv("FILTERD_CONFIG", "" if arguments else str(tmp_path / "named.yaml"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "filterd.commands.cli", None)  # whoever imports it fails
    assert filterd(monkeypatch, "bundle", "rollback", *arguments) == 0
    assert capsys.readouterr().out == f"{shipped.id} is current; no daemon runs on this state folder\n"
    assert (tmp_path / "bundles" / "current").readlink() == Path("other")


@contextlib.contextmanager
def refusing(path: str) -> Iterator[None]:
    """A daemon that answers one request: it does not want to."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        server.settimeout(30)

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(b'HTTP/1.1 403 Forbidden\r\n\r\n{"error": "not for you"}')

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join()
