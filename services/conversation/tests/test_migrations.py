from pathlib import Path

from alembic import command
from testkit.databases import Databases

SERVICE = Path(__file__).resolve().parent.parent


def test_the_migrations_make_what_the_models_say_and_can_be_taken_back(databases: Databases):
    url = databases.fresh("conversation-migrations")

    databases.alembic(SERVICE, url, lambda config: command.upgrade(config, "head"))
    databases.alembic(SERVICE, url, command.check)
    databases.alembic(SERVICE, url, lambda config: command.downgrade(config, "base"))
    databases.alembic(SERVICE, url, lambda config: command.upgrade(config, "head"))
