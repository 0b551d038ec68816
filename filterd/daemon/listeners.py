"""Every listener of a configuration: its socket, opened once, and in each worker the protocol behind it.

Sockets are opened before there is any worker, so that all of them share each one: whoever is free accepts.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial

from filterd import listen
from filterd.api import StreamPlugin, WebPlugin
from filterd.config import Config
from filterd.console import app as console
from filterd.console.desk import Desk
from filterd.daemon import descriptors
from filterd.daemon.plugins import ConfiguredPlugin, chosen, token
from filterd.kit.door import Door
from filterd.kit.settings import ListenSettings
from filterd.log import log
from filterd.protocols.http import app as http
from filterd.protocols.http.server import HttpServer
from filterd.protocols.spamd.server import SpamdServer
from filterd.service.service import Service

Sockets = Mapping[str, socket.socket]  # by address
Closer = Callable[[], Awaitable[None]]


def open_sockets(config: Config, where: str) -> Sockets:
    """All that the configuration names, listening. Raises ConfigError."""
    opened: dict[str, socket.socket] = {}
    for section in _sections(config, chosen(config, where)):
        for address in section.listen:
            opened[address] = listen.open_socket(address, mode=int(section.mode, 8))
            log.info("listening", extra={"fields": {"address": address}})
    return opened


def _sections(config: Config, plugins: list[ConfiguredPlugin]) -> Iterator[ListenSettings]:
    yield from (config.spamd, config.http, *(one.settings for one in plugins))


class Listeners:
    """The protocols of one worker on its sockets."""

    def __init__(
        self, config: Config, where: str, sockets: Sockets, service: Service, desk: Desk | None
    ) -> None:
        self._config, self._sockets, self._service, self._desk = config, sockets, service, desk
        self._plugins = chosen(config, where)
        wanted = {
            address: section.max_connections
            for section in _sections(config, self._plugins)
            for address in section.listen
        }
        self._places = descriptors.places(wanted, descriptors.limit())
        self._closers: list[Closer] = []

    async def start(self) -> None:
        """Accept clients."""
        for address in self._config.spamd.listen:
            await self._spamd(address)
        for address in self._config.http.listen:
            await self._http(address)
        for one in self._plugins:
            await self._plugin(one)

    async def close(self) -> None:
        """Accept nobody any more; what is under way has `drain_s`."""
        await asyncio.gather(*(close() for close in self._closers), return_exceptions=True)

    async def _spamd(self, address: str) -> None:
        section, sock = self._config.spamd, self._sockets[address]
        server = SpamdServer(
            self._service,
            allow_tell=section.allow_tell and (_is_local(sock) or section.allow_tell_tcp),
            max_bytes=section.max_bytes,
            max_connections=self._places[address],
            room=self._service.room,
            speakers=self._config.feedback.speakers,
        )
        await server.start(sock)
        self._closers.append(lambda: server.close(self._config.drain_s))

    async def _http(self, address: str) -> None:
        section, sock = self._config.http, self._sockets[address]
        local = _is_local(sock)
        access = http.Access(
            source="http" if local else "http-tcp",
            may_learn=local or section.allow_learn_tcp,
            token="" if local else token(section.token_file),
        )
        mounts = [console.make(self._desk)] if self._desk else []
        app = http.make(self._service, access, section.max_bytes, mounts)
        server = HttpServer(app, max_connections=self._places[address])
        await server.start(sock)
        self._closers.append(lambda: server.close(self._config.drain_s))

    async def _plugin(self, one: ConfiguredPlugin) -> None:
        plugin = one.kind(one.settings, self._service)
        for address in one.settings.listen:
            sock, places = self._sockets[address], self._places[address]
            if isinstance(plugin, WebPlugin):
                section = f"plugins.{one.name}"
                web = HttpServer(plugin.app, max_connections=places, section=section, half_closed=True)
                await web.start(sock)
                self._closers.append(partial(web.close, self._config.drain_s))
            elif isinstance(plugin, StreamPlugin):
                door = Door(places, self._service.room)
                server = await listen.serve(partial(plugin.protocol, door), sock)
                self._closers.append(partial(_drain, server, door, self._config.drain_s))


def _is_local(sock: socket.socket) -> bool:
    """Whether only programs of this machine that a file's mode lets in can be at the other end."""
    return sock.family == socket.AF_UNIX


async def _drain(server: asyncio.Server, door: Door, drain_s: float) -> None:
    server.close()
    await door.drain(drain_s)
