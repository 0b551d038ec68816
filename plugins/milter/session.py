"""The state of one milter connection, as a table. Sans-IO: bytes in, bytes out, and a mail to judge between.

    session = MilterSession(settings, classifier)
    out = session.receive(data)            # until `session.mail` is there: a whole mail waits for its verdict
    out = session.answer(verdict)
    out += session.receive(b"")            # and on with what has come in meanwhile

Rules:
1. A connection carries many mails, and after QUIT_NEW_CONNECTION those of another client. Nothing of a mail
   outlives it: `_Mail` is made anew at MAIL and gone at its end, at ABORT, and where the next MAIL comes
   without either.
2. A macro packet comes before the command that it belongs to. One for a stage forgets the later stages, as
   in libmilter; those of MAIL and later are forgotten with the mail. The queue id is one of them: Postfix
   knows it from the first recipient on.
3. Only a command without an agreed NO_REPLY step is answered, with CONTINUE; one answer too many would be
   taken for that of the next command. So a mail costs one wait, at its end, and one at MAIL where logins
   matter.
4. The mail that is judged is the one that the mail server read: headers in their order, with the blanks
   behind the colon where LEADING_SPACE was agreed on, lines ending in CR LF. The server's own Received line
   is not among them. What is beyond `max_bytes` is not kept: the beginning is judged.
5. Forged headers are deleted by their place among those of the same name, the last one first: in Postfix a
   deletion moves the others up, in Sendmail it does not.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Final

from filterd.api import Action as Do
from filterd.api import Classifier, Kind, Message, Verdict
from filterd.errors import DeadlineExceeded, FilterdError
from filterd.kit.fold import fold
from filterd_plugins.milter import rules, wire
from filterd_plugins.milter.rules import Envelope, MilterDecision, MilterSettings
from filterd_plugins.milter.wire import MilterAction, MilterCommand, MilterError, MilterStep, Offer, Packets

MAX_RECIPIENTS: Final = 10_000  # of one mail; Postfix takes 1,000 from a client
MAX_RECIPIENT_BYTES: Final = 1 << 20  # of all of them: each alone may have 64 KiB
# Headers of one mail that claim to be ours. Each is a deletion, for which the mail server reads all headers;
# a real mail has those of one or two filters, some ten.
MAX_FORGED: Final = 100
MAX_MACROS: Final = 200  # names of one stage; Postfix sends 10 at most unless told otherwise

TOO_MANY_RECIPIENTS: Final = "452 4.5.3 Too many recipients"
TOO_MANY_FORGED: Final = "554 5.6.0 Too many headers that only a spam filter writes"
QUARANTINED: Final = "held by filterd as spam"

_BARE_LF: Final = re.compile(rb"\r*\n")


class MilterState(Enum):
    """What a connection is at."""

    __hash__ = object.__hash__  # as that of MilterCommand

    START = auto()
    READY = auto()  # negotiated, no SMTP client yet
    IDLE = auto()  # a client, no mail
    ENVELOPE = auto()
    HEADERS = auto()
    BODY = auto()
    JUDGING = auto()
    CLOSED = auto()


_MAIL: Final = (MilterState.ENVELOPE, MilterState.HEADERS, MilterState.BODY)
_TALKING: Final = (MilterState.READY, MilterState.IDLE, *_MAIL)


def _table() -> dict[tuple[MilterState, MilterCommand], MilterState]:
    """Which command leads where; what is not in it is an error."""
    to: dict[tuple[MilterState, MilterCommand], MilterState] = {
        (MilterState.START, MilterCommand.NEGOTIATE): MilterState.READY,
        (MilterState.START, MilterCommand.QUIT): MilterState.CLOSED,
        (MilterState.READY, MilterCommand.CONNECT): MilterState.IDLE,
        (MilterState.READY, MilterCommand.ABORT): MilterState.READY,
        (MilterState.IDLE, MilterCommand.HELO): MilterState.IDLE,
        (MilterState.IDLE, MilterCommand.MAIL): MilterState.ENVELOPE,
        (MilterState.IDLE, MilterCommand.ABORT): MilterState.IDLE,
        (MilterState.ENVELOPE, MilterCommand.RCPT): MilterState.ENVELOPE,
        (MilterState.ENVELOPE, MilterCommand.DATA): MilterState.ENVELOPE,
        (MilterState.ENVELOPE, MilterCommand.HEADER): MilterState.HEADERS,
        (MilterState.HEADERS, MilterCommand.HEADER): MilterState.HEADERS,
        (MilterState.ENVELOPE, MilterCommand.END_OF_HEADERS): MilterState.BODY,
        (MilterState.HEADERS, MilterCommand.END_OF_HEADERS): MilterState.BODY,
    }
    for state in _MAIL:
        to[state, MilterCommand.MAIL] = MilterState.ENVELOPE
        to[state, MilterCommand.BODY] = MilterState.BODY
        to[state, MilterCommand.END_OF_BODY] = MilterState.JUDGING
        to[state, MilterCommand.ABORT] = MilterState.IDLE
    for state in _TALKING:
        to[state, MilterCommand.MACRO] = to[state, MilterCommand.UNKNOWN] = state
        to[state, MilterCommand.QUIT_NEW_CONNECTION] = MilterState.READY
        to[state, MilterCommand.QUIT] = MilterState.CLOSED
    return to


TRANSITIONS: Final[Mapping[tuple[MilterState, MilterCommand], MilterState]] = _table()

# Commands that are answered, unless the step was agreed on.
SILENCED_BY: Final[Mapping[MilterCommand, MilterStep]] = {
    MilterCommand.CONNECT: MilterStep.NO_REPLY_CONNECT,
    MilterCommand.HELO: MilterStep.NO_REPLY_HELO,
    MilterCommand.MAIL: MilterStep.NO_REPLY_MAIL,
    MilterCommand.RCPT: MilterStep.NO_REPLY_RCPT,
    MilterCommand.DATA: MilterStep.NO_REPLY_DATA,
    MilterCommand.UNKNOWN: MilterStep.NO_REPLY_UNKNOWN,
    MilterCommand.HEADER: MilterStep.NO_REPLY_HEADER,
    MilterCommand.END_OF_HEADERS: MilterStep.NO_REPLY_END_OF_HEADERS,
    MilterCommand.BODY: MilterStep.NO_REPLY_BODY,
}

# The order in which stages come; a macro packet for one forgets those behind it (rule 2).
_STAGES: Final = b"CHMRTLNBE"
_MAIL_STAGES: Final = _STAGES[_STAGES.index(b"M") :]
# What Postfix and Sendmail send with MAIL by default; a list of ours takes its place.
_USUAL_MACROS: Final = ("i", "{auth_type}", "{auth_authen}", "{auth_author}", "{mail_addr}", "{mail_host}")


class _Mail:
    """One mail while it comes in, bounded by `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes
        self.raw = bytearray()
        self.whole = True  # nothing was left out for want of room
        self.in_body = False
        self.recipient_bytes = 0
        self.forged: dict[bytes, tuple[bytes, int]] = {}  # by lower-case name: as written first, how many
        self.submitted = (
            False  # by somebody who has logged in: it is not judged, only its recipients are noted
        )
        self.refused = ""  # a reply that was decided on before any verdict
        self.crowded = False  # it was given up for want of memory

    def add(self, data: bytes) -> None:
        self.whole = self.whole and len(data) <= self._room
        self.raw += data[: self._room]
        self._room = max(0, self._room - len(data))

    def give_up(self) -> None:
        self.raw.clear()
        self._room, self.crowded = 0, True

    def add_forged(self, name: bytes) -> None:
        first, number = self.forged.get(name.lower(), (name, 0))
        self.forged[name.lower()] = (first, number + 1)
        if sum(number for _, number in self.forged.values()) > MAX_FORGED:
            self.refused = TOO_MANY_FORGED
            self.forged.clear()

    def end_headers(self) -> None:
        if not self.in_body:
            self.in_body = True
            self.add(b"\r\n")


class MilterSession:
    """One connection with a mail server. `receive` raises MilterError."""

    def __init__(self, settings: MilterSettings, classifier: Classifier) -> None:
        self.state = MilterState.START
        self.mail: Message | None = None  # a whole mail that waits for its verdict
        self._settings, self._classifier = settings, classifier
        self._packets = Packets()
        self._steps = MilterStep(0)
        self._envelope = Envelope()
        self._macros: dict[bytes, dict[str, str]] = {}  # by stage
        self._coming = _Mail(0)

    @property
    def waiting(self) -> int:
        """Bytes that came in and were not looked at."""
        return len(self._packets)

    @property
    def held(self) -> int:
        """Bytes that are kept of what came in."""
        return len(self._packets) + len(self._coming.raw)

    @property
    def crowded(self) -> bool:
        """Whether the mail was given up: it cannot be judged."""
        return self._coming.crowded

    def give_up(self) -> bool:
        """Keep nothing of the mail that comes in, to its end. False where none does: what is judged stays."""
        if self.state in _MAIL:
            self._coming.give_up()
        return self.state in _MAIL

    def receive(self, data: bytes) -> bytes:
        """Take what came in; what to send for it. Where a mail waits for its verdict the rest waits too."""
        self._packets.feed(data)
        return self._advance()

    def answer(self, outcome: Verdict | FilterdError) -> bytes:
        """End the mail that waits with a verdict, or with what kept it from being judged."""
        return self.conclude(self.decide(outcome))

    def decide(self, outcome: Verdict | FilterdError) -> MilterDecision:
        """What is to be done to the mail that waits."""
        if isinstance(outcome, Verdict) and outcome.available:
            return rules.decide(self._settings, self._envelope, outcome)
        if isinstance(outcome, Verdict):
            return rules.unjudged(self._settings, outcome, DeadlineExceeded("not judged"))
        return rules.unjudged(self._settings, Verdict.unavailable(Kind.MAIL), outcome)

    def conclude(self, decision: MilterDecision) -> bytes:
        """Do it; what to send for that."""
        return self._finished(self._said(decision))

    def _advance(self) -> bytes:
        out: list[bytes] = []
        while self.state not in {MilterState.JUDGING, MilterState.CLOSED} and (found := self._packets.next()):
            out.append(self._take(*found))
        return b"".join(out)

    def _take(self, command: MilterCommand, data: bytes) -> bytes:
        state = TRANSITIONS.get((self.state, command))
        if state is None:
            raise MilterError(f"{command.name} has no place here (state {self.state.name})")
        self.state = state
        handler = _HANDLERS.get(command)
        said = handler(self, data) if handler else None
        if said is not None:
            return said
        silenced_by = SILENCED_BY.get(command)
        return b"" if silenced_by is None or silenced_by in self._steps else wire.CONTINUE

    # Commands: each returns its answer, or None for the usual one.

    def _on_negotiate(self, data: bytes) -> bytes:
        offer = wire.read_offer(data)
        if offer.version < wire.OLDEST:
            raise MilterError(f"milter protocol {offer.version}; this is {wire.OLDEST} to {wire.VERSION}")
        actions = self._actions(offer)
        self._steps = MilterStep(self._wanted_steps & offer.steps)
        macros = {}
        if MilterAction.SET_MACROS in actions:
            names = [name if len(name) == 1 else f"{{{name}}}" for name in self._settings.macros]
            macros[wire.STAGE_MAIL] = " ".join(dict.fromkeys([*_USUAL_MACROS, *names]))
        return wire.negotiate(
            Offer(version=min(offer.version, wire.VERSION), actions=actions, steps=self._steps), macros
        )

    def _actions(self, offer: Offer) -> MilterAction:
        needed = MilterAction.ADD_HEADERS | MilterAction.CHANGE_HEADERS
        if self._settings.may_quarantine:
            needed |= MilterAction.QUARANTINE
        missing = needed & ~MilterAction(offer.actions & needed)
        if missing:
            raise MilterError(f"the mail server does not allow {missing.name}, which is needed")
        return needed | (
            MilterAction.SET_MACROS & offer.actions if self._settings.macros else MilterAction(0)
        )

    @property
    def _wanted_steps(self) -> MilterStep:
        steps = (
            *(MilterStep.NO_HELO, MilterStep.NO_DATA, MilterStep.NO_UNKNOWN, MilterStep.NO_END_OF_HEADERS),
            *(MilterStep.NO_REPLY_HEADER, MilterStep.NO_REPLY_RCPT, MilterStep.NO_REPLY_BODY),
            *(MilterStep.LEADING_SPACE, MilterStep.LARGE_PACKETS),
        )
        wanted = MilterStep(0)
        for step in steps:
            wanted |= step
        if not self._settings.skip_networks:
            wanted |= MilterStep.NO_REPLY_CONNECT
        if not self._settings.skip_authenticated:
            wanted |= MilterStep.NO_REPLY_MAIL
        return wanted

    def _on_macro(self, data: bytes) -> None:
        stage, macros = wire.read_macros(data)
        if len(macros) > MAX_MACROS:
            raise MilterError(f"more than {MAX_MACROS} macros at once")
        place = _STAGES.find(stage)
        if place >= 0:
            self._drop_macros(_STAGES[place:])
            self._macros[stage] = macros

    def _drop_macros(self, stages: bytes) -> None:
        for stage in list(self._macros):
            if stage in stages:
                del self._macros[stage]

    def _macro_values(self) -> dict[str, str]:
        known: dict[str, str] = {}
        for stage in sorted(self._macros, key=_STAGES.index):
            known |= self._macros[stage]
        return known

    def _on_connect(self, data: bytes) -> bytes | None:
        self._envelope = Envelope(wire.read_client(data))
        if rules.comes_from(self._envelope.client, self._settings.skip_networks):
            return wire.ACCEPT
        return None

    def _on_mail(self, data: bytes) -> bytes | None:
        self._drop_macros(_MAIL_STAGES[1:])
        sender = _address(wire.read_strings(data))
        self._envelope = Envelope(self._envelope.client, sender, macros=self._macro_values())
        self._coming = _Mail(self._settings.max_bytes)
        if self._settings.skip_authenticated and self._envelope.authenticated:
            if self._classifier.notes_submissions:  # to whom it goes is not known yet
                self._coming = _Mail(0)
                self._coming.submitted = True
                return None
            self._forget_mail()
            self.state = MilterState.IDLE
            return wire.ACCEPT
        return None

    def _on_rcpt(self, data: bytes) -> None:
        recipients = self._envelope.recipients
        self._coming.recipient_bytes += len(data)
        if len(recipients) < MAX_RECIPIENTS and self._coming.recipient_bytes <= MAX_RECIPIENT_BYTES:
            recipients.append(_address(wire.read_strings(data)))
        elif not self._coming.submitted:
            self._coming.refused = TOO_MANY_RECIPIENTS

    def _on_header(self, data: bytes) -> None:
        name, value = wire.read_header(data)
        blank = b"" if MilterStep.LEADING_SPACE in self._steps else b" "
        self._coming.add(b"%b:%b%b\r\n" % (name, blank, _BARE_LF.sub(b"\r\n", value)))
        if not self._coming.submitted and self._classifier.is_ours(name.decode("latin-1")):
            self._coming.add_forged(name)

    def _on_end_of_headers(self, data: bytes) -> None:
        self._coming.end_headers()

    def _on_body(self, data: bytes) -> None:
        self._coming.end_headers()
        self._coming.add(data)

    def _on_end_of_body(self, data: bytes) -> bytes:
        self._on_body(data)
        self._envelope.macros = macros = self._macro_values()
        if self._coming.refused:
            return self._finished(wire.reply(self._coming.refused))
        envelope = self._envelope
        if envelope.authenticated and self._classifier.notes_submissions:
            self._classifier.wrote(envelope.sender, envelope.recipients)
        if self._coming.submitted:
            return self._finished(wire.ACCEPT)
        self.mail = Message(
            bytes(self._coming.raw),
            kind=Kind.MAIL,
            id=macros.get("i", ""),
            sender=envelope.sender,
            recipients=tuple(envelope.recipients),
            source="milter",
            way=rules.way(self._settings, envelope, whole=self._coming.whole),
            login=macros.get("auth_authen", ""),
        )
        return b""

    def _finished(self, said: bytes) -> bytes:
        self._forget_mail()
        self.state = MilterState.IDLE
        return said

    def _on_abort(self, data: bytes) -> None:
        self._forget_mail()

    def _on_new_connection(self, data: bytes) -> None:
        self._forget_mail()
        self._envelope = Envelope()
        self._macros.clear()

    def _forget_mail(self) -> None:
        self.mail = None
        self._coming = _Mail(0)
        self._envelope = Envelope(self._envelope.client)
        self._drop_macros(_MAIL_STAGES)

    # What is done to a mail.

    def _said(self, decision: MilterDecision) -> bytes:
        match decision.do:
            case Do.DISCARD:
                return wire.DISCARD
            case Do.QUARANTINE if self._settings.quarantine == "filterd":
                return wire.DISCARD  # filterd has it
            case Do.REJECT | Do.TEMPFAIL:
                return wire.reply(decision.reply)
            case Do.ACCEPT:
                return self._deletions() + wire.ACCEPT
            case Do.TAG | Do.MOVE:
                return self._deletions() + self._insertions(decision.verdict) + wire.ACCEPT
            case Do.QUARANTINE:
                held = wire.quarantine(QUARANTINED)
                return self._deletions() + self._insertions(decision.verdict) + held + wire.ACCEPT

    def _deletions(self) -> bytes:
        forged = self._coming.forged.values()
        return b"".join(
            wire.delete_header(place, name) for name, number in forged for place in range(number, 0, -1)
        )

    def _insertions(self, verdict: Verdict) -> bytes:
        blank = " " if MilterStep.LEADING_SPACE in self._steps else ""
        return b"".join(
            wire.insert_header(0, name, blank + _folded(name, value))
            for name, value in reversed(self._classifier.headers(verdict))
        )


_HANDLERS: Final[Mapping[MilterCommand, Callable[[MilterSession, bytes], bytes | None]]] = {
    MilterCommand.NEGOTIATE: MilterSession._on_negotiate,
    MilterCommand.MACRO: MilterSession._on_macro,
    MilterCommand.CONNECT: MilterSession._on_connect,
    MilterCommand.MAIL: MilterSession._on_mail,
    MilterCommand.RCPT: MilterSession._on_rcpt,
    MilterCommand.HEADER: MilterSession._on_header,
    MilterCommand.END_OF_HEADERS: MilterSession._on_end_of_headers,
    MilterCommand.BODY: MilterSession._on_body,
    MilterCommand.END_OF_BODY: MilterSession._on_end_of_body,
    MilterCommand.ABORT: MilterSession._on_abort,
    MilterCommand.QUIT_NEW_CONNECTION: MilterSession._on_new_connection,
}


def _address(arguments: list[bytes]) -> str:
    """The address of MAIL or RCPT, without its brackets; ESMTP arguments follow it."""
    return wire.text(arguments[0]).removeprefix("<").removesuffix(">")


def _folded(name: str, value: str) -> str:
    """A value as lines that end in LF, as milters and mail servers agree."""
    return fold(name, value).removeprefix(f"{name}:").removeprefix(" ").removesuffix("\n")
