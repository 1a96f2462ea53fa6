"""What goes wrong between bytes and descriptions."""


class FormatError(ValueError):
    """The bytes are not what the format promises.

    The message names the file, the tensor or key, and both numbers; `hint` says what to try, if anything helps.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
