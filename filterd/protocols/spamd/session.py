"""What a request asks for, and what came of it as the bytes of an answer; recorded from spamd 4.0.1.

    SPAMD/1.1 0 EX_OK CRLF  [Content-length: n CRLF]  [Spam: True ; 15.0 / 5.0 CRLF]  CRLF  [body]

Which of the two headers an answer has depends on the command and the client's version (`LAYOUTS`). What must
not change: Exim reads them with a case-sensitive sscanf, so order, case and blanks are part of the protocol,
and it calls spam whatever has points >= the threshold, so ham is never shown with 5.0.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from filterd import __version__
from filterd.api import Classifier, Label, Verdict
from filterd.errors import FilterdError
from filterd.protocols.spamd.wire import SpamdCommand, SpamdError, SpamdRequest
from filterd.reasons import reason
from filterd.scoring.points import POINTS_AT_SPAM, shown_points

PONG = b"SPAMD/1.5 0 PONG\r\n"
OK = b"SPAMD/1.1 0 EX_OK\r\n"
OK_BARE = b"SPAMD/1.0 0 EX_OK\r\n"  # with a mail straight behind it: clients before 1.2 know no headers
NEVER = float("inf")  # clients of no version get this header
MAX_REASON = 400  # characters of an error's text; spamc has 1,024 for the line

Body = Callable[[Verdict, SpamdRequest, Classifier], bytes]

_UNPRINTABLE = re.compile(r"[^ -~]+")
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
# How spamd begins the text of an error; the number is the error's own.
_PHRASES = {69: "Service Unavailable", 75: "Temporary failure", 76: "Bad header line", 79: "Timeout"}


class SpamdStep(Enum):
    """What to do before a request can be answered."""

    CLOSE = auto()  # nothing, not even an answer
    PONG = auto()
    JUDGE = auto()
    LEARN = auto()
    FORGET = auto()
    NOTHING = auto()  # a TELL that asks for nothing that we do


STEPS: Mapping[SpamdCommand, SpamdStep] = {
    SpamdCommand.SKIP: SpamdStep.CLOSE,
    SpamdCommand.PING: SpamdStep.PONG,
} | dict.fromkeys(
    (
        SpamdCommand.CHECK,
        SpamdCommand.SYMBOLS,
        SpamdCommand.REPORT,
        SpamdCommand.REPORT_IFSPAM,
        SpamdCommand.PROCESS,
        SpamdCommand.HEADERS,
    ),
    SpamdStep.JUDGE,
)

# TELL by whether "local" is in Set and in Remove. "remote" reports to services that filterd has not.
TELL_STEPS: Mapping[tuple[bool, bool], SpamdStep] = {
    (True, False): SpamdStep.LEARN,
    (False, True): SpamdStep.FORGET,
    (False, False): SpamdStep.NOTHING,
}


def step(request: SpamdRequest) -> SpamdStep:
    """What a request asks for. Raises SpamdError where it contradicts itself."""
    if request.command is not SpamdCommand.TELL:
        return STEPS[request.command]
    asked = TELL_STEPS.get(("local" in request.set, "local" in request.remove))
    if asked is None:
        raise SpamdError("Unable to set local and remove local in the same operation.")
    if asked is SpamdStep.LEARN and not request.message_class:
        raise SpamdError("(Set: local needs a Message-class, spam or ham)")
    return asked


@dataclass(frozen=True, slots=True)
class AnswerLayout:
    """An answer's form: its body, the client versions from which it has each header, and its two words."""

    body: Body
    length_since: float
    spam_since: float = 0.0
    words: tuple[str, str] = ("False", "True")


def _nothing(verdict: Verdict, request: SpamdRequest, classifier: Classifier) -> bytes:
    return b""


def _symbols(verdict: Verdict, request: SpamdRequest, classifier: Classifier) -> bytes:
    names = _UNPRINTABLE.sub("?", ",".join(verdict.tests)).encode("ascii")
    return names if request.version >= 1.3 else names + b"\r\n"


def _report(verdict: Verdict, request: SpamdRequest, classifier: Classifier) -> bytes:
    return report(verdict).encode("ascii")


