import asyncio

import asyncpg
from testkit.databases import Databases, query


def test_empties_a_database_although_an_app_that_stands_still_holds_a_lock(databases: Databases) -> None:
    url = databases.fresh("stalled")
    query(url, "create table things (number int)")
    query(url, "insert into things values (1)")

    async def begin() -> asyncpg.Connection:
        connection = await asyncpg.connect(url)
        await connection.execute("begin; select * from things")
        return connection

    with asyncio.Runner() as runner:
        stalled = runner.run(begin())
        databases.empty()
        assert query(url, "select * from things") == []
        stalled.terminate()
