"""What becomes of a message that has come in: judged, and acted on by the settings.

Rules:
1. "250" after a message is the next hop's own (or filterd has kept it, or a discard is asked
   for). Whatever fails between the client's last dot and that reply is answered 4xx, and the client
   keeps its mail.
2. Where the next hop is not to have the mail, it is told so with RSET before the client is answered.
3. Replies come as a list: one, or for LMTP one for each recipient in their order (RFC 2033 4.2).
"""

import asyncio
import contextlib
import logging
import secrets
from typing import Any

from filterd.api import Action, Classifier, Kind, Message, Verdict, Way
from filterd.errors import FilterdError, Overloaded
from filterd_plugins.smtp_proxy import policy
from filterd_plugins.smtp_proxy.nexthop import NextHop, NextHopError
from filterd_plugins.smtp_proxy.session import SmtpSession
from filterd_plugins.smtp_proxy.settings import ProxySettings
from filterd_plugins.smtp_proxy.wire import DataParser, MessageProblem, Reply, SmtpCommand, SmtpPath

BARE = Reply.of("550 5.5.2 Message has a CR or LF by itself; lines end in CR LF")
NO_ROOM = Overloaded("too many bytes of mail are in memory; see queue.max_bytes")
NO_QUARANTINE = Reply.of("451 4.3.0 Quarantine is not available")
AT_ONCE_BYTES = 64 << 10  # of a mail that the event loop itself tags, as for spamd: 0.2 ms at most

log = logging.getLogger("filterd.smtp_proxy")


class Delivery:
    """Takes messages on behalf of all connections; keeps nothing between two."""

    def __init__(self, settings: ProxySettings, classifier: Classifier) -> None:
        self._settings, self._classifier = settings, classifier
        self._way = policy.way(settings)

    async def settle(self, talk: SmtpSession, hop: NextHop, data: DataParser) -> list[Reply]:
        """The replies to a message that has come in whole. Raises NextHopError where nobody has it."""
        if data.problem is MessageProblem.BARE_NEWLINE:
            return await self._instead(talk, hop, BARE)
        if data.problem is MessageProblem.TOO_LARGE:
            large = Reply.of(f"552 5.3.4 Message too large, at most {talk.size} bytes")
            return await self._instead(talk, hop, large)
        if data.problem is MessageProblem.NO_ROOM:
            return await self._instead(talk, hop, _later(NO_ROOM))
        message = _message(talk, data.content, self._way)
        try:
            verdict = await self._classifier.check(message)
        except FilterdError as error:
            if self._settings.on_error == "tempfail":
                return await self._instead(talk, hop, _later(error))
            verdict = Verdict.unavailable(Kind.MAIL)
        except Exception:
            log.exception("judging failed")
            if self._settings.on_error == "tempfail":
                return await self._instead(talk, hop, Reply.of(FilterdError.smtp_reply))
            verdict = Verdict.unavailable(Kind.MAIL)
        decision = policy.decide(verdict, self._settings)
        replies = await self._act(talk, hop, data.content, verdict, decision)
        if talk.login and self._classifier.notes_submissions and any(one.positive for one in replies):
            self._classifier.wrote(message.sender, message.recipients)
        _note(message, verdict, decision.action, replies)
        return replies

    @staticmethod
    async def _instead(talk: SmtpSession, hop: NextHop, reply: Reply) -> list[Reply]:
        """A reply of our own (rule 2)."""
        with contextlib.suppress(NextHopError):  # it has nothing to forget then
            await hop.command(SmtpCommand("RSET"))
        return [reply] * talk.replies

    async def _act(
        self, talk: SmtpSession, hop: NextHop, content: bytes, verdict: Verdict, decision: policy.SmtpDecision
    ) -> list[Reply]:
        if decision.reply:
            return await self._instead(talk, hop, decision.reply)
        if len(content) > AT_ONCE_BYTES:
            tagged = await asyncio.to_thread(self._tagged, content, verdict)
        else:
            tagged = self._tagged(content, verdict)
        if decision.action is Action.QUARANTINE:
            return [await self._quarantine(talk, hop, tagged)] * talk.replies
        return await hop.message(tagged, talk.replies)

    def _tagged(self, content: bytes, verdict: Verdict) -> bytes:
        # Of an empty mail nobody could tell which line ends ours are to have.
        return policy.fit_to_send(self._classifier.tag(content or b"\r\n", verdict), content)

    async def _quarantine(self, talk: SmtpSession, hop: NextHop, tagged: bytes) -> Reply:
        """The mail goes to the quarantine's mailbox instead, from nobody: no bounce will come of it."""
        sender = talk.sender or SmtpPath(b"")
        kept = {name: value for name, value in sender.parameters.items() if name in {"BODY", "SMTPUTF8"}}
        mailbox = SmtpPath(self._settings.quarantine.encode())
        for command in (
            SmtpCommand("RSET"),
            *talk.forwarded,
            SmtpCommand("MAIL", SmtpPath(b"", kept).encode(b"FROM")),
            SmtpCommand("RCPT", mailbox.encode(b"TO")),
        ):
            reply = await hop.command(command)
            if not reply.positive:
                log.error("quarantine refused", extra={"fields": {"code": reply.code}})
                await hop.command(SmtpCommand("RSET"))
                return NO_QUARANTINE
        marked = policy.envelope_headers(sender, talk.recipients) + tagged
        (reply,) = await hop.message(marked, 1)
        return reply


def _later(error: FilterdError) -> Reply:
    log.warning("not judged", extra={"fields": {"reason": str(error)}})
    return Reply.of(error.smtp_reply)


def _message(talk: SmtpSession, content: bytes, way: Way) -> Message:
    return Message(
        content,
        kind=Kind.MAIL,
        id=secrets.token_hex(6),
        sender=talk.sender.address.decode("utf-8", "replace") if talk.sender else "",
        recipients=tuple(one.address.decode("utf-8", "replace") for one in talk.recipients),
        source="smtp_proxy",
        way=way,
        login=talk.login,
    )


def _note(message: Message, verdict: Verdict, action: str, replies: list[Reply]) -> None:
    fields: dict[str, Any] = {
        "id": message.id,
        "label": str(verdict.label),
        "points": round(verdict.points, 1),
        "action": action,
        "replies": ",".join(str(reply.code) for reply in replies),
    }
    log.info("mail", extra={"fields": fields})
