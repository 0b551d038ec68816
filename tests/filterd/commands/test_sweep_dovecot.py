"""A sweep of a Maildir that a real Dovecot serves: what a mail client sees before and afterwards."""

import re
from pathlib import Path

import pytest

from filterd.commands import sweep as sweeping
from filterd.commands.sweep import SweepPlan
from tests.filterd.mailboxes import made
from tests.filterd.mailboxes.made import mail
from tests.peers import dovecot
from tests.peers.dovecot import Dovecot

FACTS = "(FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"


def seen(server: Dovecot, folder: str) -> dict[int, tuple[bytes, bytes, bytes]]:
    """Of each mail by its number: flags, date, content; its size is what Dovecot says, or this fails."""
    found = {}
    with server.imap() as client:
        client.select(folder, readonly=True)
        _, fetched = client.fetch("1:*", FACTS)
        for one in fetched:
            if isinstance(one, tuple):
                number = int(made.MARK.findall(one[1])[0])
                facts = re.search(rb'FLAGS \(([^)]*)\) INTERNALDATE "([^"]*)" RFC822.SIZE (\d+)', one[0])
                assert facts
                assert int(facts[3]) == len(one[1])
                found[number] = (facts[1].replace(rb"\Recent", b"").strip(), facts[2], one[1])
    return found


@pytest.mark.slow
def test_a_mail_client_sees_tagged_mails_with_their_flags_dates_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "filterd.yaml").write_text(f"state: {tmp_path}/state\n")
    with dovecot.running(FILTERD_SOCKET="", FILTERD_CONFIG=str(tmp_path / "filterd.yaml")) as server:
        for number in range(4):
            server.deliver(mail(number, spam=number > 1, line_end=b"\r\n"))
        with server.imap() as client:
            client.select("INBOX")
            client.store("3", "+FLAGS", r"(\Flagged \Seen)")
        before = seen(server, "INBOX")
        root = server.folder / "home" / dovecot.USER / "Maildir"

        def sweep() -> int:
            plan = SweepPlan(move_to="Junk", tag=True)
            return sweeping.sweep(root, plan, lambda: made.judge, tmp_path / "journal", again=False)

        assert sweep() == 0
        assert seen(server, "INBOX").keys() == {0, 1}
        after = seen(server, "Junk")
        assert after.keys() == {2, 3}
        for number, (flags, date, content) in after.items():
            assert (flags, date) == before[number][:2]
            assert b"X-Spam-Flag: YES\r\n" in content
        assert after[2][0] == rb"\Flagged \Seen"

        server.move("Junk", "INBOX")  # somebody wants one of them after all; Dovecot gives it a new name
        wanted = seen(server, "INBOX").keys()
        assert len(wanted) == 3
        assert sweep() == 0
        assert seen(server, "INBOX").keys() == wanted
        assert seen(server, "Junk").keys() == {2, 3} - wanted
        assert server.errors() == []
