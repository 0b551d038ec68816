"""Mail through Postfix, our proxy and Postfix again while filterd is killed at random: is a mail ever lost?

Half of the mails go in before the queue, half after it, by the lines of deploy/postfix. No mail may be lost
or go untagged. One comes twice where filterd is killed between the mail's last byte and the arrival of the
next hop's 250 at the client, who then sends it again: SMTP knows no way around it (RFC 1047). Root only.
Sizes: tests/bench/_chaos.py.
"""

from rich.table import Table

from tests.bench import _chaos as chaos
from tests.bench import _peers as peers
from tests.bench._forked import forked
from tests.peers.postfix import running
from tests.plugins.smtp_proxy.test_postfix import Chain

FILES = {"before the queue": "proxy-before-queue.cf", "after the queue": "proxy-after-queue.cf"}


def run() -> Table:
    """What became of the mails. Raises RuntimeError where one is lost or not judged."""
    for name, file in FILES.items():
        _play(name, file)
    _check()
    return chaos.table("filterd's proxy, killed at random", tuple(FILES))


def _play(name: str, file: str) -> None:
    with peers.folder() as folder:
        chain = Chain(folder)
        plugins = {"smtp_proxy": chain.section | {"on_error": "tempfail"}}
        with (
            forked(folder, plugins=plugins, queue={"on_error": "tempfail"}) as daemon,
            running(chain.services(file)) as postfix,
        ):
            chaos.play(chaos.Setup(name, postfix, daemon, chain.port))
            if daemon.tracebacks:
                raise RuntimeError(f"{daemon.tracebacks} tracebacks in filterd's log")


def _check() -> None:
    wrong: dict[str, int] = {}
    for name in FILES:
        found = chaos.figures(name)
        wrong |= {f"{name}: {key}": found[key] for key in ("lost", "refused and delivered", "untagged")}
    if any(wrong.values()):
        raise RuntimeError(f"mail lost or not judged: {wrong}")
