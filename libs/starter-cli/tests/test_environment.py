import os
from importlib import import_module
from pathlib import Path

import pytest
from dotenv import dotenv_values
from starter_cli import environment, variables
from starter_cli.paths import CHECKOUT, SECRETS, SERVICES, DataDir, Layout, port_names, replica_names

CALLERS = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "AGENT_MODEL_DEFAULT",
    "RESEND_API_KEY",
    "AWS_SECRET_ACCESS_KEY",
)
BILLING = ("ENABLE_BILLING", "STRIPE_SECRET_KEY", "STRIPE_API_BASE")


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    for name in (*CALLERS, *BILLING):
        monkeypatch.delenv(name, raising=False)
    data_dir = DataDir(tmp_path)
    data_dir.create()
    named = replica_names({"chat-agent": 2})
    ports = {name: 20_001 + number for number, name in enumerate(port_names(named))}
    secrets = {name: f"secret of {name}" for name in SECRETS}
    return Layout(data_dir, ports, secrets, replicas=named, settings={"chat-agent": {"CHAT_RATE": "7"}})


def test_without_a_key_the_model_and_the_mail_are_the_sandbox(layout: Layout) -> None:
    assert environment.for_service(layout, "chat-agent")["OPENAI_BASE_URL"] == f"{layout.sandbox_url}/v1"
    assert (
        environment.for_service(layout, "notification")["RESEND_BASE_URL"] == f"{layout.sandbox_url}/resend"
    )


