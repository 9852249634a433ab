"""A folder, or a file -> whether it, and all that it came from, is as the steps that made it have left it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ehrsynth.errors import AlteredError, FileError, expect
from ehrsynth.study import signing
from ehrsynth.study.chain import LOG, SIGNED, Entry, append, last_written, log_beside, log_in, log_of, read
from ehrsynth.study.follow import Followed, Step
from ehrsynth.study.signing import Signature, fingerprint
from ehrsynth.words import printable

if TYPE_CHECKING:  # they bring torch, which nothing here needs
    from ehrsynth.data.matrix import Matrix
    from ehrsynth.study.generate import Written
    from ehrsynth.study.run_folder import RunFolder

PARTS = ("", "checkpoints", "figures")  # of a folder, in which a file that no step wrote is told
MOST_NAMES = 5  # of these
HOLDERS = ("path", "folder", "file")  # what a run, a matrix and a written table call their place


@dataclass(frozen=True, repr=False)
class Verdict:
    """What a chain says of a folder.

    Attributes:
        log: of the folder, or of the file.
        steps: of it and of all that it came from and that could be followed, the first ones first.
        files: how many are as they were written, or read.
        findings: what was altered, is missing or out of order, a line each: which, what was expected, what was found.
        unfollowed: what the chain leads to and is not there any more, a line each.
        remarks: what else a reader should know: who signed it, which files no step has written.
        head: SHA-256 of the last record. Whoever has it from before can tell that nothing was rewritten since.
    """

    log: Path
    steps: tuple[Step, ...]
    files: int
    findings: tuple[str, ...]
    unfollowed: tuple[str, ...]
    remarks: tuple[str, ...]
    head: str

    def __repr__(self) -> str:
        """Say what was verified, and how it ended."""
        found = f"{len(self.findings)} findings, see .findings" if self.findings else "as it was written"
        return f"<Verdict on {printable(str(self.log))}: {len(self.steps)} steps, {self.files} files, {found}>"

    @property
    def whole(self) -> bool:
        """Whether nothing was altered, is missing or out of order, of what could be followed."""
        return not self.findings


def verify(
    place: "RunFolder | Matrix | Written | str | Path", *, key: str | Path | None = None, sign: str | Path | None = None
) -> Verdict:
    """Follow a chain of records back to where it began, and compare every file with what they say of it.

    Without a signature a chain proves only that it agrees with itself: who can rewrite every file can rewrite it too.

    Args:
        place: a matrix, a run, a written table, or a folder or file of one; a file that lies by itself has its log
            beside it.
        key: a public Ed25519 key; unless its owner has signed all records, that is a finding.
        sign: a private Ed25519 key; signs all records, once they are found to be whole.

    Raises:
        FileError: there is no log.
        OptionError: the place is something else, the file of a key holds none, or the package ``cryptography`` is not
            installed.
        AlteredError: it was to be signed, but is not whole.
    """
    for option, file in (("key", key), ("sign", sign)):
        if file is not None:
            signing.require_cryptography(option)
    wanted = None if key is None else signing.public_key(Path(key))
    held = next((path for name in HOLDERS if isinstance(path := getattr(place, name, None), Path)), place)
    expect(isinstance(held, str | Path), "place", type(held).__name__, "a folder, a file, a run, a matrix or a table")
    log = _log_for(Path(str(held)))
    if sign is not None:
        _sign(log, Path(sign))
    return _verdict(log, wanted)


def _log_for(place: Path) -> Path:
    """Return the log that speaks of a place.

    Raises:
        FileError: there is none.
    """
    if place.is_dir():
        log, whole = log_in(place), place.resolve()
        if not log.is_file() and whole.name and log_beside(whole).is_file():
            log = log_beside(whole)
    elif place.name.endswith(LOG):
        log = place
    else:
        log = (log_of(place) if place.is_file() else None) or log_beside(place)
    if not log.is_file():
        found = "" if place.exists() else "no such file or folder, and "
        raise FileError(
            f"{place}: {found}no {log.name}; a folder of prepare, train, evaluate, compare or search, or a table of"
            " generate or rank, with the log that these leave, was expected (earlier versions left none)"
        )
    return log


def _sign(log: Path, file: Path) -> None:
    verdict = _verdict(log, None)
    if verdict.findings:
        raise AlteredError(f"not signed, for something is not as it was written: {verdict.findings[0]}")
    made = signing.sign(file, verdict.head)
    if not any(signed.by.key == made.key and not signed.later for signed in _signatures(read(log))):
        append(log, SIGNED, options=made._asdict())


def _verdict(log: Path, wanted: str | None) -> Verdict:
    beside = sorted(log.parent.glob(f"[!.]*.{LOG}")) if log.name == LOG else []
    followed, entries = Followed.back_from(log, *beside), read(log)
    remarks, wrong = _who_signed(log, entries, wanted)
    if beside:
        names = ", ".join(other.name for other in beside[:MOST_NAMES])
        remarks.append(f"followed too, and not part of what is said of signatures and head: {names}")
    if unknown := _unwritten(log, entries):
        more = f" and {len(unknown) - MOST_NAMES} more" if len(unknown) > MOST_NAMES else ""
        remarks.append(f"no step has written {', '.join(unknown[:MOST_NAMES])}{more}: nothing is known of that")
    return Verdict(
        log=log,
        steps=tuple(reversed(followed.steps)),
        files=len(followed.sound),
        findings=_lines(followed.findings + wrong),
        unfollowed=_lines(followed.unfollowed),
        remarks=_lines(remarks),
        head=entries[-1].digest if entries else "",
    )


def _lines(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(printable, texts)))


class Signed(NamedTuple):
    """A signature in a log: its line, the record it is about, and how many steps came later."""

    line: int
    by: Signature
    digest: str
    later: int


def _signatures(entries: Sequence[Entry]) -> list[Signed]:
    found = []
    for line, entry in enumerate(entries, start=1):
        if entry.record is not None and entry.record.step == SIGNED:
            by = Signature(*(str(entry.record.options.get(name)) for name in Signature._fields))
            later = sum(one.record is None or one.record.step != SIGNED for one in entries[line:])
            found.append(Signed(line, by, entries[line - 2].digest if line > 1 else "", later))
    return found


def _who_signed(log: Path, entries: Sequence[Entry], wanted: str | None) -> tuple[list[str], list[str]]:
    """Return what is to be said of the signatures of a log, and what is wrong with them."""
    said, wrong, valid = [], [], []
    for signed in _signatures(entries):
        owner = fingerprint(signed.by.key)
        what = "all steps" if not signed.later else f"all but the last {signed.later} steps"
        if not signing.available():
            said.append(f"signed, {what}, by key {owner}: not checked; pip install 'ehrsynth[signing]' brings what can")
        elif not signed.by.genuine(signed.digest):
            wrong.append(f"{log}, line {signed.line} (sign): expected a signature by key {owner}, found a forged one")
        elif signed.by.key == wanted:
            valid.append(signed)
            said.append(f"signed, {what}, by key {owner}: the one you gave")
        else:
            said.append(f"signed, {what}, by key {owner}: key=PUBLIC tells whether that is the one you trust")
    if wanted is not None and not valid:
        wrong.append(f"{log}: expected a signature by key {fingerprint(wanted)}, found none")
    elif wanted is not None and valid[-1].later:
        wrong.append(f"{log}: expected all steps to be signed, found {valid[-1].later} after the last signature")
    elif not said and not wrong:
        said.append("not signed: who can rewrite every file can rewrite the log too; sign=KEYFILE signs it")
    return said, wrong


def _unwritten(log: Path, entries: Sequence[Entry]) -> list[str]:
    """Return the files in the folder of a log that no step has written, there or in a log beside the file."""
    if log.name != LOG:
        return []
    written = last_written(entries)
    files = [file for part in PARTS for file in sorted((log.parent / part).glob("[!.]*")) if file.is_file()]
    names = {file.relative_to(log.parent).as_posix(): file for file in files if not file.name.endswith(LOG)}
    return [name for name, file in names.items() if name not in written and log_of(file) is None]
