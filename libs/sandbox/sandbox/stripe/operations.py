"""The operations of the API: which path and method runs which function, with which parameters."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sandbox.stripe.errors import NOT_SUPPORTED, StripeError
from sandbox.stripe.objects import StripeObject


@dataclass(frozen=True)
class Operation:
    """One operation. `handler` takes the store, the typed parameters and the ids in the path.

    `params` names the SDK's type ("billing.meter_create"); `supported` lists the parameters that the sandbox
    implements ("customer items.price"), where they are not all.
    """

    method: str
    path: str
    handler: Callable[..., StripeObject]
    params: str
    supported: str | None = None

    @property
    def segments(self) -> list[str]:
        """The parts of the path."""
        return self.path.strip("/").split("/")


@dataclass
class Operations:
    """All operations, found by their number of segments."""

    by_shape: dict[tuple[str, int], list[Operation]] = field(default_factory=dict)

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> "Operations":
        """Arrange operations; where several match, those that come first win."""
        arranged = cls()
        for each in operations:
            arranged.by_shape.setdefault((each.method, len(each.segments)), []).append(each)
        return arranged

    def match(self, method: str, path: str) -> tuple[Operation, list[str]]:
        """Return the operation for a request, and the ids in its path; raises StripeError."""
        segments = path.strip("/").split("/")
        for each in self.by_shape.get((method, len(segments)), ()):
            if all(
                part.startswith("{") or part == here
                for part, here in zip(each.segments, segments, strict=True)
            ):
                return each, [
                    here for part, here in zip(each.segments, segments, strict=True) if part.startswith("{")
                ]
        message = (
            f"Unrecognized request URL ({method}: {path}). The Stripe sandbox does not have this operation; "
            "see libs/sandbox/README.md for those that it has."
        )
        # At Stripe it is a 404, which here would be taken for an object that was deleted.
        raise StripeError(message, NOT_SUPPORTED)
