"""An idle service makes no spans."""

from auth.main import create_app
from auth.settings import Settings
from testkit.telemetry_capture import spans_while_idle


async def test_polling_makes_no_spans(variables, captured_telemetry):
    settings = Settings(**{**variables, **captured_telemetry.settings, "run_workers": True})
    assert await spans_while_idle(create_app(settings), captured_telemetry) == []
