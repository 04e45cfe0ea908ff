"""Stripe's errors."""

from dataclasses import dataclass, field

from starlette.responses import JSONResponse

from sandbox.stripe.objects import StripeObject

_STATUS_OF_TYPE = {"card_error": 402, "api_error": 500}
NOT_SUPPORTED = "not_supported_by_sandbox"


@dataclass
class StripeError(Exception):
    """An answer that is an error."""

    message: str
    code: str | None = None
    param: str | None = None
    type: str = "invalid_request_error"
    status: int = 0
    members: StripeObject = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.message)
        self.status = self.status or _STATUS_OF_TYPE.get(self.type, 400)

    def to_json(self, request_id: str) -> StripeObject:
        """Return the body of the answer."""
        error: StripeObject = {"message": self.message, "type": self.type, **self.members}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        if self.param:
            error["param"] = self.param
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": error}

    def response(self, request_id: str) -> JSONResponse:
        """Return the whole answer."""
        return JSONResponse(self.to_json(request_id), self.status, headers=self.headers)


def missing_object(kind: str, object_id: str, param: str = "id", *, in_path: bool = False) -> StripeError:
    """Return the error for an id that names nothing; 404 where it is in the path, 400 as a parameter."""
    message = f"No such {kind.replace('_', ' ')}: '{object_id}'"
    return StripeError(message, "resource_missing", param, status=404 if in_path else 400)


def missing_param(param: str) -> StripeError:
    """Return the error for a parameter that must be there."""
    return StripeError(f"Missing required param: {param}.", "parameter_missing", param)


def not_supported(what: str, param: str | None = None) -> StripeError:
    """Return the error for what Stripe has and the sandbox has not."""
    return StripeError(f"The Stripe sandbox does not support {what}.", NOT_SUPPORTED, param)


def card_error(message: str, code: str, decline_code: str | None = None) -> StripeError:
    """Return the error for a card that refuses."""
    members = {"decline_code": decline_code} if decline_code else {}
    return StripeError(message, code, type="card_error", members=members)
