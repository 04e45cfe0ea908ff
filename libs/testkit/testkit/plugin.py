"""The pytest plugin: real servers, started once a worker process and emptied after each test."""

import asyncio
import builtins
import contextlib
import gc
import os
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from redis import Redis
from sandbox.embedded import Postgres, Valkey

from testkit import anyio_backend, busy_machine
from testkit.databases import Databases, prepare
from testkit.fork_server import ForkServer
from testkit.issuer import Issuer
from testkit.live_server import serving
from testkit.telemetry_capture import CapturedTelemetry, capture_telemetry
from testkit.token_matrix import fake_auth

# Pact replaces it, twice, to warn of some imports, and takes longer for each `import` inside of a function.
IMPORT = builtins.__import__


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--no-skips`."""
    parser.addoption("--no-skips", action="store_true", help="fail the run when any test was skipped")


def pytest_configure(config: pytest.Config) -> None:
    """Come after anyio's own plugin, whose fixture of the same name would win otherwise."""
    config.pluginmanager.register(anyio_backend, "testkit-backend")
    # Tests send more that makes no sense than a client may; those of this limit set it themselves.
    os.environ.setdefault("INVALID_REQUESTS_PER_MINUTE", "1000000")
    # An example takes as long as the machine takes for it.
    hypothesis.settings.register_profile("acme", deadline=None)
    hypothesis.settings.load_profile("acme")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector what is imported while collecting: it stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        builtins.__import__ = IMPORT
        gc.freeze()
        # A test makes a whole service: looked at seldom, most of it is gone by then.
        gc.set_threshold(20_000, 20, 50)
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Exclude from the last garbage collection what ends with the process: it would take a second."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)  # xdist comes next, and takes the groups as they are then
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests of a file on one worker, where they share what they start.

    A folder may say otherwise, in a hook of its own that is to be tried first, too.
    """
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Return which tests should have run and did not."""
    if config.getoption("--no-skips") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("--no-skips: some tests did not run", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run in which a test that should run did not."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped") if reporter else None
    if session.config.getoption("--no-skips") and skipped:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _busy_machine() -> Iterator[None]:
    """Allow what services wait for as long as a busy machine takes."""
    with pytest.MonkeyPatch.context() as patch:
        busy_machine.wait_longer(patch)
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Return a Postgres server of this worker's own."""
    with Postgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        asyncio.run(prepare(server))
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """Return a Redis server of this worker's own."""
    with Valkey(tmp_path_factory.mktemp("redis"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres: Postgres) -> Iterator[Databases]:
    """Make the databases of this worker's tests."""
    made = Databases(postgres.url)
    yield made
    made.close()


@pytest.fixture(scope="session")
def migrated(databases: Databases, pytestconfig: pytest.Config) -> Any:
    """Return a function that makes a service's database: `migrated("conversation")` gives its URL."""
    return lambda service: databases.migrated(service_folder(pytestconfig.rootpath, service))


def service_folder(start: Path, service: str) -> Path:
    """Find a service's folder from anywhere in the workspace."""
    for folder in (start, *start.parents):
        if (folder / "services" / service).is_dir():
            return folder / "services" / service
    raise FileNotFoundError(f"services/{service} above {start}")


def other_services(path: Path) -> list[str]:
    """Return the services that a test has nothing to do with: those beside its own, if it belongs to one."""
    own = next((folder for folder in path.parents if folder.parent.name == "services"), None)
    return [folder.name for folder in own.parent.iterdir() if folder != own] if own else []


@pytest.fixture(scope="session")
def redis_url(redis_server: Valkey) -> str:
    """Return the address of this worker's Redis."""
    return redis_server.url


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    """Return an issuer of tokens whose keys are served over real HTTP."""
    with Issuer() as running:
        yield running


@pytest.fixture(scope="session")
def common_settings(redis_url: str, issuer: Issuer) -> dict[str, Any]:
    """Return the settings that services have in common in tests; each needs a database besides."""
    return {
        "environment": "test",
        "debug": True,
        "logging_sink": "none",
        "redis_url": redis_url,
        "auth_issuer": issuer.issuer,
        "auth_jwks_url": issuer.jwks_url,
    }


@pytest.fixture(scope="session")
def auth_url() -> Iterator[str]:
    """Return the internal address of an auth that knows one API key: `token_kinds.API_KEY`."""
    with serving(fake_auth()) as url:
        yield url


@pytest.fixture(scope="session")
def fork_server() -> Iterator[Callable[[Path], ForkServer]]:
    """Return a function that starts a program's fork server, or gives the one started before."""
    with contextlib.ExitStack() as stack:
        yield cache(lambda program: stack.enter_context(ForkServer(program)))


@pytest.fixture
def captured_telemetry(capfd: pytest.CaptureFixture[str]) -> Iterator[CapturedTelemetry]:
    """Return what collects the logs, traces and metrics of services in this process."""
    with capture_telemetry(lambda: capfd.readouterr().out) as collected:
        yield collected


@pytest.fixture(scope="session")
def _redis_connection(redis_url: str) -> Iterator[Redis]:
    """Return the one connection by which Redis is emptied: to make one takes longer."""
    with Redis.from_url(redis_url) as redis:
        yield redis


@pytest.fixture(autouse=True)
def _emptied(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave nothing behind: what a test committed is gone before the next one."""
    # Only what this worker has started; a test that needs no server starts none.
    redis = request.getfixturevalue("_redis_connection") if "redis_url" in request.fixturenames else None
    yield
    if "databases" in request.fixturenames:
        request.getfixturevalue("databases").empty(without=other_services(request.path))
    if redis:
        redis.flushall()
