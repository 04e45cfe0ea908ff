import asyncio

import asyncpg
from testkit.databases import DELETES_BEFORE_TRUNCATE, Databases, query


def test_empties_a_database_although_an_app_that_stands_still_holds_a_lock(databases: Databases) -> None:
    url = databases.fresh("stalled")
    query(url, "create table things (number int)")
    query(url, "insert into things values (1)")

    async def begin() -> asyncpg.Connection:
        connection = await asyncpg.connect(url)
        await connection.execute("begin; insert into things values (2)")
        return connection

    with asyncio.Runner() as runner:
        stalled = runner.run(begin())
        databases.empty()
        assert query(url, "select * from things") == []
        stalled.terminate()


def test_empties_tables_that_only_grow_and_leaves_other_services_alone(databases: Databases) -> None:
    ledger, other = databases.fresh("ledger"), databases.fresh("other-ledger")
    for url in (ledger, other):
        query(url, "create table accounts (id serial primary key)")
        query(url, "create table entries (account int references accounts)")
        query(
            url,
            "create function refuse() returns trigger language plpgsql as $$"
            " begin raise 'entries stay'; end $$",
        )
        query(url, "create trigger keep before delete on entries for each row execute function refuse()")
        query(
            url,
            "with new as (insert into accounts default values returning id)"
            " insert into entries select id from new",
        )

    databases.empty(without=["other"])

    assert query(ledger, "select count(*) from entries")[0][0] == 0
    assert query(ledger, "insert into accounts default values returning id")[0]["id"] == 1
    assert query(other, "select count(*) from entries")[0][0] == 1


def test_keeps_emptying_a_database(databases: Databases) -> None:
    url = databases.fresh("busy")
    query(url, "create table numbers (number int)")
    for _ in range(DELETES_BEFORE_TRUNCATE + 1):
        query(url, "insert into numbers select generate_series(1, 300)")
        databases.empty(without=["ledger", "other", "stalled"])
        assert query(url, "select * from numbers") == []

    assert query(url, "select pg_relation_size('numbers') as size")[0]["size"] < 65536
