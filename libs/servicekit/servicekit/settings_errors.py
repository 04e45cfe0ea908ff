"""The messages of settings that do not fit: one sentence for each variable, all of them at once."""

from collections.abc import Iterable, Iterator

from pydantic import BaseModel, ValidationError

JSON_FORMS = {"dict_type": 'write a JSON object, as in {"name": "value"}', "list_type": "write a JSON list"}


class SettingsInvalid(ValueError):
    """Some settings are missing or invalid; each message names a variable and what to do."""

    def __init__(self, messages: Iterable[str]) -> None:
        self.messages = list(dict.fromkeys(messages))
        super().__init__("; ".join(self.messages))


def messages_of(error: ValidationError) -> list[str]:
    """Return the messages of invalid settings."""
    details = error.errors(include_url=False, include_input=False)
    nested = [detail.get("ctx", {}).get("error") for detail in details]
    return [line for refusal in nested if isinstance(refusal, SettingsInvalid) for line in refusal.messages]


def report(error: ValidationError) -> str:
    """Return the report for the operator of a service that cannot start."""
    messages = messages_of(error)
    return "\n".join(
        [
            f"The service did not start: {len(messages)} settings are missing or unfit.",
            *(f"- {message}." for message in messages),
            'The section "Settings" of docs/operations.md describes them.',
        ]
    )


def missing(settings: type[BaseModel], name: str) -> str:
    """Return the message of a variable without a value, with what its field says of it."""
    field = settings.model_fields.get(name)
    return f"{name.upper()} is missing: set {(field and field.description) or 'it'}"


def of_fields(settings: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """Yield one message for each field that pydantic refuses; none shows its value."""
    for detail in error.errors(include_url=False, include_input=False):
        name, *inner = map(str, detail["loc"])
        if detail["type"] == "missing":
            yield missing(settings, name)
        else:
            variable = "".join((name.upper(), *(f"[{key}]" for key in inner)))
            yield f"{variable} is invalid: {reason(detail['type'], detail['msg'])}"


def reason(kind: str, message: str) -> str:
    """Return why a value is refused."""
    text = JSON_FORMS.get(kind) or message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:].rstrip(".")
