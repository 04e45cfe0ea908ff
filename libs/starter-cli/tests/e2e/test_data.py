"""What the runner keeps, and from whom."""

import asyncio
from urllib.parse import urlsplit

import asyncpg
import pytest
from starter_cli.paths import SERVICES
from starter_cli.stack import Stack


async def connect(url: str, database: str) -> None:
    connection = await asyncpg.connect(urlsplit(url)._replace(path=f"/{database}").geturl())
    await connection.close()


def test_a_service_enters_its_own_database_and_no_other(stack: Stack) -> None:
    own = stack.layout.database_url("conversation")
    asyncio.run(connect(own, "conversation"))
    for other in {*SERVICES.values(), "acme", "postgres"} - {"conversation"}:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            asyncio.run(connect(own, other))


def test_secrets_and_logs_are_for_their_owner_alone(stack: Stack) -> None:
    data_dir = stack.data_dir
    private = [data_dir.secrets_file, data_dir.run_file, data_dir.logs, data_dir.redis, data_dir.mails]
    assert {path.name: path.stat().st_mode & 0o077 for path in private} == {path.name: 0 for path in private}


def test_no_secret_is_written_into_a_log(stack: Stack) -> None:
    logs = [*stack.data_dir.logs.glob("*.log"), stack.data_dir.log("postgres"), stack.data_dir.log("valkey")]
    result = "".join(log.read_text(errors="replace") for log in logs)
    assert result
    assert [name for name, secret in stack.layout.secrets.items() if secret in result] == []
