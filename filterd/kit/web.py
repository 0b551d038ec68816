"""HTTP for an ASGI application: a body within its bounds, and work that ends where its client has gone."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from filterd.errors import BadInput

GONE_POLL_S = 0.1  # how often a client is looked for while it waits; most verdicts are there before

T = TypeVar("T")


class BodyTooLarge(BadInput):
    """A body over its bound."""


async def read_body(
    request: Request,
    *,
    max_bytes: int,
    timeout_s: float,
    setting: str = "",
    hold: Callable[[int], None] = lambda size: None,
) -> bytes:
    """A request's body.

    setting: where `max_bytes` comes from. hold: told after each piece how many bytes there are; what it
    raises ends the reading.
    Raises BodyTooLarge, BadInput where it does not come in its time, ClientDisconnect.
    """
    chunks, size = [], 0
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > max_bytes:
                    where = f" ({setting})" if setting else ""
                    raise BodyTooLarge(f"the body is larger than {max_bytes:,} bytes{where}")
                hold(size)
                chunks.append(chunk)
    except TimeoutError:
        raise BadInput(f"the body did not arrive within {timeout_s:g} s") from None
    return b"".join(chunks)


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """What comes of the work; cancelled, with ClientDisconnect, once there is nobody to tell it to."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=GONE_POLL_S))[0]:
            if await request.is_disconnected():
                raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
