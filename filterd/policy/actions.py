"""Which action `actions` of the configuration asks for; pure.

The first rule that holds for a recipient decides; where none does, the message is tagged. What several
recipients of one mail come to, and what a way in can do, is `filterd.api.Way.settle`'s. A mail may have
10,000 recipients: what does not depend on them is asked once, and each is looked up by his own names.
"""

from collections.abc import Iterator, Sequence

from filterd.api import MILDEST_FIRST, RELEASED, Action, Message, Own, Verdict
from filterd.config import ActionRule

NOT_JUDGED = Action.TAG  # it passes, with a header that says so


def settle(rules: Sequence[ActionRule], message: Message, found: Verdict) -> Action:
    """What is done to a message."""
    if not found.available:
        return message.way.settle(found, (), lambda verdict, recipient: NOT_JUDGED)
    if RELEASED in found.tests:  # what `Way.settle` would not do must not hide a later rule either
        rules = [rule for rule in rules if MILDEST_FIRST[rule.do] <= MILDEST_FIRST[Action.MOVE]]
    holding = [rule for rule in rules if _holds(rule, message, found)]
    differ = (message.way.own and message.way.each) or (holding and holding[0].recipients)
    return message.way.settle(found, message.recipients if differ else (), _configured(holding))


def _holds(rule: ActionRule, message: Message, found: Verdict) -> bool:
    """Whether it holds for a verdict, whoever the recipient is."""
    return (
        (not rule.ways or message.source in rule.ways)
        and (not rule.label or found.label in rule.label)
        and (not rule.kinds or found.kind in rule.kinds)
        and found.probability >= rule.min_probability
        and (rule.min_points is None or found.points >= rule.min_points)
    )


def _configured(holding: Sequence[ActionRule]) -> Own | None:
    """What the first of these rules says that a recipient is in."""
    places: dict[str, int] = {}  # of the first rule that names this address or domain
    default = len(holding)
    for place, rule in enumerate(holding):
        if not rule.recipients:
            default = place  # nobody gets beyond it
            break
        for scope in rule.recipients:
            places.setdefault(scope.lower().lstrip("@"), place)
    done: list[Action | None] = [*(rule.do for rule in holding), None]
    depth = max((scope.count(".") for scope in places if "@" not in scope), default=0)

    def configured(found: Verdict, recipient: str) -> Action | None:
        place = default
        for name in _names(recipient.strip("<> ").lower(), depth) if places else ():
            place = min(place, places.get(name, default))
        return done[place]

    return configured if holding else None


def _names(address: str, depth: int) -> Iterator[str]:
    """As `entry.names` has them, as far as they have at most so many dots: a long name costs no more."""
    yield address
    domain = address.rpartition("@")[2]
    at = domain.rfind(".")
    for _ in range(depth):
        if at < 0:
            return
        at = domain.rfind(".", 0, at)
        yield domain[at + 1 :]
