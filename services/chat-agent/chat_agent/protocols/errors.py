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


class ParameterNotAllowed(BadRequest):
    """The operator does not let callers set this parameter for the agent."""

    def __init__(self, param: str, agent: str) -> None:
        super().__init__(f"`{param}` may not be set for {agent!r}; leave it out.", param=param)
