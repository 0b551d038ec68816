"""Sessions, forged requests, and what every answer of the console says to the browser.

A session is a signed cookie (name, end, number, signature), so that it holds for every worker and across a
restart. A form carries a token made of its session: another site cannot know it, and the cookie is not sent
from there either (SameSite=Strict). Nothing but this host's own files may be loaded (CSP), and no script
stands in a page. Behind a reverse proxy a header can name the user; it counts only from trusted addresses.
"""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, NamedTuple

from filterd.config import Console
from filterd.console.accounts import Account, Accounts, Role

COOKIE: Final = "filterd-session"
SESSION_S: Final = 12 * 3600.0  # a working day
FAILURES: Final = 5  # wrong passwords of one name in FAILURES_WITHIN_S; the next are not even looked at
FAILURES_WITHIN_S: Final = 60.0
MAX_NAMES: Final = 1_000  # names whose failures are remembered
HEADERS: Final = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Viewer(NamedTuple):
    """Who looks at a page. token: for the forms of it. by_proxy: cannot sign out here."""

    account: Account
    token: str
    by_proxy: bool = False

    @property
    def may_correct(self) -> bool:
        """Whether he may say what a message is."""
        return self.account.role is not Role.READER

    @property
    def administers(self) -> bool:
        """Whether he may change what concerns everybody."""
        return self.account.role is Role.ADMINISTRATOR

    @property
    def sees_all(self) -> bool:
        """Whether he sees everybody's mail."""
        return self.account.role is not Role.USER


class Sessions:
    """Makes and reads session cookies. key: of the state folder."""

    def __init__(self, key: bytes, accounts: Accounts) -> None:
        self._key = hashlib.blake2b(key, person=b"console").digest()
        self._accounts = accounts
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def begin(self, account: Account) -> str:
        """A cookie's value for somebody who has given his password."""
        said = f"{account.name}:{int(time.time() + SESSION_S)}:{secrets.token_hex(16)}"
        return f"{said}:{self._sign(said, account)}"

    def viewer(self, cookie: str) -> Viewer | None:
        """Whose session a cookie is; None for a forged, outdated or revoked one."""
        said, _, signature = cookie.rpartition(":")
        name, _, rest = said.partition(":")
        account = self._accounts.get(name)
        if not account or not hmac.compare_digest(signature.encode(), self._sign(said, account).encode()):
            return None
        if int(rest.partition(":")[0]) < time.time():
            return None
        return Viewer(account, self._token(cookie))

    def by_proxy(self, name: str) -> Viewer:
        """Who a trusted proxy says it is: an account of that name, else a user of that address."""
        addresses = (name,) if "@" in name else ()
        account = self._accounts.get(name) or Account(name, Role.USER, addresses=addresses)
        return Viewer(account, self._token(f"proxy:{name}"), by_proxy=True)

    def may_try(self, name: str) -> bool:
        """Whether a password of this name is looked at now; counts the try."""
        now = time.monotonic()
        recent = [one for one in self._failures.get(name, []) if now - one < FAILURES_WITHIN_S]
        self._failures[name] = [*recent, now][-FAILURES:]
        self._failures.move_to_end(name)
        while len(self._failures) > MAX_NAMES:
            self._failures.popitem(last=False)
        return len(recent) < FAILURES

    def succeeded(self, name: str) -> None:
        """Forget the failures of a name."""
        self._failures.pop(name, None)

    def _sign(self, said: str, account: Account) -> str:
        return hmac.new(self._key, f"{said}:{account.password}".encode(), hashlib.sha256).hexdigest()

    def _token(self, cookie: str) -> str:
        return hmac.new(self._key, f"form:{cookie}".encode(), hashlib.sha256).hexdigest()


def proxied(console: Console, headers: Mapping[str, str], client: str | None) -> str:
    """The user that a trusted proxy names, "" for none. client: its address; None on a unix socket."""
    if not console.proxy_header or not _trusted(console, client):
        return ""
    return headers.get(console.proxy_header, "").strip()[:64]


def _trusted(console: Console, client: str | None) -> bool:
    if client is None:
        return True
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(one) for one in console.proxy_networks)


def same(token: str, given: str) -> bool:
    """Whether a form's token is the viewer's."""
    return hmac.compare_digest(token.encode(), given.encode("utf-8", "replace"))