def test_the_sandbox_speaks_the_protocol_that_is_set(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API", "chat_completions")
    result = environment.for_service(layout, "chat-agent")
    assert (result["OPENAI_API"], result["AGENT_MODEL_DEFAULT"]) == ("chat_completions", "sandbox-large")


def test_a_server_without_a_key_needs_its_address_and_a_model_alone(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:11434/v1")
    monkeypatch.setenv("AGENT_MODEL_DEFAULT", "llama3.2")
    result = environment.for_service(layout, "chat-agent")
    assert result["OPENAI_BASE_URL"] == "http://localhost:11434/v1"
    assert result["AGENT_MODEL_DEFAULT"] == "llama3.2"
    assert result["OPENAI_API"] == "chat_completions"
    assert result["OPENAI_API_KEY"]
    monkeypatch.setenv("OPENAI_API", "responses")
    assert environment.for_service(layout, "chat-agent")["OPENAI_API"] == "responses"


def test_links_in_mails_lead_to_a_page_unless_there_is_a_frontend(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in (layout.pages_url, "https://app.example.com"):
        result = {
            environment.for_service(layout, name)["APP_PUBLIC_URL"] for name in ("auth", "notification")
        }
        assert result == {url}
        monkeypatch.setenv("APP_PUBLIC_URL", "https://app.example.com")


def test_both_names_of_this_machine_are_origins_unless_others_are_chosen(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = layout.ports["gateway"]
    origins = environment.for_gateway(layout, "envoy")["ALLOWED_ORIGINS"].split(",")
    assert {f"http://localhost:{port}", f"http://127.0.0.1:{port}"} < set(origins)
    monkeypatch.setenv("ALLOWED_ORIGINS", "https://app.example.com")
    assert environment.for_gateway(layout, "envoy")["ALLOWED_ORIGINS"] == "https://app.example.com"


@pytest.mark.parametrize("service", SERVICES)
def test_every_field_of_a_services_settings_is_known(service: str) -> None:
    settings = import_module(f"{SERVICES[service]}.settings").Settings
    assert {name.upper() for name in settings.model_fields} <= variables.names_read_by(service)


def settable() -> list[tuple[str, str]]:
    """Every variable that a service reads and that the runner leaves to the caller."""
    return [(part, name) for part in SERVICES for name in sorted(variables.names_read_by(part))]


@pytest.mark.parametrize(("part", "name"), settable())
def test_every_setting_reaches_its_service_or_is_listed_as_one_that_does_not(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, part: str, name: str
) -> None:
    for variable in ("OPENAI_API_KEY", "RESEND_API_KEY"):  # with these, nothing is the sandbox's
        monkeypatch.setenv(variable, "of the caller")
    monkeypatch.setenv(name, "from the caller")
    overruled, unknown = variables.unused(environment.for_all(layout), [name])
    assert unknown == []
    reaches = environment.for_service(layout, part).get(name) == "from the caller"
    assert reaches != (name in overruled)


def test_a_file_is_read_where_the_environment_says_nothing(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text(
        'APP_PUBLIC_URL="https://file.example"  # where\nALLOWED_ORIGINS=https://file.example\n'
        "AGENT_MODEL_DEFAULT=\nNONSENSE=1\nDATABASE_URL=postgresql://elsewhere\nGATEWAY_PORT=8001\n"
    )
    monkeypatch.setattr("os.environ", {**os.environ, "ALLOWED_ORIGINS": "https://environment.example"})
    names = variables.load(file)
    result = environment.for_all(layout)
    assert result["notification"]["APP_PUBLIC_URL"] == "https://file.example"
    assert result["gateway"]["ALLOWED_ORIGINS"] == "https://environment.example"
    assert variables.unused(result, names) == (["DATABASE_URL"], ["NONSENSE"])


def test_the_sample_file_names_only_what_is_read() -> None:
    known = {name for part in (*SERVICES, "gateway") for name in variables.names_read_by(part)}
    sample = dotenv_values(CHECKOUT / ".env.example")
    assert sample.keys() <= known
    assert set(sample.values()) == {""}


def test_with_a_key_the_model_is_the_real_one(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-caller")
    result = environment.for_service(layout, "chat-agent")
    assert result["OPENAI_API_KEY"] == "sk-of-the-caller"
    assert "OPENAI_BASE_URL" not in result
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")
    monkeypatch.setenv("AGENT_MODEL_DEFAULT", "llama3")
    result = environment.for_service(layout, "chat-agent")
    assert result["OPENAI_BASE_URL"] == "http://127.0.0.1:11434/v1"
    assert result["AGENT_MODEL_DEFAULT"] == "llama3"


def test_with_a_key_of_another_provider_its_model_is_the_real_one(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-caller")
    result = environment.for_service(layout, "chat-agent")
    assert (result["AGENT_MODEL_DEFAULT"], result["OPENAI_API_KEY"]) == ("sandbox-large", "sandbox")
    monkeypatch.setenv("AGENT_MODEL_DEFAULT", "anthropic/claude-sonnet-4-5")
    result = environment.for_service(layout, "chat-agent")
    assert result["AGENT_MODEL_DEFAULT"] == "anthropic/claude-sonnet-4-5"
    assert result["ANTHROPIC_API_KEY"] == "sk-of-the-caller"
    assert "OPENAI_BASE_URL" not in result


def test_with_a_key_mail_really_goes_out(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEND_API_KEY", "re_of_the_caller")
    result = environment.for_service(layout, "notification")
    assert result["RESEND_API_KEY"] == "re_of_the_caller"
    assert "RESEND_BASE_URL" not in result


def test_without_a_key_stripe_is_the_sandbox_and_billing_is_on(layout: Layout) -> None:
    layout.data_dir.stripe_variables.write_text("STRIPE_WEBHOOK_SECRET=whsec_written\nENABLE_BILLING=true\n")
    result = environment.for_service(layout, "billing-webhook")
    assert result["STRIPE_API_BASE"] == f"{layout.sandbox_url}/stripe"
    assert result["STRIPE_SECRET_KEY"].startswith("sk_test_")
    assert result["STRIPE_WEBHOOK_SECRET"] == "whsec_written"
    assert result["ENABLE_BILLING_STREAM"] == "true"
    assert environment.for_service(layout, "chat-agent")["ENABLE_BILLING"] == "true"


def test_with_a_key_stripe_is_the_real_one(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    layout.data_dir.stripe_variables.write_text("STRIPE_WEBHOOK_SECRET=whsec_of_the_sandbox\n")
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_of_the_caller")
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", "whsec_of_the_caller")
    result = environment.for_service(layout, "billing-webhook")
    assert result["STRIPE_SECRET_KEY"] == "sk_test_of_the_caller"
    assert result["STRIPE_WEBHOOK_SECRET"] == "whsec_of_the_caller"
    assert result["ENABLE_BILLING"] == "true"
    assert "STRIPE_API_BASE" not in result


@pytest.mark.parametrize("value", ["false", "0", "OFF"])
def test_billing_can_be_turned_off(layout: Layout, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ENABLE_BILLING", value)
    for service in ("billing-webhook", "chat-agent"):
        result = environment.for_service(layout, service)
        assert result["ENABLE_BILLING"] == value
        assert result.keys().isdisjoint(("STRIPE_API_BASE", "STRIPE_SECRET_KEY", "ENABLE_BILLING_STREAM"))


def test_the_callers_secrets_reach_nobody_else(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CALLERS:
        monkeypatch.setenv(name, "of the caller")
    result = {service: environment.for_service(layout, service) for service in SERVICES}
    result["sandbox"] = environment.python_variables()
    result["gateway"] = environment.for_gateway(layout, "envoy")
    knowing = {part: sorted(name for name in CALLERS if name in values) for part, values in result.items()}
    assert {part: names for part, names in knowing.items() if names} == {
        "chat-agent": ["AGENT_MODEL_DEFAULT", "OPENAI_API_KEY", "OPENAI_BASE_URL"],
        "notification": ["RESEND_API_KEY"],
    }


def test_each_service_gets_its_own_database_and_credentials_alone(layout: Layout) -> None:
    for service in SERVICES:
        result = " ".join(environment.for_service(layout, service).values())
        others = [f"secret of {other}-database" for other in SERVICES if other != service]
        assert f"secret of {service}-database" in result
        assert [secret for secret in others if secret in result] == []


def test_a_second_replica_differs_from_the_first_in_its_ports_alone(layout: Layout) -> None:
    first, second = (environment.for_service(layout, name) for name in ("chat-agent", "chat-agent-2"))
    assert {name for name in first if first[name] != second[name]} == {"PORT", "INTERNAL_PORT"}
    assert environment.for_gateway(layout, "envoy")["CHAT_AGENT_2_PORT"] == second["PORT"]


def test_a_service_gets_the_settings_beyond_the_usual(layout: Layout) -> None:
    result = {name for name in layout.replicas if "CHAT_RATE" in environment.for_service(layout, name)}
    assert result == {"chat-agent", "chat-agent-2"}
