"""What every service refuses to start with in production, and that it names all of it at once."""

import importlib.util
import json
import os
import re
import signal
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml
from pydantic import ValidationError
from sandbox.embedded import free_port
from servicekit.settings import ServiceSettings
from servicekit.settings_errors import messages_of
from testkit.contract_documents import module, services
from testkit.eventually import MAX_START_SECONDS, until
from testkit.fork_server import ForkServer
from testkit.live_server import NO_AUTHORITIES
from testkit.pacts import ROOT
from testkit.production import production_settings

SERVICES = services()
NAMED = re.compile(r"^- ([A-Z_]+)", re.MULTILINE)
REQUIRED = re.compile(r"^Required: (.+?)\.\sOutside development also (.+?)[.;]\s", re.MULTILINE | re.DOTALL)
VARIABLE = re.compile(r"`([A-Z_]+)[=`]")
IN_BRACKETS = re.compile(r"\(.*?\)", re.DOTALL)
URLS = ("DATABASE_URL", "REDIS_URL")
SEED_SAMPLE = "change-me"


@cache
def script() -> Any:
    spec = importlib.util.spec_from_file_location("sample_secrets", ROOT / "scripts" / "sample_secrets.py")
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@cache
def samples() -> set[str]:
    """Find the samples that the repository shows; reading all of it takes more than a second."""
    samples: set[str] = script().samples()
    return samples


def settings_class(service: str) -> type[ServiceSettings]:
    kind: type[ServiceSettings] = module(service, "settings").Settings
    return kind


def secrets_of(service: str) -> list[str]:
    """Name the secrets that a service may be given."""
    fields = settings_class(service).model_fields
    return [name.upper() for name in script().names() if name in fields]


def placed(name: str, secret: str) -> list[str]:
    """Put a secret where a variable holds it."""
    if name == "AUTH_SERVICE_SECRETS":
        return [json.dumps({"chat-agent": "Zx81-a-good-one-of-its-own", "conversation": secret})]
    if name in URLS:
        scheme = "postgresql" if name == "DATABASE_URL" else "redis"
        password = quote(secret, safe="")
        return [
            f"{scheme}://acme:{password}@h1.example:5432,h2.example:5433/0",
            f"{scheme}://acme@h.example/0?password={password}",
        ]
    return [secret]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {name for service in SERVICES for name in settings_class(service).model_fields}:
        monkeypatch.delenv(name.upper(), raising=False)


