"""What the engine refuses, by what the caller can do about it.

Every class is also the built-in exception that Python users expect, so ``except FileNotFoundError`` works. The text is
one line that names the file or key, what was found and what was expected.
"""


class Error(Exception):
    """Base of everything that tulle refuses."""


class InternalError(Error, RuntimeError):
    """A bug of tulle's."""


class OutOfMemoryError(Error, MemoryError):
    """More memory needed than there is, or than ``memory_limit`` allows."""


class DataError(Error, ValueError):
    """A file whose content is wrong."""


class MissingInputError(Error, FileNotFoundError):
    """A file that is not there."""


class DivergedError(Error, ArithmeticError):
    """NaN or infinity while training."""


class CannotWriteError(Error, OSError):
    """Output that cannot be created or written."""


class InputOutputError(Error, OSError):
    """The device failed."""


class TemporaryError(Error, RuntimeError):
    """May work later: a run directory in use, a rank that was lost."""


class NotPermittedError(Error, PermissionError):
    """Not allowed."""


class ConfigError(Error, ValueError):
    """A key, a value or a combination that cannot be."""


# In the order of the engine's kinds (tulle/base/error.h).
_KINDS = (
    InternalError,
    OutOfMemoryError,
    DataError,
    MissingInputError,
    DivergedError,
    CannotWriteError,
    InputOutputError,
    TemporaryError,
    NotPermittedError,
    ConfigError,
)


def of_kind(kind):
    """The class for an error of the engine."""
    return _KINDS[kind]
