"""An idle service makes no spans, and a mail belongs to the trace of whoever asked for it."""

from notification.main import create_app
from testkit.app import running
from testkit.telemetry_capture import spans_while_idle


async def test_polling_makes_no_spans(settings, captured_telemetry):
    app = create_app(settings.model_copy(update={**captured_telemetry.settings, "run_workers": True}))
    assert await spans_while_idle(app, captured_telemetry) == []


async def test_a_mail_is_sent_in_the_trace_of_its_event(settings, captured_telemetry, sign_up, row_of):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    changed = settings.model_copy(update={**captured_telemetry.settings})
    person = await sign_up(traceparent=f"00-{trace_id}-b7ad6b7169203331-01")
    async with running(create_app(changed)):
        await row_of(person, status="sent")
    ours = {
        span.name: span for span in captured_telemetry.spans if f"{span.context.trace_id:032x}" == trace_id
    }
    assert {"handle auth.email.requested.v1", "send email_verification"} <= set(ours)
    handled, sent = ours["handle auth.email.requested.v1"], ours["send email_verification"]
    assert f"{handled.parent.span_id:016x}" == "b7ad6b7169203331"
    assert sent.parent.span_id == handled.context.span_id
    # The mail server and the issuer of these tests run in this process, and answer in traces of their own.
    made_here = [
        span for span in captured_telemetry.spans if "fastapi" not in span.instrumentation_scope.name
    ]
    assert {span.context.trace_id for span in made_here} == {int(trace_id, 16)}
