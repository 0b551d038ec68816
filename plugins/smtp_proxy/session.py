"""What a client may say when, and what has to happen for it: states as a table, no I/O.

                 HELO/EHLO/LHLO         MAIL           RCPT            DATA
        START ------------------> READY ------> MAIL ------> RCPT ------------> (message) --> READY
                                    ^             |            |
                                    +--- RSET, EHLO, a reply that ends the mail

Rules:
1. A command changes the state by the reply it gets, not by being said; the next hop gives most replies.
2. What is offered at EHLO is what the next hop offers, as far as we can pass it on; parameters of an
   extension that was not offered are refused, so that nothing which is promised to a sender gets lost.
3. XFORWARD and XCLIENT say who the client's client is; from whom we do not trust they are lies.
4. The session never sees the message. The server reads it, has it judged and carries out what `policy` says.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from filterd_plugins.smtp_proxy.settings import Language
from filterd_plugins.smtp_proxy.wire import Reply, SmtpCommand, SmtpPath, WireError, parse_envelope

MAX_ERRORS = 20  # of a client that is no mail server; Postfix's smtpd_hard_error_limit
# Bytes of a next hop's SIZE that are kept for our headers, so that a mail which was let in is not refused
# for being larger than announced; they take some 600.
SIZE_HEADROOM = 4096

OK = Reply.of("250 2.0.0 Ok")
GREET_FIRST = "503 5.5.1 Say {} first"
_HOST = re.compile(rb"[!-~\x80-\xff]{1,255}")


class SmtpState(Enum):
    """Where a client is."""

    START = auto()  # before EHLO, and again after STARTTLS and XCLIENT
    READY = auto()
    MAIL = auto()
    RCPT = auto()


class SmtpStep(Enum):
    """What to do for a command."""

    ANSWER = auto()  # nothing but say the reply
    HELLO = auto()  # greet the next hop, then answer by what it can do
    MAIL = auto()  # as RELAY; a next hop that went away meanwhile is looked for again
    RELAY = auto()  # pass it to the next hop, and its reply to the client
    RESET = auto()
    DATA = auto()
    STARTTLS = auto()
    QUIT = auto()


ANY = frozenset(SmtpState)
GREETED = frozenset(SmtpState) - {SmtpState.START}
COMMANDS: Mapping[str, tuple[SmtpStep, frozenset[SmtpState]]] = {
    "HELO": (SmtpStep.HELLO, ANY),
    "EHLO": (SmtpStep.HELLO, ANY),
    "LHLO": (SmtpStep.HELLO, ANY),
    "STARTTLS": (SmtpStep.STARTTLS, frozenset({SmtpState.READY})),
    "XCLIENT": (SmtpStep.RELAY, frozenset({SmtpState.READY})),
    "XFORWARD": (SmtpStep.RELAY, frozenset({SmtpState.READY})),
    "MAIL": (SmtpStep.MAIL, frozenset({SmtpState.READY})),
    "RCPT": (SmtpStep.RELAY, frozenset({SmtpState.MAIL, SmtpState.RCPT})),
    "DATA": (SmtpStep.DATA, frozenset({SmtpState.RCPT})),
    "RSET": (SmtpStep.RESET, ANY),
    "NOOP": (SmtpStep.ANSWER, ANY),
    "VRFY": (SmtpStep.ANSWER, ANY),
    "QUIT": (SmtpStep.QUIT, ANY),
}
# After a positive reply. What is not here changes nothing.
AFTER: Mapping[str, SmtpState] = {
    "HELO": SmtpState.READY,
    "EHLO": SmtpState.READY,
    "LHLO": SmtpState.READY,
    "XCLIENT": SmtpState.START,
    "STARTTLS": SmtpState.START,
    "MAIL": SmtpState.MAIL,
    "RCPT": SmtpState.RCPT,
}
GREETINGS: Mapping[Language, frozenset[str]] = {
    "smtp": frozenset({"HELO", "EHLO"}),
    "lmtp": frozenset({"LHLO"}),  # RFC 2033 4.1: an LMTP server knows neither HELO nor EHLO
}
BEFORE_TLS = {"EHLO", "LHLO", "HELO", "NOOP", "STARTTLS", "QUIT"}  # RFC 3207 4
# Which extension a parameter belongs to: RFC 1870, 6152, 6531, 3461.
MAIL_PARAMETERS = {"SIZE": "SIZE", "BODY": "8BITMIME", "SMTPUTF8": "SMTPUTF8", "RET": "DSN", "ENVID": "DSN"}
RCPT_PARAMETERS = {"NOTIFY": "DSN", "ORCPT": "DSN"}
PASSED_ON = ("8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
BODIES = {b"7BIT", b"8BITMIME"}  # BINARYMIME needs CHUNKING (RFC 3030), which is not offered


class RefusedCommand(WireError):
    """A command that is answered at once and not carried out."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Limits:
    """What the session says no to. recipients: of one mail. size: bytes of one mail."""

    size: int
    recipients: int


