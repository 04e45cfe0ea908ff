"""start.sh: what it fills in, and what it refuses to."""

import subprocess

import httpx
import pytest
import yaml

HOSTILE_ORIGINS = [
    "*",
    "null",
    "localhost:3000",
    "https://app.example.com/",
    "https://app.example.com/path",
    "https://user@app.example.com",
    "https://App.example.com",
    "https://*.example.com",
    'https://a.example"}]',
    "https://a.example'",
    "https://a.example\n                          allow_credentials: true",
    "https://a.example}, {safe_regex: {regex: .*}}",
    "https://a.example#",
    "https://a.example|e id",
    "https://a.example&",
    "https://a.example\\",
    "https://$(id)",
    "https://a b.example",
    "https://ä.example",
]


@pytest.mark.parametrize("origins", HOSTILE_ORIGINS)
def test_refuses_what_is_not_an_exact_origin(script, origins):
    done = script(ALLOWED_ORIGINS=f"https://fine.example,{origins}")

    assert done.returncode == 64
    assert done.stderr.startswith("gateway: ALLOWED_ORIGINS must be exact origins")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "http"),
        ("GATEWAY_PORT", "65536"),
        ("GATEWAY_ADMIN_PORT", "0"),
        ("GATEWAY_INTERNAL_PORT", "1}"),
        ("GATEWAY_ADDRESS", "0.0.0.0 "),
        ("AUTH_ADDRESS", "auth/x"),
        ("CHAT_AGENT_ADDRESS", "a b"),
        ("CHAT_AGENT_2_PORT", "many"),
        ("CONVERSATION_PORT", "80\n81"),
        ("AUTH_ISSUER", ""),
        ("AUTH_ISSUER", 'http://x"'),
        ("TRUSTED_HOPS", "-1"),
        ("GATEWAY_AUTH_RATE_PER_MINUTE", "0"),
        ("GATEWAY_TIMEOUT_SECONDS", "1.5"),
        ("GATEWAY_TRACE_PERCENT", "101"),
        ("GATEWAY_CONCURRENCY", "many"),
        ("GATEWAY_HSTS", "yes"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector"),
    ],
)
def test_names_the_variable_that_makes_no_sense(script, name, value):
    done = script(**{name: value})

    assert done.returncode == 64
    assert done.stderr.startswith(f"gateway: {name} must be ")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ALLOWED_ORIGINS": "", "AUTH_PORT": "tcp://10.0.0.7:8000"},
        {"ALLOWED_ORIGINS": " http://localhost:3000 ,, http://[::1]:3000, capacitor://localhost"},
        {"GATEWAY_ADDRESS": "::", "GATEWAY_INTERNAL_PORT": "9000", "GATEWAY_HSTS": "true"},
        {"CHAT_AGENT_2_ADDRESS": "127.0.0.1", "CHAT_AGENT_2_PORT": "8001"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/", "GATEWAY_TRACE_PERCENT": "0.5"},
    ],
    ids=str,
)
def test_makes_a_configuration_that_envoy_accepts_without_a_warning_about_it(script, tmp_path, settings):
    done = script(**settings)

    configuration = (tmp_path / "envoy.yaml").read_text()
    assert done.returncode == 0, done.stderr
    assert "eprecated" not in done.stderr
    assert "${" not in configuration.split("\n", 1)[1]
    assert yaml.safe_load(configuration)


def test_gives_kubernetes_the_same_two_files(folder):
    [config_map] = yaml.safe_load((folder / "kustomization.yaml").read_text())["configMapGenerator"]

    assert config_map["name"] == "gateway"
    assert config_map["files"] == ["envoy.yaml", "start.sh"]


def test_serves_probes_and_metrics_on_a_port_of_their_own(gateway):
    inside = f"http://127.0.0.1:{gateway.internal_port}"

    assert httpx.get(f"{inside}/healthz", trust_env=False, timeout=60).status_code == 200
    assert httpx.get(f"{inside}/readyz", trust_env=False, timeout=60).status_code == 200
    assert (
        "envoy_http_downstream_rq_total" in httpx.get(f"{inside}/metrics", trust_env=False, timeout=60).text
    )
    assert httpx.get(f"{inside}/config_dump", trust_env=False, timeout=60).status_code == 404
    assert httpx.post(f"{inside}/quitquitquit", trust_env=False, timeout=60).status_code == 404


def test_is_healthy_in_a_container_when_it_is_ready(gateway, folder):
    def checked(path):
        script = [folder.parent / "healthcheck.sh", path, str(gateway.internal_port)]
        return subprocess.run(script, capture_output=True, timeout=60, check=False).returncode

    assert (checked("/readyz"), checked("/elsewhere")) == (0, 1)
