"""One SQLite file: connections, transactions, and the driver's errors in our words.

Readers never wait (WAL); writers take the write lock when they begin (BEGIN IMMEDIATE), so that what a
transaction has read cannot change before it writes. What has been committed is on disk (synchronous=FULL).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, RowMapping, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError as WrappedError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from lambent.core.errors import CallerFault, LambentError, PlatformFault, StorageBroken, StorageFull
from lambent.wire.typed import from_fields

CONNECTIONS_MAX: Final = 4
BUSY_TIMEOUT_MS: Final = 15_000
STATEMENTS_KEPT_MAX: Final = 100
# An I/O error on a disk with less room than this is taken for a full disk: SQLite says FULL only for some.
FULL_BELOW_BYTES: Final = 1 << 20
# A file up to this size is read through and checked when it is opened: a tenth of a second at most.
CHECKED_BYTES_MAX: Final = 64 << 20

PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-1024",  # 1 MiB for each connection: the server's whole budget is 80
    "PRAGMA journal_size_limit=16777216",
)
BEGIN: Final = "lambent_begin"

S = TypeVar("S", bound=msgspec.Struct)


class Database:
    """The connections to one file. Methods may be called from any thread."""

    def __init__(self, path: Path, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> None:
        self.path: Final = path
        self._engine: Final = _engine(path, busy_timeout_ms)
        self._writing: Final = self._engine.execution_options(**{BEGIN: "BEGIN IMMEDIATE"})

    def prepare(self) -> None:
        """Make the file where there is none, readable to its owner alone, and check what is there.

        Raises `StorageBroken`, `StorageFull`.
        """
        with _in_our_words(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        if self.path.stat().st_size <= CHECKED_BYTES_MAX:
            self._check()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database."""
        with _in_our_words(self.path), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that holds the write lock; on disk when the block is left, undone where it raised.

        Raises `StorageFull`, `StorageBroken`, and `PlatformFault` where the lock was not to be had in time.
        """
        with _in_our_words(self.path), self._writing.begin() as connection:
            yield connection

    def ping(self) -> None:
        """Read from the file. Raises `StorageBroken` and `PlatformFault` where that cannot be done."""
        with self.reading() as connection:
            connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _check(self) -> None:
        with self.reading() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise StorageBroken(_damaged(self.path, str(found)))


def path_of(location: str | Path) -> Path:
    """The file that a path or a `sqlite:///` URL names. Raises `CallerFault` for a URL of another kind."""
    text = str(location)
    if text.startswith("sqlite:///"):
        return Path(text.removeprefix("sqlite:///"))
    if "://" in text:
        raise CallerFault(
            f"{text.split('://')[0]}:// databases are not supported: give a path or sqlite:///PATH"
        )
    return Path(text)


def one(row: RowMapping, kind: type[S]) -> S:
    """A row as the struct whose fields its columns are. Raises `StorageBroken` where they do not fit."""
    # The keys are a subclass of str, which msgspec does not take for one.
    fields = {str(name): value for name, value in row.items()}
    try:
        return from_fields(fields, kind)
    except msgspec.ValidationError as error:
        raise StorageBroken(
            f"a stored {kind.__name__.lower()} cannot be read: {error}. A newer Lambent may have written it"
        ) from error


def columns(value: msgspec.Struct) -> dict[str, Any]:
    """A struct as the values of the columns of the same names."""
    return msgspec.structs.asdict(value)


def _engine(path: Path, busy_timeout_ms: int) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        pool_size=CONNECTIONS_MAX,
        max_overflow=0,
        pool_timeout=busy_timeout_ms / 1000,
        query_cache_size=STATEMENTS_KEPT_MAX,
        connect_args={"check_same_thread": False, "timeout": busy_timeout_ms / 1000},
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    # The driver would begin transactions by itself, late and only for some statements: `_begin` does it.
    connection.isolation_level = None
    for pragma in PRAGMAS:
        connection.execute(pragma)


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(BEGIN, "BEGIN"))


@contextmanager
def _in_our_words(path: Path) -> Iterator[None]:
    try:
        yield
    except WrappedError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise _fault(path, error.orig) from error
        raise
    except sqlite3.Error as error:  # raised while a connection is set up, where nothing wraps it
        raise _fault(path, error) from error
    except PoolTimeout as error:
        raise PlatformFault("the database is busy: all its connections are taken") from error
    except OSError as error:
        raise _os_fault(path, error) from error


def _fault(path: Path, error: sqlite3.Error) -> LambentError | sqlite3.Error:
    """What the driver says, as ours. The low byte of SQLite's extended code is the primary one."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL:
            return _full(path)
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN if _room_bytes(path) < FULL_BELOW_BYTES:
            return _full(path)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return StorageBroken(_damaged(path, str(error)))
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return PlatformFault(f"the database {path} is kept locked by another process: {error}")
        case sqlite3.SQLITE_IOERR | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return PlatformFault(f"the database {path} cannot be used: {error}")
        case _:
            return error  # a mistake of ours in a statement: let it be seen as it is


def _os_fault(path: Path, error: OSError) -> LambentError:
    if _room_bytes(path) < FULL_BELOW_BYTES:
        return _full(path)
    return PlatformFault(f"the database {path} cannot be used: {error.strerror}")


def _room_bytes(path: Path) -> int:
    try:
        return shutil.disk_usage(path.parent).free
    except OSError:
        return FULL_BELOW_BYTES


def _full(path: Path) -> StorageFull:
    return StorageFull(
        f"no room left on the disk that holds {path.name}; nothing was changed. Free some and try again"
    )


def _damaged(path: Path, found: str) -> str:
    return (
        f"the database {path} is damaged ({found}). Restore it from a copy, or move it away to start empty; "
        "nothing was changed"
    )
