"""What is done about a verdict, and that what nobody kept is never answered as if it were."""

from dataclasses import replace

from filterd.api import Action, Label
from filterd_plugins.smtp_proxy.policy import decide, way
from filterd_plugins.smtp_proxy.settings import ProxySettings
from tests.filterd.protocols.fakes import verdict

SPAM = verdict(Label.SPAM, 15.0)


def test_quarantine_is_filterds_or_a_mailbox() -> None:
    own = ProxySettings(next_hop="tcp:127.0.0.1:1", spam=Action.QUARANTINE)
    assert way(own).settle(SPAM, ()) is Action.QUARANTINE and not way(own).holds
    kept = decide(replace(SPAM, action=Action.QUARANTINE), own)
    assert kept.reply and kept.reply.encode() == b"250 2.0.0 Ok, held\r\n"
    assert decide(SPAM, own).action is Action.MOVE and decide(SPAM, own).reply is None
    box = ProxySettings(next_hop="tcp:127.0.0.1:1", spam=Action.QUARANTINE, quarantine="box@example.org")
    assert way(box).holds and decide(SPAM, box).reply is None


def test_what_the_settings_leave_open_is_for_the_configuration() -> None:
    own = ProxySettings(next_hop="tcp:127.0.0.1:1", reject_points=20.0)
    asked = way(own).own
    assert asked
    assert asked(SPAM, "") is None and asked(replace(SPAM, points=20.0), "") is Action.REJECT
    assert asked(replace(SPAM, available=False), "") is Action.TAG
    assert way(own).able(Action.ACCEPT) is Action.TAG
