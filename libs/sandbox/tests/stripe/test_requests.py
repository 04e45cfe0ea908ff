"""What a request has to be, whatever it is about."""

from uuid import uuid4

import httpx
import pytest
from stripe import (
    AuthenticationError,
    IdempotencyError,
    InvalidRequestError,
    StripeClient,
)

# The SDK hands httpx its bodies in a way that httpx deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=<:DeprecationWarning")

VERSION = "2026-10-28.endive"


def refusal(stripe: StripeClient, **price: object) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as refused:
        stripe.v1.prices.create(price)  # type: ignore[arg-type]
    return refused.value


@pytest.mark.parametrize("key", ["sk_live_1234567890", "rk_test_1", "nonsense"])
def test_only_secret_keys_of_test_mode_are_valid(stripe_url: str, key: str) -> None:
    addresses = {"api": stripe_url}
    with pytest.raises(AuthenticationError) as refused:
        StripeClient(key, base_addresses=addresses).v1.products.list()
    assert refused.value.http_status == 401
    assert "Invalid API Key" in str(refused.value)


def test_errors_have_the_shape_that_stripe_gives_them(http: httpx.Client) -> None:
    answer = http.get("/v1/customers/cus_none", headers={"Stripe-Version": VERSION})
    assert answer.status_code == 404
    assert answer.headers["Stripe-Version"] == VERSION
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] == "resource_missing"
    assert error["message"] == "No such customer: 'cus_none'"
    assert error["param"] == "id"
    assert error["doc_url"].endswith("/resource-missing")
    assert answer.headers["Request-Id"] in error["request_log_url"]


def test_another_api_version_is_refused_rather_than_answered_wrongly(http: httpx.Client) -> None:
    answer = http.get("/v1/customers", headers={"Stripe-Version": "2020-08-27"})
    assert answer.status_code == 400
    assert "2020-08-27" in answer.json()["error"]["message"]


def test_what_the_sandbox_does_not_have_is_refused_by_name(stripe: StripeClient) -> None:
    with pytest.raises(InvalidRequestError, match="Unrecognized request URL"):
        stripe.v1.transfers.list()
    error = refusal(
        stripe,
        currency="eur",
        product_data={"name": "x"},
        unit_amount=1,
        transform_quantity={"divide_by": 2, "round": "up"},
    )
    assert error.code == "not_supported_by_sandbox"
    assert error.param == "transform_quantity[divide_by]"


def test_parameters_are_what_the_sdk_is_generated_from(stripe: StripeClient) -> None:
    ok = {"currency": "eur", "unit_amount": 100, "product_data": {"name": "x"}}
    unknown = refusal(stripe, **ok, recurring={"intervall": "month"})
    assert (unknown.code, unknown.param) == ("parameter_unknown", "recurring[intervall]")
    missing = refusal(stripe, **ok, recurring={"usage_type": "licensed"})
    assert (missing.code, missing.param) == ("parameter_missing", "recurring[interval]")
    literal = refusal(stripe, **ok, recurring={"interval": "fortnight"})
    assert literal.param == "recurring[interval]"
    assert "must be one of day, month, week or year" in str(literal)
    integer = refusal(stripe, **ok | {"unit_amount": "ten"})
    assert (integer.code, integer.param) == ("parameter_invalid_integer", "unit_amount")
    empty = refusal(stripe, **ok | {"unit_amount": ""})
    assert (empty.code, empty.param) == ("parameter_invalid_empty", "unit_amount")
    assert refusal(stripe, currency="eur", unit_amount=1).code == "parameter_missing"


def test_forms_take_lists_with_and_without_indexes(http: httpx.Client) -> None:
    for form in (
        "images[]=https://a.test/1&images[]=https://a.test/2",
        "images[1]=https://a.test/2&images[0]=https://a.test/1",
    ):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = http.post("/v1/products", content=f"name=x&active=false&{form}", headers=headers).json()
        assert answer["images"] == ["https://a.test/1", "https://a.test/2"]
        assert answer["active"] is False


def test_metadata_merges_and_empties(stripe: StripeClient) -> None:
    product = stripe.v1.products.create({"name": "x", "metadata": {"a": "1", "b": "2"}})
    change = {"metadata": {"a": "", "c": "3"}}
    assert stripe.v1.products.update(product.id, change).metadata.to_dict() == {"b": "2", "c": "3"}
    assert stripe.v1.products.update(product.id, {"metadata": ""}).metadata.to_dict() == {}


def test_lists_come_in_pages_newest_first(stripe: StripeClient) -> None:
    tag = f"{uuid4()}@example.com"
    ids = [stripe.v1.customers.create({"email": tag}).id for _ in range(5)]
    first = stripe.v1.customers.list({"email": tag, "limit": 2})
    assert [each.id for each in first.data] == ids[:-3:-1]
    assert first.has_more
    assert [each.id for each in first.auto_paging_iter()] == ids[::-1]
    newer = stripe.v1.customers.list({"email": tag, "limit": 2, "ending_before": ids[0]})
    assert [each.id for each in newer.auto_paging_iter()] == ids[1:]
    with pytest.raises(InvalidRequestError, match="limit"):
        stripe.v1.customers.list({"limit": 101})


async def test_lists_come_in_pages_to_the_async_client_too(async_stripe: StripeClient) -> None:
    customer = await async_stripe.v1.customers.create_async({"name": "Ada"})
    listed = await async_stripe.v1.customers.list_async({"limit": 1})
    assert listed.data[0].id == customer.id


def test_ids_expand_into_objects(stripe: StripeClient) -> None:
    price = stripe.v1.prices.create(
        {
            "currency": "eur",
            "unit_amount": 5,
            "product_data": {"name": "Pro"},
            "lookup_key": "expand",
            "expand": ["product"],
        }
    )
    assert price.product.name == "Pro"  # type: ignore[union-attr]
    listed = stripe.v1.prices.list({"lookup_keys": ["expand"], "expand": ["data.product"]})
    assert listed.data[0].product.name == "Pro"  # type: ignore[union-attr]
    for path in ("nothing", "currency", "product.name"):
        with pytest.raises(InvalidRequestError, match="cannot be expanded"):
            stripe.v1.prices.retrieve(price.id, {"expand": [path]})


def test_the_same_key_gets_the_same_answer(stripe: StripeClient) -> None:
    key = str(uuid4())
    first = stripe.v1.customers.create({"name": "Ada"}, {"idempotency_key": key})
    again = stripe.v1.customers.create({"name": "Ada"}, {"idempotency_key": key})
    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"
    with pytest.raises(IdempotencyError):
        stripe.v1.customers.create({"name": "Grace"}, {"idempotency_key": key})


def test_invalid_parameters_do_not_use_up_a_key(stripe: StripeClient) -> None:
    options = {"idempotency_key": str(uuid4())}
    with pytest.raises(InvalidRequestError):
        stripe.v1.customers.create({"nme": "Ada"}, options)  # type: ignore[typeddict-unknown-key]
    assert stripe.v1.customers.create({"name": "Ada"}, options).name == "Ada"
