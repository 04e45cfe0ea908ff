"""An idle service makes no spans."""

from billing_webhook.main import create_app
from testkit.telemetry_capture import spans_while_idle


async def test_polling_makes_no_spans(settings, captured_telemetry):
    app = create_app(settings.model_copy(update={**captured_telemetry.settings, "run_workers": True}))
    assert await spans_while_idle(app, captured_telemetry) == []
