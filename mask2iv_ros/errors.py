"""The one error that a user can mend."""


class Refused(ValueError):
    """An input from outside cannot be used.

    The message is one sentence that quotes the offending value and says what would be
    accepted. Nodes answer it, the command line prints it without a traceback.
    """
