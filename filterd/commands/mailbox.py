"""The mails of whole mailboxes, Maildir or mbox, one after the other, for `filterd learn --maildir`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from filterd.api import Kind
from filterd.commands.input import MAX_MESSAGE_BYTES, Item, check_readable
from filterd.errors import FilterdError, NotFound
from filterd.mailboxes import maildir, mbox
from filterd.mailboxes.maildir import INBOX, Folder, MailFile
from filterd.mailboxes.mbox import Span
from filterd.progress import bar


def items(mailboxes: Sequence[Path]) -> Iterator[Item]:
    """The mails of Maildirs, without the folders below them and deleted mails, and of mboxes, with a bar.

    Raises NotFound, before the first, where one is not there; what cannot be read becomes an error item.
    """
    return _each([mail for mailbox in mailboxes for mail in _mails(mailbox)])


def _mails(mailbox: Path) -> list[MailFile | Span]:
    if mbox.is_mbox(mailbox):
        return list(mbox.mails(mailbox))
    if not maildir.is_maildir(mailbox):
        raise NotFound(f"{mailbox}: neither a Maildir (with cur and new) nor an mbox; name a folder of mails")
    return [mail for mail in maildir.mails(Folder(INBOX, mailbox)) if not mail.deleted]


def _each(mails: Sequence[MailFile | Span]) -> Iterator[Item]:
    with bar("Learning", len(mails)) as advance:
        for mail in mails:
            name = str(mail.path)
            try:
                raw = maildir.following(mail, lambda one: one.read(MAX_MESSAGE_BYTES))
                if raw is not None:
                    yield Item(name, check_readable(raw, name, Kind.MAIL))
            except FilterdError as error:
                yield Item(name, error=error)
            except OSError as error:
                yield Item(name, error=NotFound(f"{name}: {error.strerror}; it was left out"))
            advance(1)
