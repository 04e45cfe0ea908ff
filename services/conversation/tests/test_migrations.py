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


def test_what_is_there_already_is_counted(databases: Databases):
    url = databases.fresh("conversation-usage")
    databases.alembic(SERVICE, url, lambda config: command.upgrade(config, "0004"))
    query(
        url,
        """
        insert into conversations (id, tenant_id, user_id, message_count, last_position)
        select gen_random_uuid(), '7e9a4d52-6c1f-4a8e-9d3b-2f5c8b7a6e10', 'user:1', 0, 0
        from generate_series(1, 2)
        """,
    )
    query(
        url,
        """
        insert into items (conversation_id, position, id, data)
        select id, number, number, '{"content": "schön"}' from conversations, generate_series(1, 3) as number
        """,
    )
    databases.alembic(SERVICE, url, lambda config: command.upgrade(config, "head"))
    assert [tuple(row) for row in query(url, "select conversations, bytes from usage")] == [(2, 2 * 3 * 21)]
    counts = query(url, "select item_count, byte_count from conversations")
    assert {tuple(row) for row in counts} == {(3, 3 * 21)}


def test_refuse_a_database_that_is_newer_than_the_code(databases: Databases):
    url = databases.fresh("conversation-newer")
    databases.alembic(SERVICE, url, lambda config: command.upgrade(config, "head"))
    query(url, "update alembic_version set version_num = '9999'")
    for step in (lambda config: command.upgrade(config, "head"), command.check):
        with pytest.raises(CommandError, match=r"^The database conversation-newer is newer than .*9999"):
            databases.alembic(SERVICE, url, step)
