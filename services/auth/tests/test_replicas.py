"""Several processes of auth, which share no file: whichever of them answers, and whichever is replaced."""

import asyncio
import itertools
import os
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from auth.models import SigningKeyRing
from auth.settings import Settings
from servicekit.database import Database
from sqlalchemy import delete
from testkit.eventually import time_limit
from testkit.live_server import NO_AUTHORITIES
from testkit.service_process import ServiceProcess, environment_of

PROGRAM = Path(__file__).with_name("replica.py")


@pytest.fixture
async def sharing(variables):
    """Settings of replicas that have nothing in common but the stores; no key was ever stored."""
    database = Database(variables["database_url"], name="test", pool_size=1)
    async with database.begin() as session:
        await session.execute(delete(SigningKeyRing))
    await database.close()
    return Settings(**{name: value for name, value in variables.items() if name != "auth_key_storage_path"})


@pytest.fixture
def replica(sharing, fork_server, tmp_path):
    """Start a replica in a folder of its own, and give it."""
    with ExitStack() as stack:

        def begin() -> ServiceProcess:
            return stack.enter_context(ServiceProcess(fork_server(PROGRAM), tmp_path / "log")).start(sharing)

        yield begin


async def status_of(http: httpx.AsyncClient, url: str, path: str, token: str) -> int | None:
    """Return the status of an answer, or None when the replica does not answer any more."""
    with suppress(httpx.TransportError):
        return (await http.get(f"{url}{path}", headers={"Authorization": f"Bearer {token}"})).status_code
    return None


async def key_ids(http: httpx.AsyncClient, url: str) -> list[str]:
    return [key["kid"] for key in (await http.get(f"{url}/.well-known/jwks.json")).json()["keys"]]


async def sign_in(http: httpx.AsyncClient, url: str, password: str) -> str:
    body = {"email": "ann@example.com", "password": password}
    answer = await http.post(f"{url}/api/v1/auth/token", json=body)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token"]
    return token


async def test_no_token_is_refused_while_all_replicas_are_replaced(auth, replica):
    await auth.somebody()
    up, tokens, seen = [replica(), replica()], [], Counter()
    is_over = asyncio.Event()

    async def check(http: httpx.AsyncClient) -> None:
        while not is_over.is_set():
            for one, token in itertools.product(list(up), tokens[-4:]):
                # It may have been replaced since the last request.
                if one in up:
                    seen[await status_of(http, one.url, "/api/v1/auth/me", token)] += 1
            await asyncio.sleep(0.01)

    async with (
        httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES, timeout=60) as http,
        asyncio.TaskGroup() as group,
    ):
        tokens += [await sign_in(http, one.url, auth.password) for one in up]
        group.create_task(check(http))
        for old in list(up):
            up.append(new := await asyncio.to_thread(replica))
            tokens.append(await sign_in(http, new.url, auth.password))
            up.remove(old)
            old.terminate()
            assert await asyncio.to_thread(old.wait) == 0
            assert await key_ids(http, new.url) == await key_ids(http, up[0].url)
        is_over.set()
    # A request that was under way to a replica that has just ended has no answer; the gateway repeats it.
    assert seen.pop(None, 0) <= 2
    assert seen.keys() == {200}, seen
    assert seen[200] > 50


async def test_all_replicas_change_keys_together(auth, sharing, replica):
    await auth.somebody()
    up = [replica(), replica()]
    async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES, timeout=60) as http:
        before = [await key_ids(http, one.url) for one in up]
        assert before[0] == before[1]
        await asyncio.to_thread(rotate, environment_of(sharing))
        async with time_limit():
            while [len(await key_ids(http, one.url)) for one in up] != [2, 2]:  # noqa: ASYNC110  # it asks
                await asyncio.sleep(0.05)
        assert await key_ids(http, up[0].url) == await key_ids(http, up[1].url)
        tokens = [await sign_in(http, one.url, auth.password) for one in up]
        statuses = [
            await status_of(http, one.url, "/api/v1/auth/me", token) for one in up for token in tokens
        ]
    assert statuses == [200] * 4


def rotate(environment: dict[str, str]) -> None:
    """Rotate as an operator does, in one of the containers."""
    command = [sys.executable, "-m", "auth", "keys", "rotate", "--at-once"]
    done = subprocess.run(
        command, env={"PATH": os.defpath, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
