"""The cards that ship: whole, consistent, and found again by the name of their metric."""

import json
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from ehrsynth.evaluation import card as module
from ehrsynth.evaluation.card import FAMILIES, Card, Cards, card_of, catalogue
from ehrsynth.study.conf import conf_dir

FILES = sorted(Path(module.__file__).parent.rglob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_file_of_cards_is_whole(file: Path) -> None:
    options = set(re.findall(r"\{(\w+)\}", " ".join(Cards.load(file))))
    for name, card in Cards.load(file).items():
        assert card.family == file.parent.name
        assert card.low < card.high
        assert min(len(card.definition), len(card.reading)) > 20, name
        assert card.paper, name
        texts = [getattr(card, field.name) for field in fields(card) if field.name != "sentence"]
        named = {option for text in texts if isinstance(text, str) for option in re.findall(r"\{(\w+)\}", text)}
        assert named <= options, f"{name}: a text that the file lacks"
        assert not any("  " in text for text in texts if isinstance(text, str)), name


def test_every_metric_has_one_card_and_it_survives_being_written() -> None:
    counts = Counter(name for file in FILES for name in Cards.load(file))
    assert set(counts.values()) == {1}
    assert {card.family for card in catalogue().values()} == set(FAMILIES)
    for card in catalogue().values():
        assert Card.from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_roles_say_what_a_verdict_needs() -> None:
    for card in catalogue().values():
        assert (card.role in ("control", "description", "guarantee")) <= bool(card.aside), card.name
        if card.role == "attack":
            assert card.attack, card.name
            assert card.result, card.name
        else:
            assert card.attack is None or card.role == "description", card.name
        assert card.null is None or card.role == "attack", card.name
        assert card.grave is None or card.null is not None, card.name
        assert not card.control or card.control in catalogue(), card.name
    places = Counter(card.headline for card in catalogue().values() if card.headline)
    assert sorted(places.elements()) == list(range(1, len(places) + 1))
    attacks = {card.attack for card in catalogue().values() if card.attack}
    assert len({attack.place for attack in attacks}) == len({attack.name for attack in attacks}) == len(attacks)


@pytest.mark.parametrize("name", ["quick", "full", "as_published"])
def test_the_cards_of_a_suite_are_those_of_the_catalogue(name: str) -> None:
    for card in instantiate(OmegaConf.load(conf_dir() / "suite" / f"{name}.yaml")).cards:
        assert card == card_of(card.name)


def test_an_option_in_the_name_is_read_from_it() -> None:
    assert "under 0.1 % of R" in card_of("fidelity/rare_prevalence_error_01pct").definition
    assert "under 5 % of R" in card_of("fidelity/rare_pair_lift_error_5pct").definition
    assert "k = 7;" in card_of("fidelity/latent_deviation_k7").definition
    assert card_of("fidelity/latent_deviation_ln_k7").unit == "nats"


def test_a_metric_that_nobody_knows_has_a_bare_card() -> None:
    own = Card("privacy/mine", "higher", 0, 1, "", "", "", null=0.5)
    assert card_of("privacy/mine", own={"privacy/mine": own}) is own
    assert card_of("privacy/mine", "higher").null is None
    assert card_of("privacy/dcr_share", own={"privacy/dcr_share": own}).low == 0
