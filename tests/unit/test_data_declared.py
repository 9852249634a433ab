"""What the YAML files of providers declare runs over empty tables, and gives events."""

from pathlib import Path

import pytest

from ehrsynth.data.events import COLUMNS, EVENTS, LABELS
from ehrsynth.data.sources import declared
from ehrsynth.data.sources.declared import declaration
from ehrsynth.data.store import Store


@pytest.mark.parametrize("names", [("mimic_iii", "mimic"), ("mimic_iv", "mimic")])
def test_a_provider_without_rows_has_no_events(names: tuple[str, ...]) -> None:
    provider = declaration(*names)
    with Store(threads=1) as store:
        for name, table in provider.tables.items():
            store.empty(name, table.all_columns)
        provider.create(store, labels=True)
        assert list(store.frame(f"SELECT * FROM {EVENTS}")) == list(COLUMNS)
        assert list(store.frame(f"SELECT * FROM {LABELS}")) == ["domain", "vocabulary", "code", "label"]
        assert store.value(f"SELECT count(*) FROM {EVENTS}") == 0


def test_options_stand_where_a_query_names_them() -> None:
    drugs = declaration("diabetes130").relations["drugs"]
    assert "$drugs" in drugs


def test_every_event_has_a_domain_and_known_columns() -> None:
    for path in sorted(Path(declared.__file__).parent.glob("*.yaml")):
        for row in declaration(path.stem).events:
            assert {"from", "domain"} <= set(row) <= {"from", "where", *COLUMNS}, (path.name, row)
