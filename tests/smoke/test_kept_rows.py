"""Who gets a table that is made of patient rows is told so first, whatever model gives them away."""

from pathlib import Path

from tests.conftest import Cli, small


def test_the_card_of_a_model_that_keeps_rows_warns(matrix: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("train", "-m", "model=independent,record_mixture,train_copy", *small(matrix, tmp_path)) == 0
    cards = {path.parts[-3]: path.read_text(encoding="utf-8") for path in tmp_path.glob("*/*/*/card.md")}
    assert len(cards) == 3
    warned = {model for model, card in cards.items() if card.splitlines()[2].startswith("> **WARNING")}
    assert warned == {"record_mixture", "train_copy"}
