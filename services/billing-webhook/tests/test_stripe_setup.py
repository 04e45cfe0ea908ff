"""`stripe setup` against the sandbox's Stripe."""

import json
from decimal import Decimal

import pytest
import stripe
from billing_webhook.cli import main
from billing_webhook.plans.catalog import catalog
from sandbox.stripe.app import create_stripe
from testkit.live_server import serving

from .sandbox_stripe import KEY, Sandbox

URL = "http://127.0.0.1:9/webhooks/stripe"


@pytest.fixture
def empty():
    """A Stripe without anything."""
    with serving(create_stripe()) as url:
        sandbox = Sandbox(url)
        yield sandbox
        sandbox.close()


@pytest.fixture
def env_file(tmp_path):
    file = tmp_path / ".env"
    file.write_text("# mine\nOPENAI_API_KEY=sk-mine\nENABLE_BILLING=false\n")
    return file


@pytest.fixture
def setup(empty, env_file, monkeypatch, capsys):
    """Run the command, and return what it prints."""

    def run(*options, key=KEY, secret="", status=0):
        variables = {"STRIPE_SECRET_KEY": key, "STRIPE_API_BASE": empty.url, "STRIPE_WEBHOOK_SECRET": secret}
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        ended = main(["stripe", "setup", "--env-file", str(env_file), *options])
        printed = capsys.readouterr()
        assert ended == status, printed.err
        return printed.out + printed.err

    return run


def values_of(env_file):
    lines = [line for line in env_file.read_text().splitlines() if "=" in line]
    return {name: value.strip("'") for name, _, value in (line.partition("=") for line in lines)}


def test_sets_up_everything_once(setup, empty, env_file):
    assert "price acme_starter_month_eur_1900" in setup("--webhook-url", URL)
    written = values_of(env_file)
    assert (written["OPENAI_API_KEY"], written["ENABLE_BILLING"], written["STRIPE_SECRET_KEY"]) == (
        "sk-mine",
        "true",
        KEY,
    )
    assert env_file.read_text().startswith("# mine\n")
    assert env_file.stat().st_mode & 0o777 == 0o600
    prices = {price.id: price for price in empty.client.v1.prices.list({"limit": 100}).data}
    price_map = json.loads(written["STRIPE_PRODUCT_PRICE_MAP"])
    assert price_map.keys() == {plan.code for plan in catalog().paid_plans}
    assert prices[price_map["pro"]].unit_amount == 4900
    [metered] = [price for price in prices.values() if price.recurring.usage_type == "metered"]
    expanded = empty.client.v1.prices.retrieve(metered.id, {"expand": ["tiers"]})
    assert [tier.up_to for tier in expanded.tiers] == [50_000, None]
    assert Decimal(expanded.tiers[1].unit_amount_decimal) == Decimal("0.5")
    assert {meter.event_name for meter in empty.client.v1.billing.meters.list().data} == {
        meter.event_name for meter in catalog().meters
    }
    [endpoint] = empty.client.v1.webhook_endpoints.list().data
    assert (endpoint.url, endpoint.api_version) == (URL, stripe.api_version)
    assert "invoice.paid" in endpoint.enabled_events
    assert "*" not in endpoint.enabled_events
    [destination] = empty.client.v2.core.event_destinations.list().data
    assert "v1.billing.meter.error_report_triggered" in destination.enabled_events
    secrets = written["STRIPE_WEBHOOK_SECRET"].split(",")
    assert len(secrets) == 2
    assert all(secret.startswith("whsec_") for secret in secrets)

    before = env_file.read_text()
    again = setup("--webhook-url", URL, secret=written["STRIPE_WEBHOOK_SECRET"])
    assert again == "Nothing to change.\n"
    assert env_file.read_text() == before
    assert len(empty.client.v1.prices.list({"limit": 100}).data) == len(prices)


def test_an_endpoint_whose_secret_is_lost_is_made_anew(setup, empty, env_file):
    setup("--webhook-url", URL)
    [old] = empty.client.v1.webhook_endpoints.list().data
    first = values_of(env_file)["STRIPE_WEBHOOK_SECRET"]
    setup("--webhook-url", URL)
    [new] = empty.client.v1.webhook_endpoints.list().data
    assert new.id != old.id
    assert values_of(env_file)["STRIPE_WEBHOOK_SECRET"] != first


def test_an_endpoint_gets_the_events_that_are_handled_now(setup, empty, env_file):
    setup("--webhook-url", URL)
    [endpoint] = empty.client.v1.webhook_endpoints.list().data
    empty.client.v1.webhook_endpoints.update(endpoint.id, {"enabled_events": ["charge.refunded"]})
    secret = values_of(env_file)["STRIPE_WEBHOOK_SECRET"]
    assert f"{endpoint.id}: its events" in setup("--webhook-url", URL, secret=secret)
    [changed] = empty.client.v1.webhook_endpoints.list().data
    assert (changed.id, "invoice.paid" in changed.enabled_events) == (endpoint.id, True)


def test_refuses_a_price_of_another_amount(setup, empty):
    product = empty.client.v1.products.create({"id": "acme_starter", "name": "Starter"})
    empty.client.v1.prices.create(
        {
            "product": product.id,
            "currency": "eur",
            "unit_amount": 5,
            "recurring": {"interval": "month"},
            "lookup_key": "acme_starter_month_eur_1900",
        }
    )
    assert "has another unit_amount at Stripe" in setup(status=1)


def test_refuses_keys_and_addresses_that_cannot_be_meant(setup):
    assert "begins with sk_" in setup(key="pk_test_public", status=1)
    assert "https://" in setup("--webhook-url", URL, key="sk_live_" + "0" * 24, status=1)


def test_asks_for_the_key_and_does_without_a_webhook(setup, empty, env_file):
    setup()
    assert empty.client.v1.webhook_endpoints.list().data == []
    assert "STRIPE_WEBHOOK_SECRET" not in values_of(env_file)