def refused_variables(monkeypatch: pytest.MonkeyPatch, service: str, **environment: str) -> set[str]:
    """Return the variables that a service names where nothing but `environment` is set."""
    with monkeypatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(ValidationError) as error:
            settings_class(service)()
    return {message.split()[0] for message in messages_of(error.value)}


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_says_which_variables_it_requires(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    pages = [ROOT / "services" / service / "README.md", ROOT / "docs" / "reference" / f"{service}.md"]
    (match,) = [match for page in pages if (match := REQUIRED.search(page.read_text()))]
    everywhere, production = [set(VARIABLE.findall(IN_BRACKETS.sub("", part))) for part in match.groups()]
    development = {"ENVIRONMENT": "development", "DEBUG": "true"}
    assert everywhere == refused_variables(monkeypatch, service, **development)
    assert everywhere | production == refused_variables(monkeypatch, service)
    assert not everywhere & production


def refusal(monkeypatch: pytest.MonkeyPatch, service: str, **changes: str) -> list[str]:
    """Return what a service says of its least settings with some changes."""
    with monkeypatch.context() as patch:
        for name, value in (production_settings(service) | changes).items():
            patch.setenv(name, value)
        try:
            settings_class(service)()
        except ValidationError as error:
            return messages_of(error)
    return []


def test_the_samples_are_those_that_the_repository_shows() -> None:
    compose = set(re.findall(r"\$\{\w*(?:SECRET|PASSWORD|PEPPER|KEY|SALT):-([^}]+)\}", compose_file()))
    local = set(
        re.findall(r"development-only[\w-]*", (ROOT / "k8s/overlays/local/kustomization.yaml").read_text())
    )
    assert compose | local <= samples()
    assert {"pepper of passwords", "re_sandbox", "sk-sandbox"} <= samples()


def test_compose_takes_the_inputs_of_the_sandboxs_model_and_of_the_default() -> None:
    variables = yaml.safe_load(compose_file())["services"]["chat-agent"]["environment"]
    inputs = json.loads(re.fullmatch(r"\$\{MODEL_INPUTS:-(.+)\}", variables["MODEL_INPUTS"])[1])  # type: ignore[index]
    model = variables["AGENT_MODEL_DEFAULT"].removeprefix("${AGENT_MODEL_DEFAULT:-").removesuffix("}")
    assert inputs.keys() == {model, "gpt-5.1"}
    assert set(inputs[model]) == {"image", "file", "audio"}
    assert set(inputs["gpt-5.1"]) == {"image", "file"}


def compose_file() -> str:
    return (ROOT / "docker-compose.yml").read_text()


def test_the_list_of_samples_is_current() -> None:
    written = script().LIST.read_text().split()
    assert written == sorted(map(script().sample_secrets.digest, map(str.encode, samples())))


@pytest.mark.parametrize("service", SERVICES)
def test_starts_with_the_least_and_secrets_of_its_own(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    assert refusal(monkeypatch, service) == []


@pytest.mark.parametrize("service", SERVICES)
def test_refuses_every_sample_in_every_secret(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    for name in secrets_of(service):
        for sample in samples():
            for value in placed(name, sample):
                messages = refusal(monkeypatch, service, **{name: value})
                assert [one for one in messages if one.startswith(name)], (name, value)
                assert len(sample) < 8 or sample not in "".join(messages), (name, value)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("sample", ["development-only-redis", "ZGV2ZWxvcG1lbnQtb25seS1zZWFsaW5nLWtleS0zMkI="])
def test_refuses_a_sample_in_other_spellings(
    monkeypatch: pytest.MonkeyPatch, service: str, sample: str
) -> None:
    encoded = b64encode(sample.encode()).decode()
    for name in secrets_of(service):
        for spelling in (
            f" {sample}\n",
            encoded,
            encoded.rstrip("="),
            f"{encoded} ",
            f"{SEED_SAMPLE}-{sample}",
        ):
            for value in placed(name, spelling):
                messages = refusal(monkeypatch, service, **{name: value})
                assert [one for one in messages if one.startswith(name)], (name, value)


@pytest.mark.parametrize("service", SERVICES)
def test_wants_secrets_of_our_own_making_to_be_long(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    kind = settings_class(service)
    for name in kind.strong_secrets & kind.model_fields.keys():
        (value,) = placed(name.upper(), "fifteen-long-XY")
        messages = refusal(monkeypatch, service, **{name.upper(): value})
        assert [one for one in messages if "is shorter than 16" in one and one.startswith(name.upper())], name


@pytest.mark.parametrize("service", SERVICES)
def test_needs_no_samples_in_development(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    key = "ZGV2ZWxvcG1lbnQtb25seS1zZWFsaW5nLWtleS0zMkI="
    development = {"ENVIRONMENT": "development", "DEBUG": "true"}
    values = {
        name: placed(name, key if "SEALING" in name or "ENCRYPTION" in name else "sandbox")[0]
        for name in secrets_of(service)
    }
    assert refusal(monkeypatch, service, **development, **values) == []


@pytest.mark.parametrize("service", SERVICES)
def test_names_what_is_invalid_beside_what_is_missing_and_what_is_a_sample(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    messages = refusal(
        monkeypatch,
        service,
        PORT="eighty",
        LOGGING_SINK="datadog",
        AUTH_JWKS_URL="",
        AUTH_SERVICE_SECRETS="no JSON",
        LOGGING_OTLP_HEADERS="[]",
        REDIS_URL="redis://:development-only@redis/0",
    )
    named = {message.split()[0] for message in messages}
    own = {"AUTH_SERVICE_SECRETS"} if service == "auth" else set()
    assert named == own | {
        "PORT",
        "LOGGING_DATADOG_API_KEY",
        "AUTH_JWKS_URL",
        "LOGGING_OTLP_HEADERS",
        "REDIS_URL",
    }


# As processes: what an operator sees.


def main_module(service: str) -> str:
    return f"{service.replace('-', '_')}.main"


class Operator:
    """Starts programs with an environment as bare as a container's."""

    def __init__(self, programs: ForkServer, log: Path) -> None:
        self._programs = programs
        self._log = log

    def start(self, environment: dict[str, str], *argv: str, folder: Path | None = None) -> int:
        bare = {"PATH": os.environ["PATH"], **environment}
        return self._programs.start(bare, self._log, argv, folder or self._log.parent)

    def exit_code(self, pid: int) -> int | None:
        return self._programs.poll(pid)

    def output_of_failure(self, environment: dict[str, str], *argv: str, folder: Path | None = None) -> str:
        """Start a program, and return what it says when it fails without a traceback."""
        pid = self.start(environment, *argv, folder=folder)
        until(lambda: self.exit_code(pid) is not None, MAX_START_SECONDS)
        assert self.exit_code(pid) == 1
        output = self._log.read_text()
        assert "Traceback" not in output
        return output


@pytest.fixture
def operator(programs: ForkServer, tmp_path: Path) -> Operator:
    return Operator(programs, tmp_path / "log")


@pytest.mark.parametrize("service", SERVICES)
def test_a_process_refuses_the_samples_and_shows_none(service: str, operator: Operator) -> None:
    values = {name: placed(name, "development-only-redis")[0] for name in secrets_of(service)}

    output = operator.output_of_failure({**production_settings(service), **values}, main_module(service))

    assert set(NAMED.findall(output)) == set(secrets_of(service))
    assert "development-only" not in output


@pytest.mark.parametrize("service", SERVICES)
def test_an_empty_environment_is_answered_with_all_that_is_needed(
    service: str, operator: Operator, migrated: Any, redis_url: str
) -> None:
    named = NAMED.findall(operator.output_of_failure({}, main_module(service)))
    ports = {"PORT": str(free_port()), "INTERNAL_PORT": str(free_port())}
    real = {"DATABASE_URL": migrated(service), "REDIS_URL": redis_url}
    good = {**production_settings(service), **real}

    pid = operator.start({**ports, **{name: good[name] for name in named}}, main_module(service))
    try:
        url = f"http://127.0.0.1:{ports['INTERNAL_PORT']}/healthz"
        with httpx.Client(verify=NO_AUTHORITIES, timeout=60) as client:
            until(lambda: answers(operator, pid, client, url), MAX_START_SECONDS)
    finally:
        os.kill(pid, signal.SIGKILL)
        until(lambda: operator.exit_code(pid) is not None)


def answers(operator: Operator, pid: int, client: httpx.Client, url: str) -> bool:
    assert operator.exit_code(pid) is None
    try:
        return client.get(url).is_success
    except httpx.TransportError:
        return False


def test_auth_names_the_catalogue_that_it_cannot_read(operator: Operator) -> None:
    variables = {**production_settings("auth"), "AUTH_SERVICE_ACCOUNTS_FILE": "/nowhere/accounts.yaml"}
    output = operator.output_of_failure(variables, main_module("auth"))
    assert output.startswith("AUTH_SERVICE_ACCOUNTS_FILE /nowhere/accounts.yaml: ")
    assert "Traceback" not in output


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_name_the_address_that_they_need(service: str, operator: Operator) -> None:
    folder = ROOT / "services" / service
    output = operator.output_of_failure({}, "alembic", "upgrade", "head", folder=folder)
    assert "DATABASE_URL is missing" in output
