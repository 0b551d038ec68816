"""Mail through Postfix and our milter while filterd is killed at random: does each arrive once?

Half of the mails go in where `milter_default_action` is `tempfail`: their sender tries again until they are
taken, and each has to be tagged. The other half goes in where it is `accept`: none of them may be refused.
Root only. Sizes: tests/bench/_chaos.py.
"""

from rich.table import Table

from tests.bench import _chaos as chaos
from tests.bench import _peers as peers
from tests.bench._forked import forked
from tests.peers.postfix import free_port, running

NAMES = TEMPFAIL, ACCEPT = "milter, tempfail", "milter, accept"


def run() -> Table:
    """What became of the mails. Raises RuntimeError where one is lost, doubled or not judged."""
    accepting, port = free_port(), free_port()
    milter = {"listen": [f"tcp:127.0.0.1:{port}"], "on_error": "tempfail"}
    with (
        peers.folder() as folder,
        forked(folder, plugins={"milter": milter}) as daemon,
        running(
            [f"127.0.0.1:{accepting} inet n - n - - smtpd -o milter_default_action=accept"],
            smtpd_milters=f"inet:127.0.0.1:{port}",
            milter_default_action="tempfail",
        ) as postfix,
    ):
        for name, used in ((TEMPFAIL, postfix.port), (ACCEPT, accepting)):
            chaos.play(chaos.Setup(name, postfix, daemon, used))
        _check(daemon.tracebacks)
    return chaos.table("filterd's milter, killed at random", NAMES)


def _check(tracebacks: int) -> None:
    wrong = {"tracebacks": tracebacks}
    for name in NAMES:
        found = chaos.figures(name)
        keys = ["lost", "delivered twice", "refused and delivered"]
        keys += ["untagged"] if name == TEMPFAIL else ["refused for good", "attempts deferred"]
        wrong |= {f"{name}: {key}": found[key] for key in keys}
    if any(wrong.values()):
        raise RuntimeError(f"mail lost, doubled or not judged: {wrong}")
