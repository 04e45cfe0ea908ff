"""Posts log lines to Datadog."""

from collections.abc import Sequence

import httpx
import orjson

from servicekit.log_sinks import Write
from servicekit.settings import ServiceSettings


def writer(settings: ServiceSettings, timeout: float) -> Write:
    """Post to Datadog's HTTP intake (docs.datadoghq.com/api/latest/logs, `POST /api/v2/logs`)."""
    assert settings.logging_datadog_api_key  # noqa: S101  # the settings refuse to boot without it
    client = httpx.Client(
        base_url=datadog_intake(settings.logging_datadog_site),
        headers={
            "DD-API-KEY": settings.logging_datadog_api_key.get_secret_value(),
            "Content-Type": "application/json",
        },
        timeout=timeout,
        transport=httpx.HTTPTransport(retries=2),
    )

    def write(lines: Sequence[str]) -> None:
        entries = [{"message": line, "ddsource": "acme"} for line in lines]
        client.post("/api/v2/logs", content=orjson.dumps(entries)).raise_for_status()

    return write


def datadog_intake(site: str) -> str:
    """Return the address of a site's intake; a whole URL is taken as it is (a proxy, or an agent)."""
    return site if "://" in site else f"https://http-intake.logs.{site}"
