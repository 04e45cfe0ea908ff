"""A row in every table that stores something of a person or a tenant, also in tables that come later.

A walk over them finds what an erasure or an export has forgotten.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from pydantic import SecretStr
from servicekit.database import Database
from sqlalchemy import JSON, Column, MetaData, Table, insert

from testkit.databases import query

# Columns with the id of a person, an application or its end user.
PEOPLE = frozenset(
    {"user_id", "created_by", "updated_by", "decided_by", "granted_by", "replayed_by", "actor", "subject"}
)
Overrides = Mapping[str, Mapping[str, Any]]


def owned_tables(metadata: MetaData) -> list[Table]:
    """Return the tables with a column of a person or tenant, and those that belong to one of them."""
    return tables_with(metadata, {"tenant_id", *PEOPLE})


def personal_tables(metadata: MetaData) -> list[Table]:
    """Return the tables with a column of a person, and those that belong to one of them."""
    return tables_with(metadata, PEOPLE)


def tables_with(metadata: MetaData, columns: Collection[str]) -> list[Table]:
    """Return the tables with one of some columns, and those that refer to one of them."""
    owned: list[Table] = []
    for table in metadata.sorted_tables:
        parents = {key.column.table for key in table.foreign_keys}
        if {*table.columns.keys()} & {*columns} or parents & {*owned}:
            owned.append(table)
    return owned


def insert_rows(  # noqa: PLR0913, PLR0917  # where, whose, and what is special
    url: SecretStr, tables: Sequence[Table], tenant_id: UUID, user_id: str, secret: str, overrides: Overrides
) -> None:
    """Insert a row into each table, the values of which are a tenant's, a person's, and a text of theirs."""
    asyncio.run(insert_all(url, row_values(tables, tenant_id, user_id, secret, overrides)))


def row_values(
    tables: Sequence[Table], tenant_id: UUID, user_id: str, secret: str, overrides: Overrides
) -> dict[Table, dict[str, Any]]:
    """Return the values of a row for each table; some tables have constraints that need `overrides`."""
    rows: dict[Table, dict[str, Any]] = {}
    for table in tables:
        values = {column.name: value_of(column, tenant_id, user_id, secret) for column in filled(table)}
        for key in table.foreign_keys:
            if key.column.table in rows:
                values[key.parent.name] = rows[key.column.table][key.column.name]
        rows[table] = {**values, **overrides.get(table.name, {})}
    return rows


async def insert_all(url: SecretStr, rows: Mapping[Table, Mapping[str, Any]]) -> None:
    """Insert one row into each table."""
    database = Database(url, name="test")
    async with database.begin() as session:
        for table, values in rows.items():
            await session.execute(insert(table).values(**values))
    await database.close()


def filled(table: Table) -> list[Column[Any]]:
    """Return the columns that need a value, or hold a person, a tenant, or what they wrote."""
    needed = [column for column in table.columns if column.computed is None and column.identity is None]
    return [
        column
        for column in needed
        if column.primary_key
        or column.name in PEOPLE
        or not (column.nullable or column.server_default is not None or column.default is not None)
    ]


def value_of(column: Column[Any], tenant_id: UUID, user_id: str, secret: str) -> object:
    """Return a value for a column."""
    if column.name == "tenant_id":
        return tenant_id
    if column.name in PEOPLE:
        return user_id
    if isinstance(column.type, JSON):
        return {"text": secret}
    by_type = {UUID: uuid4(), str: secret, datetime: datetime.now(UTC), bytes: secret.encode()}
    return by_type.get(column.type.python_type, 1)


def rows_with(url: str, tables: Sequence[Table], text: str) -> list[str]:
    """Return the columns in which a text still stands, as `table.column`."""
    return [row["name"] for row in query(url, statement_for(tables), f"%{text}%")]


def statement_for(tables: Sequence[Table]) -> str:
    """Return the statement that selects the names of all columns in which a pattern, `$1`, is found."""
    one = 'select \'{0}.{1}\' as name where exists (select from "{0}" where "{1}"::text like $1)'
    columns = [(table.name, column.name) for table in tables for column in table.columns]
    return " union all ".join(one.format(*names) for names in columns)
