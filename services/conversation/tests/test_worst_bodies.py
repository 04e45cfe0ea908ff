"""The worst bodies that a client can send, brought to every route."""

from conversation.main import create_app
from testkit.app import running
from testkit.request_costs import callers_of, costs, costs_table, find_uncounted_routes
from testkit.worst_bodies import all_routes_with_body, find_unbounded


def changed(settings, **values):
    return settings.model_validate({**settings.model_dump(), "run_workers": False, **values})


async def test_no_body_costs_much(settings, issuer):
    async with running(create_app(settings)) as app:
        assert len(all_routes_with_body(app)) >= 5
        figures = [cost async for cost in costs(app, callers_of(issuer, app))]
        assert [cost for cost in figures if cost.excess] == [], "\n".join(costs_table(figures))


async def test_every_list_mapping_and_text_has_a_maximum(settings):
    assert find_unbounded(create_app(settings)) == []


async def test_invalid_bodies_are_counted(settings, issuer):
    async with running(create_app(changed(settings, invalid_requests_per_minute=3))) as app:
        assert await find_uncounted_routes(app, callers_of(issuer, app), 3) == []
