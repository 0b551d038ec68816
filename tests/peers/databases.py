"""Fixtures: a PostgreSQL for all tests of a session, and each kind of database for one test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.postgres import running


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Its URL. A commit is durable there only for who asks for that, so that tests see whether we do."""
    pytest.importorskip("psycopg")
    with running() as server:
        _run(server.url, "ALTER ROLE filterd SET synchronous_commit = off")
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a store may be kept: a file that is not there yet, and an empty PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state' / 'store.sqlite'}"
        return
    url = request.getfixturevalue("postgres")
    yield url
    _run(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


def _run(url: str, *statements: str) -> None:
    import sqlalchemy as sql

    engine = sql.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        for one in statements:
            connection.execute(sql.text(one))
    engine.dispose()
