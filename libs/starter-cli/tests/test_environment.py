from pathlib import Path

import pytest
from starter_cli import environment
from starter_cli.layout import SECRETS, SERVICES, Folders, Layout, port_names, replicas_of

CALLERS = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "AGENT_MODEL_DEFAULT",
    "RESEND_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
)


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    for name in CALLERS:
        monkeypatch.delenv(name, raising=False)
    folders = Folders(tmp_path)
    folders.make()
    named = replicas_of({"chat-agent": 2})
    ports = {name: 20_001 + number for number, name in enumerate(port_names(named))}
    secrets = {name: f"secret of {name}" for name in SECRETS}
    return Layout(folders, ports, secrets, replicas=named, settings={"chat-agent": {"CHAT_RATE": "7"}})


def test_without_a_key_the_model_and_the_mail_are_the_sandbox(layout: Layout) -> None:
    assert environment.of_service(layout, "chat-agent")["OPENAI_BASE_URL"] == f"{layout.sandbox_url}/v1"
    assert environment.of_service(layout, "notification")["RESEND_BASE_URL"] == f"{layout.sandbox_url}/resend"


def test_with_a_key_the_model_is_the_real_one(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-caller")
    told = environment.of_service(layout, "chat-agent")
    assert told["OPENAI_API_KEY"] == "sk-of-the-caller"
    assert "OPENAI_BASE_URL" not in told
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")
    monkeypatch.setenv("AGENT_MODEL_DEFAULT", "llama3")
    told = environment.of_service(layout, "chat-agent")
    assert told["OPENAI_BASE_URL"] == environment.model_address() == "http://127.0.0.1:11434/v1"
    assert told["AGENT_MODEL_DEFAULT"] == "llama3"


def test_with_a_key_mail_really_goes_out(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEND_API_KEY", "re_of_the_caller")
    told = environment.of_service(layout, "notification")
    assert told["RESEND_API_KEY"] == "re_of_the_caller"
    assert "RESEND_BASE_URL" not in told


def test_the_callers_secrets_reach_nobody_else(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CALLERS:
        monkeypatch.setenv(name, "of the caller")
    told = {service: environment.of_service(layout, service) for service in SERVICES}
    told["sandbox"] = environment.python()
    told["gateway"] = environment.of_gateway(layout, "envoy")
    knowing = {part: sorted(name for name in CALLERS if name in given) for part, given in told.items()}
    assert {part: names for part, names in knowing.items() if names} == {
        "chat-agent": ["AGENT_MODEL_DEFAULT", "OPENAI_API_KEY", "OPENAI_BASE_URL"],
        "notification": ["RESEND_API_KEY"],
    }


def test_each_service_gets_its_own_database_and_credentials_alone(layout: Layout) -> None:
    for service in SERVICES:
        told = " ".join(environment.of_service(layout, service).values())
        others = [f"secret of {other}-database" for other in SERVICES if other != service]
        assert f"secret of {service}-database" in told
        assert [secret for secret in others if secret in told] == []


def test_a_second_replica_differs_from_the_first_in_its_ports_alone(layout: Layout) -> None:
    first, second = (environment.of_service(layout, name) for name in ("chat-agent", "chat-agent-2"))
    assert {name for name in first if first[name] != second[name]} == {"PORT", "INTERNAL_PORT"}
    assert environment.of_gateway(layout, "envoy")["CHAT_AGENT_2_PORT"] == second["PORT"]


def test_a_service_is_told_what_was_asked_for_beyond_the_usual(layout: Layout) -> None:
    told = {name for name in layout.replicas if "CHAT_RATE" in environment.of_service(layout, name)}
    assert told == {"chat-agent", "chat-agent-2"}
