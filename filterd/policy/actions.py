"""Which action `actions` of the configuration asks for; pure.

The first rule that holds for a recipient decides; where none does, the message is tagged. What several
recipients of one mail come to, and what a way in can do, is `filterd.api.Way.settle`'s.
"""

from collections.abc import Sequence

from filterd.api import Action, Message, Own, Verdict
from filterd.config import ActionRule
from filterd.policy.entry import names

NOT_JUDGED = Action.TAG  # it passes, with a header that says so


def settle(rules: Sequence[ActionRule], message: Message, found: Verdict) -> Action:
    """What is done to a message."""
    apply = [rule for rule in rules if not rule.ways or message.source in rule.ways]
    if not found.available:
        return message.way.settle(found, (), lambda verdict, recipient: NOT_JUDGED)
    differ = message.way.own or any(rule.recipients for rule in apply)
    return message.way.settle(found, message.recipients if differ else (), _configured(apply))


def _configured(rules: Sequence[ActionRule]) -> Own | None:
    known = [(rule, {scope.lower().lstrip("@") for scope in rule.recipients}) for rule in rules]

    def configured(found: Verdict, recipient: str) -> Action | None:
        return next((rule.do for rule, scopes in known if _holds(rule, scopes, found, recipient)), None)

    return configured if rules else None


def _holds(rule: ActionRule, scopes: set[str], found: Verdict, recipient: str) -> bool:
    return (
        (not rule.label or found.label in rule.label)
        and (not rule.kinds or found.kind in rule.kinds)
        and found.probability >= rule.min_probability
        and (rule.min_points is None or found.points >= rule.min_points)
        and (not scopes or not scopes.isdisjoint(names(recipient.strip("<> ").lower())))
    )
