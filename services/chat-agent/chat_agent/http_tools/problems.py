"""What is wrong with a tool, while it is read."""


class DocumentProblem(Exception):  # never a response: it becomes a problem of InvalidTool
    """A place of a document that no tool can be made of."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path, self.message = path, message
