"""Everything that can be wrong with what a user gave us.

    EhrsynthError
      ├─ InputError          exit status 2: one line, no traceback
      │    ├─ FileError      missing, unreadable, wrong checksum, empty
      │    ├─ TableError     a column, a row or a value that does not fit
      │    ├─ SchemaError    two schemas, or a schema and a model, that do not fit
      │    └─ OptionError    an option of the command line or a config value
      ├─ TrainingError       training left the finite numbers (exit status 1, one line)
      ├─ ClaimError          an audit excludes the epsilon that a run claims (exit status 1, one line)
      ├─ AlteredError        what ``verify`` was asked about is not as it was written (exit status 1, one line)
      └─ MachineError        no space, no memory, a disk that fails (exit status 1, one line): to be repeated

Every message says which file, column, row or option; what was found; what would be right. It never
quotes the value of a patient's cell beyond what is needed to find it (the row number and column).
Anything else that is raised is our own fault and keeps its traceback (exit status 1), unless ``machine_fault`` knows
it as one of the machine.
"""

import errno
from collections.abc import Iterator


class EhrsynthError(Exception):
    """Root of the errors this package raises on purpose."""


class InputError(EhrsynthError):
    """The user's input is wrong; the message is one line and names the culprit."""


class FileError(InputError):
    """A file is missing, unreadable, empty, or not the one that was promised."""


class TableError(InputError):
    """A table has a column, a row or a value that does not fit."""


class SchemaError(InputError):
    """A schema is malformed or does not fit the table, model or checkpoint it meets."""


class OptionError(InputError):
    """An option or configuration value is unknown or out of range."""


def expect(fits: bool, option: str, value: object, wanted: str) -> None:
    """Raise an ``OptionError`` that says which option has which value, and what was ``wanted``, unless it fits."""
    if not fits:
        raise OptionError(f"{option}={value}: {wanted} was expected")


class TrainingError(EhrsynthError):
    """Training diverged: a loss is not a finite number any more, and going on cannot mend it."""


class ClaimError(EhrsynthError):
    """A finished run promises more privacy than its audit lets stand; neither its weights nor its table are private."""


class AlteredError(EhrsynthError):
    """Something is not as the steps that made it have left it: the answer of ``verify``, not a fault of its input."""


class MachineError(EhrsynthError):
    """The machine failed, not the data: no space, no memory, a disk that does not answer.

    Nothing that was done under it counts as done; repeating the command heals it.
    """


_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.EFBIG}
_MEMORY = ("can't allocate memory", "not enough memory", "bad_alloc", "cannot allocate memory")


def machine_fault(error: BaseException) -> MachineError | None:
    """Return an error of the machine as one, None if it is another's; causes are searched too.

    Every library has a word of its own for a lack of memory; numpy's and Arrow's are kinds of ``MemoryError``.
    """
    for one in causes(error):
        if isinstance(one, MachineError):
            return one
        said = " ".join(str(one).split())[:200]
        out_of_memory = isinstance(one, MemoryError) or type(one).__name__.startswith("OutOfMemory")
        ours = isinstance(one, EhrsynthError)
        if out_of_memory or (not ours and any(sign in said.lower() for sign in _MEMORY)):
            return MachineError(f"not enough memory ({said or type(one).__name__}); free some and repeat the command")
        if isinstance(one, OSError) and one.errno in _ERRNOS:
            where = f"{one.filename}: " if one.filename else ""
            return MachineError(f"{where}{one.strerror}; mend that and repeat the command")
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from or during, and so on; what ``from None`` has hidden stays hidden."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
