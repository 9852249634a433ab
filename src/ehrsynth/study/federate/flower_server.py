"""The end of a federation by Flower that has no rows: it sends weights, and sums what comes back under masks."""

import hashlib
import json
from collections.abc import Mapping
from functools import reduce
from time import sleep
from typing import Any

import numpy as np
from torch import Tensor
from typing_extensions import override

from ehrsynth.errors import OptionError, SchemaError, TrainingError, expect
from ehrsynth.files import write_json, write_text
from ehrsynth.models.base import SyntheticModel
from ehrsynth.schema import Schema
from ehrsynth.study import fit, train
from ehrsynth.study.conf import dumped
from ehrsynth.study.federate.averaging import State, average
from ehrsynth.study.federate.flower import asked_for, require_flower
from ehrsynth.study.federate.local import LastCheckpoint
from ehrsynth.study.federate.rounds import Rounds, Turn, require_rounds, taking_turns
from ehrsynth.study.run_folder import RunFolder
from ehrsynth.study.spec import whole
from ehrsynth.study.watch import Watch
from ehrsynth.tracking import About, Tracker

Told = Mapping[str, Mapping[str, Any]]  # by site


class Across(Rounds):
    """Sites that train at the same time, each where it is.

    Args:
        grid: of Flower.
        nodes: of the sites on it.
        more: of ``Rounds``.
    """

    def __init__(self, grid: Any, nodes: Mapping[str, int], **more: Any) -> None:
        super().__init__(**more)
        self.grid, self.nodes = grid, nodes

    @override
    def begun(self, weights: State) -> dict[str, Tensor]:
        return self._average(0, self._train(0, weights, dict.fromkeys(self.patients, Turn(0, 0, 0))), weights)

    @override
    def trained(self, round_: int, weights: State) -> dict[str, Tensor]:
        turns = {site: self.turn(round_, site) for site in self.patients}
        keys = self._train(round_, weights, turns)
        self.epochs |= {site: turns[site].until for site in keys}
        return self._average(round_, keys, weights)

    def _train(self, round_: int, weights: State, turns: Mapping[str, Turn]) -> dict[str, bytes]:
        """Let all train, and return the public keys of those that have something to send."""
        from flwr.app import ArrayRecord, ConfigRecord

        sent = ArrayRecord(dict(weights))
        asked = {
            site: {"weights": sent, "config": ConfigRecord({**turn._asdict(), "sites": len(turns)})}
            for site, turn in turns.items()
        }
        told = self._told("train", asked)
        for site, answer in told.items():
            if "reason" in answer["config"]:
                self.note(round_, site, answer["config"]["reason"])
        return {site: answer["config"]["key"] for site, answer in told.items() if "key" in answer["config"]}

    def _average(self, round_: int, keys: Mapping[str, bytes], like: State) -> dict[str, Tensor]:
        """Return the average over sites, of whose weights nothing is seen but the sum."""
        from flwr.app import ConfigRecord

        if len(keys) < 2:
            raise TrainingError(f"round {round_}: fewer than two sites have finished: no sum could hide their weights")
        of_all = {"sites": list(keys), "keys": list(keys.values()), "patients": [self.patients[site] for site in keys]}
        told = self._told("query.share", {site: {"config": ConfigRecord(of_all)} for site in keys})
        if silent := [site for site, answer in told.items() if "words" not in answer]:
            raise TrainingError(
                f"round {round_}: sites fell silent while weights were summed: {', '.join(silent)}; the same command"
                " goes on from the round before"
            )
        return average(reduce(np.add, [answer["words"].to_numpy_ndarrays()[0] for answer in told.values()]), like)

    def _told(self, kind: str, asked: Told) -> Told:
        found = ask(self.grid, kind, {self.nodes[site]: content for site, content in asked.items()})
        return {site: found[self.nodes[site]] for site in asked}


def ask(grid: Any, kind: str, asked: Mapping[int, Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Send each node a message, and return what all answer; of one that does not, a reason under ``config``."""
    from flwr.app import ConfigRecord, Message, RecordDict

    messages = [Message(RecordDict(dict(content)), node, kind) for node, content in asked.items()]
    silent = {"config": ConfigRecord({"reason": "no answer"})}
    replies = {reply.metadata.src_node_id: reply for reply in grid.send_and_receive(messages)}
    heard = {node: reply.content for node, reply in replies.items() if not reply.has_error()}
    return {node: heard.get(node, silent) for node in asked}


def server_app() -> Any:
    """Return the ServerApp; its run is configured by ``sites``, how many to wait for, and ``options``.

    Raises:
        OptionError: Flower is not installed.
    """
    require_flower()
    from flwr.serverapp import ServerApp

    app = ServerApp()
    app.main()(_federated)
    return app


def _federated(grid: Any, context: Any) -> None:
    """Carry out the rounds, from the last one that was kept; what comes of them is the last checkpoint."""
    watch = Watch(say=print, warn=print)
    spec = asked_for(str(context.run_config["options"]))
    number = whole("sites", context.run_config["sites"], least=2)
    while len(nodes := list(grid.get_node_ids())) < number:
        sleep(1)
    sites = _introduced(ask(grid, "query.site", {node: {} for node in nodes}))
    schema = _same({name: told["schema"] for name, (_, told) in sites.items()})
    model: SyntheticModel = fit.model_of(spec, SyntheticModel, "visits", None, schema=schema)
    rounds = require_rounds(spec, model)
    rows = json.dumps({name: told["fingerprint"] for name, (_, told) in sites.items()})
    fingerprint = hashlib.sha256(rows.encode()).hexdigest()
    folder = RunFolder(train.study_folder(spec) / spec.model_name / spec.identity(fingerprint))
    write_text(folder.config, dumped(spec.config))
    schema.save(folder.schema)
    across = Across(
        grid,
        {name: node for name, (node, _) in sites.items()},
        spec=spec,
        rounds=rounds,
        patients={name: told["patients"] for name, (_, told) in sites.items()},
        watch=watch,
    )
    last = LastCheckpoint(until=rounds, folder=folder.path, every=1)
    about = About(train.study_name(spec), spec.model_name, spec.seed, "sites", fingerprint, folder.path.name)
    tracker = Tracker([], about, watch.say)
    fit.train(taking_turns(spec), model, across.turns, last, (), folder, tracker, watch, rounds=across)
    write_json(folder.sites, across.facts())
    watch.say(f"checkpoints  {folder.path / 'checkpoints'}")


def _introduced(told: Mapping[int, Mapping[str, Any]]) -> dict[str, tuple[int, Mapping[str, Any]]]:
    """Return node and facts of each site, in the order of their names."""
    found = dict[str, tuple[int, Mapping[str, Any]]]()
    for node, answer in told.items():
        if "reason" in answer["config"]:
            raise OptionError(f"node {node}: {answer['config']['reason']}")
        name = answer["config"]["site"]
        expect(name not in found, "--node-config site", name, "another name for each node")
        found[name] = node, answer["config"]
    return dict(sorted(found.items()))


def _same(schemas: Mapping[str, str]) -> Schema:
    (first, schema), *others = schemas.items()
    for name, other in others:
        if other != schema:
            raise SchemaError(
                f"site {name}: other columns than site {first} has; --node-config schema=FILE sees the rows of a site"
                " under the schema.json of another"
            )
    return Schema.from_dict(json.loads(schema))
