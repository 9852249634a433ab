"""Providers whose tables and events are declared: YAML files beside this one, and their one reader.

A declaration has

    tables      by name: ``columns`` that must be there and ``optional`` ones, each with its SQL type, and whether the
                table is ``required``, with at least one row
    kept        queries over the tables, by the name of the table their result becomes: run once
    relations   queries by the name of the view they become: run whenever they are asked
    events      what a row of ``from`` (a table, a relation, or a join) is of an event: a domain, and for every other
                column of ``ehrsynth.data.events`` an SQL expression
    labels      in the same way: ``domain, vocabulary, code, label``
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import yaml

from ehrsynth.data.events import EVENTS, LABELS, select
from ehrsynth.data.store import Store, text

Row = Mapping[str, str]


@dataclass(frozen=True)
class RawTable:
    """What is read of a raw table.

    Attributes:
        columns: that must be there, each with its SQL type.
        optional: that may be absent.
        required: whether the table must be there, with at least one row.
    """

    columns: Mapping[str, str]
    optional: Mapping[str, str] = field(default_factory=dict)
    required: bool = False

    @property
    def all_columns(self) -> dict[str, str]:
        """Every column that is read if it is there."""
        return {**self.columns, **self.optional}


@dataclass(frozen=True)
class Declaration:
    """What a YAML file declares; see the module."""

    tables: Mapping[str, RawTable]
    kept: Mapping[str, str]
    relations: Mapping[str, str]
    events: tuple[Row, ...]
    labels: tuple[Row, ...]

    def with_relations(self, more: Mapping[str, str]) -> "Declaration":
        """Return the declaration with further relations, which those that are declared may build on."""
        return replace(self, relations={**more, **self.relations})

    def create(self, store: Store, *, labels: bool, **options: str) -> None:
        """Make the views ``events`` and, if they are wanted, ``labels``.

        Args:
            store: has the tables.
            labels: whether the tables with the words for codes are there.
            options: SQL that stands in the queries of ``kept`` and ``relations`` where they say ``$name``.
        """
        for name, query in self.kept.items():
            store.table(name, Template(query).safe_substitute(options))
        for name, query in self.relations.items():
            store.view(name, Template(query).safe_substitute(options))
        store.view(EVENTS, " UNION ALL ".join(map(_event, self.events)))
        if labels:
            store.view(LABELS, " UNION ".join(_label(**row) for row in self.labels))


@cache
def declaration(*names: str) -> Declaration:
    """Read ``NAME.yaml`` of this folder; what several of them declare stands side by side."""
    folder = Path(__file__).parent
    parts = [yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")) for name in names]

    def of(key: str) -> dict[str, Any]:
        return {name: entry for part in parts for name, entry in part.get(key, {}).items()}

    events, labels = (tuple(row for part in parts for row in part.get(key, ())) for key in ("events", "labels"))
    tables = {name: RawTable(**entry) for name, entry in of("tables").items()}
    return Declaration(tables, of("kept"), of("relations"), events, labels)


def _event(row: Row) -> str:
    cells = {key: cell for key, cell in row.items() if key != "from"}
    return select(row["from"], **cells | {"domain": text(row["domain"])})


def _label(*, domain: str, vocabulary: str, code: str, label: str, where: str = "true", **relation: str) -> str:
    return (
        f"SELECT '{domain}' AS domain, {vocabulary} AS vocabulary, {code} AS code, {label} AS label"
        f" FROM {relation['from']} WHERE {where}"
    )
