from pathlib import Path

import pytest
from alembic import command
from testkit.databases import Databases

FOLDER = Path(__file__).parents[1]


@pytest.fixture
def database(databases: Databases):
    url = databases.fresh("notification-migrations")
    return lambda run: databases.alembic(FOLDER, url, run)


def test_the_migrations_make_the_tables_of_the_models_and_go_back(database):
    database(lambda config: command.upgrade(config, "head"))
    database(command.check)
    database(lambda config: command.downgrade(config, "base"))
    database(lambda config: command.upgrade(config, "head"))