class SmtpSession:
    """One client's connection. language: what the client speaks."""

    def __init__(
        self, language: Language, name: str, limits: Limits, *, trusted: bool, tls: bool, tls_required: bool
    ) -> None:
        self.language, self.name, self.limits = language, name, limits
        self.trusted = trusted
        self.state = SmtpState.START
        self.errors = 0
        self.extended = False
        self.secured = False
        self.client_name = b""
        self.extensions: dict[str, bytes] = {}
        self.forwarded: list[
            SmtpCommand
        ] = []  # XFORWARD of the mail to come: a new connection needs it again
        self.login = ""  # by XCLIENT of a trusted client: whom the mail server has let log in
        self.impersonated = False  # XCLIENT was used: no new connection can stand in for this one
        self._tls, self._tls_required = tls, tls_required
        self._passes_size = False
        self._forget_mail()

    def _forget_mail(self) -> None:
        self.sender: SmtpPath | None = None
        self.recipients: list[SmtpPath] = []
        self._asked: SmtpPath | None = None

    def step(self, command: SmtpCommand) -> SmtpStep:
        """What to do for a command. Raises WireError where it is answered at once."""
        found = COMMANDS.get(command.verb)
        greetings = GREETINGS[self.language]
        if not found or (found[0] is SmtpStep.HELLO and command.verb not in greetings):
            raise RefusedCommand("500 5.5.2 Command not recognised")
        step, states = found
        if self._tls_required and not self.secured and command.verb not in BEFORE_TLS:
            raise RefusedCommand("530 5.7.0 Say STARTTLS first")
        if self.state not in states:
            raise RefusedCommand(self._out_of_order(command.verb))
        self._check(command)
        return step

    def _out_of_order(self, verb: str) -> str:
        if self.state is SmtpState.START:
            return GREET_FIRST.format("LHLO" if self.language == "lmtp" else "EHLO")
        if verb == "MAIL":
            return "503 5.5.1 A mail is under way already"
        if verb == "DATA" and self.state is SmtpState.MAIL:
            return "554 5.5.1 No valid recipients"
        return f"503 5.5.1 {verb} comes at another time"

    def _check(self, command: SmtpCommand) -> None:
        argument = command.argument
        if command.verb in {"RSET", "DATA", "QUIT", "STARTTLS"} and argument:
            raise RefusedCommand("501 5.5.4 No parameters allowed")
        if command.verb in AFTER and AFTER[command.verb] is SmtpState.READY and not _HOST.fullmatch(argument):
            raise RefusedCommand(f"501 5.5.4 Write {command.verb} and a host name")
        if command.verb in {"XCLIENT", "XFORWARD"}:
            self._check_trust(command.verb)
        if command.verb == "STARTTLS" and (not self._tls or self.secured):
            raise RefusedCommand("502 5.5.1 TLS is not available")
        if command.verb == "MAIL":
            self._asked = parse_envelope(argument, b"FROM")
            self._check_parameters(self._asked, MAIL_PARAMETERS)
            self._check_mail(self._asked)
        if command.verb == "RCPT":
            self._asked = parse_envelope(argument, b"TO")
            self._check_parameters(self._asked, RCPT_PARAMETERS)
            self._check_recipient(self._asked)

    def _check_trust(self, verb: str) -> None:
        if not self.trusted:
            raise RefusedCommand(f"550 5.7.0 {verb} is for trusted networks only")
        if verb not in self.extensions:
            raise RefusedCommand(f"502 5.5.1 The next hop does not know {verb}")

    def _check_parameters(self, envelope: SmtpPath, known: Mapping[str, str]) -> None:
        for name in envelope.parameters:
            if not self.extended or known.get(name) not in self.extensions:
                raise RefusedCommand(f"555 5.5.4 Parameter {name} not supported")

    def _check_mail(self, envelope: SmtpPath) -> None:
        given = envelope.parameters
        if "BODY" in given and (given["BODY"] or b"").upper() not in BODIES:
            raise RefusedCommand("501 5.5.4 BODY is 7BIT or 8BITMIME")
        if given.get("SMTPUTF8") is not None:
            raise RefusedCommand("501 5.5.4 SMTPUTF8 takes no value")
        if "SIZE" in given:
            size = given["SIZE"] or b""
            if not size.isdigit() or len(size) > 20:  # RFC 1870 4
                raise RefusedCommand("501 5.5.4 SIZE is a number of bytes")
            if int(size) > self.size:
                raise RefusedCommand(f"552 5.3.4 Message too large, at most {self.size} bytes")
        self._check_ascii(envelope, utf8="SMTPUTF8" in given)

    def _check_recipient(self, envelope: SmtpPath) -> None:
        if not envelope.address:
            raise RefusedCommand("501 5.1.3 A recipient has an address")
        utf8 = bool(self.sender and "SMTPUTF8" in self.sender.parameters)
        self._check_ascii(envelope, utf8=utf8)
        if len(self.recipients) >= self.limits.recipients:
            raise RefusedCommand("452 4.5.3 Too many recipients, send the others another time")

    @staticmethod
    def _check_ascii(envelope: SmtpPath, *, utf8: bool) -> None:
        if not envelope.address.isascii() and not utf8:
            raise RefusedCommand("553 5.6.7 An address outside ASCII needs SMTPUTF8")

    @property
    def size(self) -> int:
        """Bytes that a mail may have: ours, or less where the next hop takes less."""
        theirs = self.extensions.get("SIZE", b"")
        limit = int(theirs) - SIZE_HEADROOM if theirs.isdigit() and len(theirs) < 20 else 0
        return min(self.limits.size, limit) if limit > 0 else self.limits.size

    @property
    def replies(self) -> int:
        """How many replies the message gets: LMTP one for each recipient (RFC 2033 4.2)."""
        return len(self.recipients) if self.language == "lmtp" else 1

    def onward(self, command: SmtpCommand) -> SmtpCommand:
        """The command as the next hop gets it."""
        if command.verb not in {"MAIL", "RCPT"} or not self._asked:
            return command
        keyword = b"FROM" if command.verb == "MAIL" else b"TO"
        kept = dict(self._asked.parameters)
        if not self._passes_size:
            kept.pop("SIZE", None)
        return SmtpCommand(command.verb, SmtpPath(self._asked.address, kept).encode(keyword))

    def hello(self, command: SmtpCommand, theirs: Mapping[str, bytes]) -> Reply:
        """The answer to EHLO, LHLO or HELO, once the next hop has said what it can do."""
        self.client_name = command.argument
        self.extended = command.verb != "HELO"
        self.extensions = {name: theirs[name] for name in PASSED_ON if name in theirs}
        self.extensions["SIZE"] = theirs.get("SIZE", b"")  # ours in any case
        self._passes_size = "SIZE" in theirs
        if self.trusted:
            self.extensions |= {name: theirs[name] for name in ("XFORWARD", "XCLIENT") if name in theirs}
        name = self.name.encode()
        if not self.extended:
            return Reply(250, (name,))
        offered = self.extensions | {"SIZE": b"%d" % self.size, "PIPELINING": b""}
        if self._tls and not self.secured:
            offered["STARTTLS"] = b""
        lines = [key.encode() + (b" " + value if value else b"") for key, value in offered.items()]
        return Reply(250, (name, *lines))

    def answer(self, command: SmtpCommand) -> Reply:
        """The reply to a command that needs nobody else."""
        if command.verb == "VRFY":
            return Reply.of("252 2.5.2 Cannot tell; send it and see")
        return OK

    def answered(self, command: SmtpCommand, reply: Reply) -> None:
        """Take over what a command's reply changes."""
        if not reply.positive:
            return
        if command.verb in GREETINGS[self.language] or command.verb in {"XCLIENT", "STARTTLS"}:
            self._forget_mail()
        self.state = AFTER.get(command.verb, self.state)
        if command.verb == "MAIL":
            self.sender = self._asked
        elif command.verb == "RCPT" and self._asked:
            self.recipients.append(self._asked)
        elif command.verb == "XFORWARD":
            self.forwarded.append(command)
        elif command.verb == "XCLIENT":
            self.impersonated = True
            self.login = _login(command.argument)
        elif command.verb == "STARTTLS":
            self._start_over()

    def _start_over(self) -> None:
        """RFC 3207 4.2: what was said without encryption counts for nothing."""
        self.secured, self.extended = True, False
        self.client_name, self.extensions, self.forwarded = b"", {}, []

    def reset(self) -> None:
        """A mail has ended, or RSET."""
        self._forget_mail()
        self.forwarded = []
        if self.state is not SmtpState.START:
            self.state = SmtpState.READY

    def wrong(self) -> bool:
        """Count an error; True where it was one too many."""
        self.errors += 1
        return self.errors >= MAX_ERRORS


def _login(argument: bytes) -> str:
    """The attribute LOGIN of XCLIENT, still encoded (xtext); "" where there is none."""
    for word in argument.split(b" "):
        name, _, value = word.partition(b"=")
        if name.upper() == b"LOGIN" and value.upper() not in {b"[UNAVAILABLE]", b"[TEMPUNAVAIL]"}:
            return value.decode("ascii", "replace")
    return ""
