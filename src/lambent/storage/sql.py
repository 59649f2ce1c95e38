"""The store in SQL: opens the database, brings it up to date and gives out its repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lambent.clock import Clock
from lambent.storage.migrations import migrate
from lambent.storage.sql_aliases import SqlAliases
from lambent.storage.sql_beside import SqlBeside
from lambent.storage.sql_database import Database, path_of
from lambent.storage.sql_datasets import SqlDatasets
from lambent.storage.sql_deliveries import SqlDeliveries, SqlRotations
from lambent.storage.sql_deployments import SqlDeployments, SqlModels
from lambent.storage.sql_queues import SqlQueues
from lambent.storage.sql_records import SqlKeys, SqlRuns
from lambent.storage.sql_tickets import SqlDeadLetters, SqlTickets


class SqlStore:
    """Everything that is kept in SQL. `SqlStore.open` checks the file and brings it up to date."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database: Final = database
        self.deployments: Final = SqlDeployments(database, clock)
        self.aliases: Final = SqlAliases(database)
        self.models: Final = SqlModels(database, clock)
        self.runs: Final = SqlRuns(database)
        self.keys: Final = SqlKeys(database)
        self.tickets: Final = SqlTickets(database)
        self.dead_letters: Final = SqlDeadLetters(database)
        self.deliveries: Final = SqlDeliveries(database)
        self.rotations: Final = SqlRotations(database)
        self.records: Final = SqlBeside(database)
        self.queues: Final = SqlQueues(database)
        self.datasets: Final = SqlDatasets(database)

    @classmethod
    def open(cls, location: str | Path, clock: Clock) -> SqlStore:
        """The store at a path or `sqlite:///` URL; the file is made where there is none.

        Raises `StorageBroken` for a damaged database or one of a newer Lambent, `StorageFull`.
        """
        database = Database(path_of(location))
        try:
            database.prepare()
            with database.writing() as connection:
                migrate(connection, now_unix_ms=clock.unix_ms())
        except BaseException:
            database.close()
            raise
        return cls(database, clock)

    def close(self) -> None:
        """Close the database's connections. Nothing is left to write: every method wrote when it returned."""
        self.database.close()
