"""Opening, upgrading and losing the disk under the SQL store."""

import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.schema import CreateIndex, CreateTable

from lambent.core.errors import CallerFault, PlatformFault, StorageBroken, StorageFull
from lambent.core.spec import DeploymentSpec, Kind
from lambent.storage.migrations import FIRST, MIGRATIONS, Migration, migrate
from lambent.storage.sql import SqlStore
from lambent.storage.sql_database import Database, path_of
from lambent.storage.tables import METADATA
from tests.support.full_disk import fill, is_mounted, small_disk
from tests.support.virtual_time import ManualClock

NEXT = Migration(name="a later thought", statements=("ALTER TABLE keys ADD COLUMN note TEXT",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "lambent.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database(path)
    database.prepare()
    yield database
    database.close()


def open_store(path: Path) -> SqlStore:
    return SqlStore.open(path, ManualClock())


def deploy(store: SqlStore, description: str = "") -> str:
    spec = DeploymentSpec(name="hello", kind=Kind.FUNCTION, description=description)
    return store.deployments.commit(spec, project="default", app="", code_digest="", model=None).id


def shape(connection: Connection) -> dict[str, object]:
    """Tables, columns, keys and indexes as SQLite sees them, free of how they were written down."""
    query = connection.exec_driver_sql
    tables = sorted(name for (name,) in query("SELECT name FROM sqlite_master WHERE type = 'table'"))
    found: dict[str, object] = {}
    for table in tables:
        found[table] = [tuple(row) for row in query(f"PRAGMA table_info({table})")]
        found[f"{table} keys"] = sorted(tuple(row)[2:] for row in query(f"PRAGMA foreign_key_list({table})"))
        indexes = [tuple(row)[1:4] for row in query(f"PRAGMA index_list({table})")]
        found[f"{table} indexes"] = sorted(
            (
                () if origin != "c" else (name,),
                unique,
                [tuple(row)[2] for row in query(f"PRAGMA index_info({name})")],
            )
            for name, unique, origin in indexes
        )
    return found


def test_migrations_end_at_the_tables_that_the_code_uses(database: Database, tmp_path: Path) -> None:
    declared = Database(tmp_path / "declared.db")
    declared.prepare()
    try:
        with declared.writing() as connection:
            for table in METADATA.tables.values():
                connection.execute(CreateTable(table))
                for index in table.indexes:
                    connection.execute(CreateIndex(index))
            wanted = shape(connection)
    finally:
        declared.close()
    with database.writing() as connection:
        migrate(connection, now_unix_ms=0)
        assert shape(connection) == wanted


def test_each_migration_is_applied_once_and_in_order(database: Database) -> None:
    for turn, migrations in enumerate([(FIRST,), (FIRST, NEXT), (FIRST, NEXT)]):
        with database.writing() as connection:
            migrate(connection, now_unix_ms=turn, migrations=migrations)
    with database.reading() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM schema_migrations ORDER BY number").all()
        columns = [row[1] for row in connection.exec_driver_sql("PRAGMA table_info(keys)")]
    assert [tuple(row) for row in rows] == [(1, FIRST.name, 0), (2, NEXT.name, 1)]
    assert columns.count("note") == 1


def test_a_migration_that_fails_leaves_nothing_behind(database: Database) -> None:
    wrong = Migration(name="wrong", statements=("CREATE TABLE half (a)", "CREATE TABLE half (a)"))
    with pytest.raises(Exception, match="already exists"), database.writing() as connection:
        migrate(connection, now_unix_ms=0, migrations=(FIRST, wrong))
    with database.reading() as connection:
        assert shape(connection) == {}


def test_a_database_of_a_newer_version_is_refused_and_left_as_it_was(path: Path) -> None:
    store = open_store(path)
    deploy(store)
    with store.database.writing() as connection:
        migrate(connection, now_unix_ms=0, migrations=(*MIGRATIONS, NEXT))
    store.close()
    before = path.read_bytes()
    with pytest.raises(StorageBroken, match="a newer Lambent has used it"):
        open_store(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("what", [b"this is not a database" * 1000, b"\x00" * 8192])
def test_a_file_that_is_no_database_is_refused_by_name(path: Path, what: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(what)
    with pytest.raises(StorageBroken, match=r"lambent\.db is damaged"):
        open_store(path)
    assert path.read_bytes() == what


def test_a_damaged_page_is_noticed_when_the_database_is_opened(path: Path) -> None:
    store = open_store(path)
    for turn in range(50):
        deploy(store, f"{turn} {'x' * 500}")
    store.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 2 * 4096))
    with pytest.raises(StorageBroken, match="damaged"):
        open_store(path)


def test_a_row_that_a_newer_version_wrote_is_named(path: Path) -> None:
    store = open_store(path)
    revision = deploy(store)
    with store.database.writing() as connection:
        connection.exec_driver_sql('UPDATE revisions SET spec = \'{"name": "x", "kind": "daemon"}\'')
    with pytest.raises(StorageBroken, match="revision cannot be read: Invalid enum value 'daemon'"):
        store.deployments.revision(revision)
    store.close()


def test_a_full_disk_refuses_a_commit_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", room_bytes=2 << 20) as folder:
        store = open_store(folder / "lambent.db")
        before = deploy(store, "before")
        _take_all_room(store, folder)
        with pytest.raises(StorageFull, match="no room left"):
            deploy_without_end(store)
        assert deploy_exists(store, before)
        store.close()
        if is_mounted(folder):
            (folder / "ballast").unlink()
        again = open_store(folder / "lambent.db")
        active = again.deployments.find("default", "hello")
        assert active is not None
        assert deploy_exists(again, active.active_revision), "a commit is there whole or not at all"
        deploy(again, "there is room again")
        again.close()


def test_a_full_disk_refuses_a_new_database(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", room_bytes=1 << 20) as folder:
        if is_mounted(folder):
            fill(folder)
            with pytest.raises(StorageFull):
                open_store(folder / "lambent.db")
        else:
            with pytest.raises(PlatformFault):
                open_store(Path("/dev/full/lambent.db"))


def test_a_writer_that_never_lets_go_is_reported_and_readers_go_on(path: Path) -> None:
    open_store(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    database = Database(path, busy_timeout_ms=20)
    try:
        with pytest.raises(PlatformFault, match="locked") as caught, database.writing():
            pytest.fail("the lock was given twice")
        assert caught.value.retryable
        with database.reading() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM deployments").scalar_one() == 0
    finally:
        other.close()
        database.close()


def test_a_reader_sees_one_state_while_a_writer_commits(path: Path) -> None:
    store = open_store(path)
    count = "SELECT count(*) FROM revisions"
    with store.database.reading() as connection:
        assert connection.exec_driver_sql(count).scalar_one() == 0
        deploy(store)
        assert connection.exec_driver_sql(count).scalar_one() == 0
    with store.database.reading() as connection:
        assert connection.exec_driver_sql(count).scalar_one() == 1
    store.close()


def test_every_connection_waits_for_the_disk(database: Database) -> None:
    with database.reading() as first, database.reading() as second:
        for connection in (first, second):
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar_one() == 1
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() >= 1000


def test_the_files_are_readable_to_their_owner_alone(path: Path) -> None:
    store = open_store(path)
    deploy(store)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    store.close()
    assert set(modes) == {"lambent.db", "lambent.db-wal", "lambent.db-shm"}
    assert set(modes.values()) == {0o600}


def test_a_location_is_a_path_or_a_sqlite_url(tmp_path: Path) -> None:
    assert path_of(tmp_path / "a.db") == tmp_path / "a.db"
    assert path_of(f"sqlite:///{tmp_path}/a.db") == tmp_path / "a.db"
    with pytest.raises(CallerFault, match="mysql"):
        path_of("mysql://localhost/lambent")


def deploy_without_end(store: SqlStore) -> None:
    for turn in range(10_000):
        deploy(store, f"{turn} {'x' * 4000}")


def deploy_exists(store: SqlStore, revision: str) -> bool:
    return store.deployments.revision(revision).id == revision


def _take_all_room(store: SqlStore, folder: Path) -> None:
    if is_mounted(folder):
        fill(folder, leave_bytes=64 * 1024)
        return
    # No mount: SQLite itself can be told that the disk ends here.
    with store.database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    store.close()
    with store.database.reading() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 4}")
