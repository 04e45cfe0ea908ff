"""What is wrong with a parameter of a request, in every protocol."""

from servicekit.errors import BadRequest


class UnsupportedParameter(BadRequest):
    """Something is asked for that no run can do."""

    def __init__(self, param: str, detail: str = "") -> None:
        super().__init__(detail or f"`{param}` cannot be honoured here; leave it out.", param=param)


class InvalidParameter(BadRequest):
    """A parameter makes no sense."""

    def __init__(self, param: str, detail: str) -> None:
        super().__init__(detail, param=param)
