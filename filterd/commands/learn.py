"""`filterd learn` and `filterd forget`: corrections to a running daemon, else to the store itself.

Whoever moves a mail to Junk gives his correction once. So where a daemon does not answer, or is too busy to,
the store is written here, and the daemon has the correction when it starts or learns next.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from filterd.api import Label, Message
from filterd.commands import client, pipe
from filterd.commands.input import Item, asked_kind, exclude, items
from filterd.errors import ConfigError, FilterdError, LearningClosed, ModelUnavailable, Overloaded, StoreError

if TYPE_CHECKING:  # a running daemon has its own, and reading YAML takes longer than asking it
    from filterd.config import Config

ANSWER_TIMEOUT_S = 5.0  # the daemon takes milliseconds; a person may be waiting for the mail to move

HOPELESS = (LearningClosed, ModelUnavailable, StoreError)  # the next message would only fail the same way

Correct = Callable[[Message, Label | None], bool]  # forgets the message where there is no label
LEARNED = (Label.SPAM, Label.HAM)
Asked = Iterator[tuple[Item, Label | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnOptions:
    """What `filterd learn` and `forget` were asked for; each field is the option of its name."""

    spam: bool = False
    ham: bool = False
    mail: bool = False
    sms: bool = False
    lines: bool = False
    user: str = ""


def learn(
    paths: Sequence[str],
    options: LearnOptions,
    config: "Callable[[], Config]",
    mailboxes: Sequence[Path] = (),
) -> int:
    """Do what `filterd learn` does; returns the exit status. Raises ConfigError for wrong options."""
    if options.spam == options.ham:
        raise ConfigError("say what they are: --spam or --ham")
    for name, given in {"--sms": options.sms, "--lines": options.lines, "FILE": bool(paths)}.items():
        exclude({"--maildir": bool(mailboxes), name: given})
    label = Label.SPAM if options.spam else Label.HAM
    kind = asked_kind(mail=options.mail, sms=options.sms)
    inputs = _from_mailboxes(mailboxes) if mailboxes else items(paths, kind, lines=options.lines)
    return correct(((item, label) for item in inputs), config, [label], options.user)


def forget(paths: Sequence[str], options: LearnOptions, config: "Callable[[], Config]") -> int:
    """Do what `filterd forget` does; returns the exit status. Raises ConfigError for wrong options."""
    kind = asked_kind(mail=options.mail, sms=options.sms)
    inputs = items(paths, kind, lines=options.lines)
    return correct(((item, None) for item in inputs), config, [None], options.user)


def correct(
    asked: Asked,
    config: "Callable[[], Config]",
    labels: Sequence[Label | None],
    user: str = "",
    learned: list[str] | None = None,
) -> int:
    """Learn each message as its label, or forget it where that is None; returns the exit status.

    An interrupted run leaves what it has learned, and the next one finds that known. labels: which there may
    be, for the counts that are printed. user: whose word it is where a message does not say, "" for the
    site's. learned: gets the names of those that were. Raises NotFound where a file or mailbox is not there.
    """
    path = client.socket_path()
    with contextlib.ExitStack() as stack:
        alone = cache(lambda: _alone(stack, config()))
        if not path:
            return _each(asked, labels, _of(user, alone()), learned)
        daemon = client.Daemon(path, ANSWER_TIMEOUT_S)
        return _each(asked, labels, _of(user, _daemon_first(_with_daemon(daemon), alone)), learned)


def _of(user: str, take: Correct) -> Correct:
    """The same in the name of a user."""
    return lambda message, label: take(replace(message, user=message.user or user), label)


def _from_mailboxes(mailboxes: Sequence[Path]) -> Iterator[Item]:
    from filterd.commands import mailbox

    return mailbox.items(mailboxes)


def _daemon_first(ask: Correct, alone: Callable[[], Correct]) -> Correct:
    """Ask the daemon, and from the first message on that gets no answer from it write the store."""
    silent: list[FilterdError] = []

    def take(message: Message, label: Label | None) -> bool:
        if not silent:
            try:
                return ask(message, label)
            except (ModelUnavailable, Overloaded) as error:
                silent.append(error)
        try:
            return alone()(message, label)
        except FilterdError as error:
            raise type(error)(f"{silent[0]}; nor without it: {error}") from error

    return take


def _with_daemon(daemon: client.Daemon) -> Correct:
    return lambda message, label: daemon.forget(message) if label is None else daemon.learn(message, label)


def _alone(stack: contextlib.ExitStack, config: "Config") -> Correct:
    from filterd.corrections.learner import Learner

    learner = Learner.open(config)
    stack.callback(learner.close)
    return lambda message, label: learner.forget(message) if label is None else learner.learn(message, label)


def _each(
    asked: Asked, labels: Sequence[Label | None], take: Correct, learned: list[str] | None = None
) -> int:
    status = 0
    counts = {label: [0, 0] for label in labels}  # what changed nothing, and what changed
    try:
        for item, label in asked:
            try:
                if item.message is None:
                    raise item.error or FilterdError(item.name)
                counts[label][take(item.message, label)] += 1
                if learned is not None:
                    learned.append(item.name)
            except FilterdError as error:
                pipe.complain(str(error))
                status = status or error.exit_status
                if isinstance(error, HOPELESS):
                    break
    finally:  # also where it is interrupted
        for label, (known, changed) in counts.items():
            said = ("forgotten", "not known") if label is None else (f"learned as {label}", "known already")
            print(f"{said[0]}: {changed}, {said[1]}: {known}")
    return status
