"""From a log back to those it came from: whether records follow one another, and files are as these say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import normpath, realpath
from pathlib import Path
from typing import NamedTuple

from ehrsynth.files import sha256
from ehrsynth.study.chain import Entry, Record, last_written, log_of, place_of, read, short
from ehrsynth.study.noted_scores import altered


class Step(NamedTuple):
    """A record, and the log it stands in."""

    log: Path
    record: Record

    @property
    def told(self) -> str:
        """What messages call it."""
        return f"step {self.record.record} ({self.record.step})"


@dataclass
class Followed:
    """What was found on the way.

    Attributes:
        steps: the last ones first.
        findings: what was altered, is missing or out of order: which, what was expected, what was found.
        unfollowed: what the way leads to and is not there any more.
        sound: places of the files that are as they were written, or read.
    """

    steps: list[Step] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    unfollowed: list[str] = field(default_factory=list)
    sound: set[str] = field(default_factory=set)
    _digests: dict[str, str] = field(default_factory=dict)

    @classmethod
    def back_from(cls, *first: Path) -> "Followed":
        """Check logs, and those that they lead to, each once."""
        found = cls()
        given, ahead, seen = [*first], list[Path](), {*map(realpath, first)}
        while given or ahead:
            log = given.pop(0) if given else ahead.pop()
            for origin in found._check(log, read(log)):
                if realpath(origin) not in seen:
                    seen.add(realpath(origin))
                    ahead.append(origin)
        return found

    def _check(self, log: Path, entries: Sequence[Entry]) -> list[Path]:
        """Check a log and return those that it leads to."""
        self._order(log, entries)
        self.steps += [Step(log, entry.record) for entry in reversed(entries) if entry.record]
        written = {name: Step(log, record) for name, record in last_written(entries).items()}
        self._outputs(written)
        valid = {id(step.record): step for step in written.values()}  # the others' outputs are there no more
        for step in valid.values():
            self._inputs(step)
        return [origin for step in valid.values() for origin in self._origins(step)]

    def _order(self, log: Path, entries: Sequence[Entry]) -> None:
        """Compare each record with its own digest, and with that of the one before it."""
        if not entries:
            self.findings.append(f"{log}: expected at least one record, found none: it was cut off")
        lines = {entry.digest: number for number, entry in enumerate(entries, start=1)}
        before: str | None = None
        for number, (record, digest, fault) in enumerate(entries, start=1):
            where = f"{log}, line {number}" + (f" ({record.step})" if record else "")
            if fault:
                self.findings.append(f"{where}: {fault}")
            known = number == 1 or entries[number - 2].record is not None  # after rubbish nothing can be in order
            if record is not None and known and record.previous != before:
                why = "a record before it was removed or rewritten"
                if record.previous is None:
                    why = "out of order, it belongs first"
                elif record.previous in lines:
                    why = f"out of order, it belongs behind line {lines[record.previous]}"
                self.findings.append(
                    f"{where}: expected after record {short(record.previous)}, found after {short(before)}: {why}"
                )
            before = digest

    def _outputs(self, written: Mapping[str, Step]) -> None:
        known = {step.record.outputs[name]: name for name, step in written.items()}
        for name, step in written.items():
            file, wanted = step.log.parent / name, step.record.outputs[name]
            if not file.is_file():
                self.findings.append(f"{file}: expected as {step.told} wrote it, found no file")
            elif (found := self._digest(file)) == wanted:
                self.sound.add(realpath(file))
            elif scores := altered(file, step.record.scores.get(name, {})):
                self.findings += [f"{file}: {score}" for score in scores]
            else:
                other = f", that of {known[found]}" if found in known else ""
                self.findings.append(
                    f"{file}: expected sha256 {short(wanted)} of {step.told}, found {short(found)}{other}"
                )

    def _inputs(self, step: Step) -> None:
        gone: dict[Path, list[str]] = {}
        for name, given in step.record.inputs.items():
            if given["file"] is None:
                continue
            file, wanted = _at(step.log, given["file"]), given["sha256"]
            if not file.is_file():
                if given["log"] is None or _at(step.log, given["log"]).is_file():  # else one line tells of all
                    gone.setdefault(file.parent, []).append(name)
            elif (found := self._digest(file)) == wanted:
                self.sound.add(realpath(file))
            else:
                self.findings.append(
                    f"{file}: expected sha256 {short(wanted)}, which {step.told} of {step.log} has read, found"
                    f" {short(found)}{_maker(file, found)}"
                )
        for folder, names in gone.items():
            self.unfollowed.append(f"{folder}: {', '.join(names)} not there; {step.told} has read it")

    def _origins(self, step: Step) -> list[Path]:
        """Return the logs that vouched for what a step has read, of those that are there."""
        there = []
        for place, head in step.record.origins.items():
            origin = _at(step.log, place)
            if origin.is_file():
                there.append(origin)
                digests = [entry.digest for entry in read(origin)]
                if head not in digests:
                    self.findings.append(
                        f"{origin}: expected record {short(head)}, on which {step.told} of {step.log} builds, found"
                        f" others, the last {short(digests[-1] if digests else None)}: removed, rewritten or made anew"
                    )
            elif any(
                given["log"] == place and _is_there(step.log, given["file"]) for given in step.record.inputs.values()
            ):
                self.findings.append(f"{origin}: expected record {short(head)}, found no file: the log was removed")
            else:
                self.unfollowed.append(f"{origin}: not there; what came before {step.told} cannot be followed")
        return there

    def _digest(self, file: Path) -> str:
        place = realpath(file)
        if place not in self._digests:
            self._digests[place] = sha256(file)
        return self._digests[place]


def _at(log: Path, place: str | None) -> Path:
    """Return a place as seen from the folder of a log."""
    return Path(normpath(Path(realpath(log.parent)) / str(place)))


def _is_there(log: Path, place: str | None) -> bool:
    return _at(log, place).is_file()


def _maker(file: Path, digest: str) -> str:
    """Say which step has made a file anew, if its log says so."""
    if (origin := log_of(file)) is None:
        return ""
    place = place_of(file, origin)
    record = last_written(read(origin))[place]
    return f", made anew by {Step(origin, record).told} of {origin}" if record.outputs[place] == digest else ""
