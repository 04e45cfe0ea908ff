"""Every route for authenticated callers has a limit of rate."""

from testkit.rate_walk import ONE_CALL, find_unlimited_routes


async def test_no_route_is_without_a_limit(start):
    auth = await start(auth_limits=ONE_CALL)
    bundle = await auth.somebody()
    assert await find_unlimited_routes(auth.app, bundle["access_token"]) == []
