import pytest
from billing_webhook.main import create_app
from billing_webhook.plans import catalog as plans
from billing_webhook.plans.catalog import FILE, catalog, parse
from testkit.app import client, running

TEXT = FILE.read_text()
AGGREGATION = "[[aggregations]]\nfeature = '"


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"enable_billing": True})


async def test_lists_the_plans_with_prices_trials_and_limits(reader):
    answer = await reader.get("/api/v1/billing/plans")
    assert answer.status_code == 200, answer.text
    listed = {plan["code"]: plan for plan in answer.json()["plans"]}
    assert [*listed] == ["free", "starter", "pro"]
    assert [plan["trial_days"] for plan in listed.values()] == [0, 7, 7]
    assert listed["free"]["prices"] == []
    [price] = listed["starter"]["prices"]
    assert (price["amount"], price["currency"], price["interval"]) == (1900, "eur", "month")
    assert listed["starter"]["features"]["messages"] == {"limit": "5000", "kind": "hard", "reset": "period"}
    assert listed["pro"]["features"]["messages"]["kind"] == "soft"
    assert listed["pro"]["features"]["priority_support"] is True


async def test_says_what_to_set_where_billing_is_off(settings, issuer, tenant):
    off = settings.model_copy(update={"enable_billing": False})
    async with running(create_app(off)) as app, client(app, issuer.token(tenant_id=tenant)) as reader:
        answer = await reader.get("/api/v1/billing/plans")
        assert (answer.status_code, answer.json()["code"]) == (404, "billing_disabled")
        assert "ENABLE_BILLING=true" in answer.json()["detail"]
        assert (await reader.get(f"/api/v1/billing/tenants/{tenant}/usage")).status_code == 200


def test_every_plan_limits_every_feature_or_names_it():
    for plan in catalog().plans:
        assert plan.features.keys() == catalog().features, plan.code


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("amount = 1900", "amount = 19.00", "write decimal numbers as text"),
        ("amount = 1900", 'amount = "1900"', "valid integer"),
        ("amount = 1900", "amount = 0", "greater than 0"),
        ("limit = 5_000,", "limit = true,", "decimal number as text"),
        ("limit = 5_000,", 'limit = "five",', "decimal"),
        ('name = "Pro"', 'name = "Pro"\ncolour = "blue"', "Extra inputs"),
        ('code = "pro"', 'code = "starter"', "each plan must be there once"),
        ("acme_pro_month_eur_4900", "acme_starter_month_eur_1900", "each lookup_key must be there once"),
        ('code = "free"', 'code = "basic"', "must be a plan 'free'"),
        ('feature = "messages"\nevent', 'feature = "mails"\nevent', "need a meter: messages"),
        ("[models.default]", "[models.other]", "price for 'default'"),
        ('aggregation = "sum"', 'aggregation = "last"', "should be 'sum'"),
        ("[models.default]", f"{AGGREGATION}messages'\nkind = 'max'\n[models.default]", "runs use it"),
        ("[models.default]", f"{AGGREGATION}wishes'\nkind = 'max'\n[models.default]", "no plan has it"),
        ("[models.default]", f"{AGGREGATION}seats'\nkind = 'unique'\n[models.default]", "needs a dimension"),
        ('input = "25"', 'input = "-1"', "greater than or equal to 0"),
    ],
)
def test_refuses_a_file_that_makes_no_sense(old, new, reason):
    assert old in TEXT
    with pytest.raises(ValueError, match=reason):
        parse(TEXT.replace(old, new))


def test_finds_plans_by_the_price_at_stripe_and_prices_of_models_by_name():
    assert catalog().plan_of_price("acme_pro_month_eur_4900") == catalog().plan("pro")
    assert catalog().plan_of_price("acme_pro_messages_eur_05") is None
    assert catalog().plan_of_price(None) is None
    assert (
        catalog().model_price("gpt-5-mini")
        != catalog().model_price("never heard of")
        == (catalog().models[plans.DEFAULT_MODEL])
    )
