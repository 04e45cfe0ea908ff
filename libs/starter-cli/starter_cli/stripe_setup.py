"""Steps of a start that prepare billing at the sandbox's Stripe; once they are done, they do nothing more."""

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from threading import Event

import httpx

from starter_cli import billing, environment, owner
from starter_cli.gateway import GatewayClient, UnexpectedResponse
from starter_cli.paths import CHECKOUT, SERVICES, Layout, service_dir
from starter_cli.processes import PYTHON, Process, Program

# What of billing-webhook decides about products, prices, and events that are sent.
SOURCES = ("plans", "stripe_events", "stripe_setup")
ENDPOINTS = ("v1/webhook_endpoints", "v2/core/event_destinations")
# What runs use.
FEATURES = ("messages", "input_tokens", "output_tokens", "cost")


def run_setup(layout: Layout, cancelled: Event) -> None:
    """Run `stripe setup` at the sandbox, unless what it would set up is there; raises Failure."""
    marker, expected = layout.data_dir.stripe_marker, fingerprint(layout)
    headers = {"Authorization": f"Bearer {billing.SANDBOX_KEY}"}
    with httpx.Client(base_url=layout.stripe_url, headers=headers, trust_env=False) as stripe:
        endpoints = list(existing_endpoints(stripe))
        if endpoints and marker.exists() and marker.read_text() == expected:
            return
        # Their secrets are new then, or their address is that of another gateway.
        for endpoint in endpoints:
            stripe.delete(endpoint).raise_for_status()
    options = ("--webhook-url", webhook_url(layout), "--env-file", str(layout.data_dir.stripe_variables))
    run_command(layout, cancelled, "stripe", "setup", "--webhook-secret", "", *options)
    marker.write_text(expected)


def existing_endpoints(stripe: httpx.Client) -> Iterator[str]:
    """List the paths of the endpoints that the sandbox sends events to."""
    for path in ENDPOINTS:
        for endpoint in stripe.get(path).raise_for_status().json()["data"]:
            yield f"{path}/{endpoint['id']}"


def webhook_url(layout: Layout) -> str:
    """Return where the sandbox sends events: to the gateway, as Stripe would."""
    return f"{layout.gateway_url}/webhooks/stripe"


def fingerprint(layout: Layout) -> str:
    """Return what changes when `stripe setup` has something to change."""
    digest = sha256(webhook_url(layout).encode())
    for file in source_files():
        digest.update(file.read_bytes())
    return digest.hexdigest()


def source_files() -> list[Path]:
    """List the files that decide what `stripe setup` sets up."""
    package = service_dir(billing.SERVICE) / SERVICES[billing.SERVICE]
    files = (file for folder in SOURCES for file in (package / folder).glob("*.*") if file.is_file())
    return [CHECKOUT / "requirements.lock", *sorted(files)]


def lift_limits(layout: Layout, cancelled: Event) -> None:
    """Grant the first tenant what runs use without limit, once; who registers has the plan's limits.

    Otherwise the free plan would end the demonstration after a hundred messages. Raises Failure.
    """
    marker, databases = layout.data_dir.databases / "first-grants", owner.databases_location(layout)
    if marker.exists() and marker.read_text() == databases:
        return
    # An owner who has changed their password, or has a second factor, is nobody's demonstration any more.
    with suppress(UnexpectedResponse, KeyError), GatewayClient(layout.url("auth")) as auth:
        auth.sign_in(owner.first_owner(layout))
        command = ("entitlements", "grant", auth.tenant_id, *FEATURES)
        run_command(layout, cancelled, *command, "--reason", "the first tenant of this machine")
    marker.write_text(databases)


def run_command(layout: Layout, cancelled: Event, *command: str) -> None:
    """Run a command of billing-webhook; raises Failure."""
    program = Program(
        name=" ".join(command[:2]),
        argv=[*PYTHON, "billing_webhook", *command],
        cwd=service_dir(billing.SERVICE),
        environment=environment.for_service(layout, billing.SERVICE),
        log=layout.data_dir.log("billing-setup"),
    )
    Process(program).wait(cancelled)
