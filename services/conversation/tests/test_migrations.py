from pathlib import Path

import pytest
from alembic import command
from alembic.util import CommandError
from testkit.databases import Databases, query

SERVICE = Path(__file__).resolve().parent.parent


def test_the_migrations_make_what_the_models_say_and_can_be_taken_back(databases: Databases):
    url = databases.fresh("conversation-migrations")

    databases.alembic(SERVICE, url, lambda config: command.upgrade(config, "head"))
    databases.alembic(SERVICE, url, command.check)
    databases.alembic(SERVICE, url, lambda config: command.downgrade(config, "base"))
    databases.alembic(SERVICE, url, lambda config: command.upgrade(config, "head"))


def test_refuse_a_database_that_is_newer_than_the_code(databases: Databases):
    url = databases.fresh("conversation-newer")
    databases.alembic(SERVICE, url, lambda config: command.upgrade(config, "head"))
    query(url, "update alembic_version set version_num = '9999'")
    for step in (lambda config: command.upgrade(config, "head"), command.check):
        with pytest.raises(CommandError, match=r"^The database conversation-newer is newer than .*9999"):
            databases.alembic(SERVICE, url, step)
