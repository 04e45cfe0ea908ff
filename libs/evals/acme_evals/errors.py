"""What is wrong with what the command was given."""


class InvalidInput(Exception):
    """A file, an option or an address cannot be used; the text says what to do."""