def _report_if_spam(verdict: Verdict, request: SpamdRequest, classifier: Classifier) -> bytes:
    return report(verdict).encode("ascii") if verdict.label is Label.SPAM else b""


def _mail(verdict: Verdict, request: SpamdRequest, classifier: Classifier) -> bytes:
    return classifier.tag(request.body, verdict)


def _headers(verdict: Verdict, request: SpamdRequest, classifier: Classifier) -> bytes:
    tagged = classifier.tag(request.body, verdict)
    blank = _BLANK_LINE.search(tagged)
    return tagged[: blank.end()] if blank else tagged


LAYOUTS: Mapping[SpamdCommand, AnswerLayout] = {
    SpamdCommand.CHECK: AnswerLayout(_nothing, NEVER),
    SpamdCommand.SYMBOLS: AnswerLayout(_symbols, 1.3),
    SpamdCommand.REPORT: AnswerLayout(_report, 1.3),
    SpamdCommand.REPORT_IFSPAM: AnswerLayout(_report_if_spam, 1.3, words=("No", "Yes")),
    SpamdCommand.PROCESS: AnswerLayout(_mail, 1.2, spam_since=1.3),
    SpamdCommand.HEADERS: AnswerLayout(_headers, 1.2, spam_since=1.3),
}


def judged(request: SpamdRequest, verdict: Verdict, classifier: Classifier) -> bytes:
    """The whole answer to a request that was judged; the classifier tags the mail where it goes back."""
    layout = LAYOUTS[request.command]
    body = layout.body(verdict, request, classifier)
    headers = []
    if request.version >= layout.length_since:
        headers.append(f"Content-length: {len(body)}\r\n")
    if request.version >= layout.spam_since:
        word = layout.words[verdict.label is Label.SPAM]
        headers.append(f"Spam: {word} ; {shown_points(verdict.points)} / {POINTS_AT_SPAM:.1f}\r\n")
    if not headers:
        return OK_BARE + body
    return b"".join((OK, "".join(headers).encode("ascii"), b"\r\n", body))


def told(*, did_set: bool = False, did_remove: bool = False) -> bytes:
    """The answer to TELL: what was done, if anything; it ends with two blank lines, as spamd's does."""
    done = b"DidSet: local\r\n" * did_set + b"DidRemove: local\r\n" * did_remove
    return OK + done + b"\r\n\r\n"


def failed(error: FilterdError) -> bytes:
    """An error as the one line that spamd would say it in."""
    # No blank line after it, as in spamd: with one, `spamc -L` takes a refusal for "was already learned".
    phrase = _PHRASES.get(error.spamd_code, "Error")
    said = _UNPRINTABLE.sub(" ", str(error))[:MAX_REASON]
    return f"SPAMD/1.0 {error.spamd_code} {phrase}: {said}\r\n".encode("ascii")


def report(verdict: Verdict) -> str:
    """A verdict for people, ASCII; it says nothing that the sender wrote, so that it may go into a header."""
    if not verdict.available:
        return "filterd could not judge this message and let it through unjudged.\n"
    found = {Label.SPAM: "is spam", Label.HAM: "is not spam", Label.UNSURE: "may be spam"}[verdict.label]
    lines = [
        f"filterd {__version__} thinks that this message {found}.",
        "",
        f"  probability of spam  {verdict.probability:.4f}",
        f"  points               {shown_points(verdict.points)} ({POINTS_AT_SPAM:.1f} make it spam)",
    ]
    if verdict.answer:
        lines = [f"filterd {__version__} says of this message: {verdict.answer.text}", ""]
    lines += [
        f"  tests                {', '.join(verdict.tests) or 'none'}",
        f"  model                {verdict.model or 'none'}",
    ]
    likeliest = sorted(verdict.classes.items(), key=lambda item: -item[1])
    lines += [f"  class {name:<14} {share:.4f}" for name, share in likeliest]
    if not verdict.answer:
        lines += ["", *(f"  - {one.say()}" for one in reason.of(verdict)[1:])]
    return "".join(_UNPRINTABLE.sub("?", line) + "\n" for line in lines)
