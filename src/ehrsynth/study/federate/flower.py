"""Sites on machines of their own, by Flower: each does in a round what a site does that takes turns on one machine.

Weights, masked words and counts travel, and the columns; no row does. Each pair of sites agrees on its masks by X25519,
over keys that the server passes on. So a server that reads what it is sent learns the sum and no site's weights; one
that exchanges keys could, for nobody signs them, and numpy's generators are not cryptographic.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

from ehrsynth.data.matrix import Matrix
from ehrsynth.data.public_matrix import PublicMatrix
from ehrsynth.disclosure import LEAST
from ehrsynth.errors import OptionError, expect
from ehrsynth.study import train
from ehrsynth.study.conf import compose, conf_dir, parsed
from ehrsynth.study.federate.averaging import share
from ehrsynth.study.federate.carry_out import FederateSpec
from ehrsynth.study.federate.local import begun_at, forget_before, site_folder, site_spec, trained_at
from ehrsynth.study.federate.masks import masked
from ehrsynth.study.federate.rounds import AVERAGED, in_a_line
from ehrsynth.study.federate.sites import Site
from ehrsynth.study.spec import Spec

Records = Any  # flwr's RecordDict
Answer = Callable[[Records, Any], Mapping[str, Any]]


def require_flower() -> None:
    """Raise an ``OptionError`` if Flower is not installed."""
    if find_spec("flwr") is None:
        raise OptionError(
            "sites on machines of their own need the package flwr; pip install 'ehrsynth[flower]' brings it, in an"
            " environment of its own: it asks for older versions of rich and packaging than others do"
        )


def asked_for(options: str) -> Spec:
    """Return the training that a run of Flower asks for.

    Args:
        options: in the words of ``ehrsynth federate``: ``model=vae trainer.max_epochs=20 rounds=10``.

    Raises:
        OptionError: one of them is wrong, or is for sites on one machine.
    """
    words = [word.partition("=") for word in shlex.split(options)]
    for key, sign, value in words:
        expect(bool(sign), "options", key + value, "NAME=VALUE, as ehrsynth federate takes it,")
    given = {key: parsed(value, key) for key, _, value in words}
    groups = {key: value for key, value in given.items() if (conf_dir() / key.partition("@")[0]).is_dir()}
    rest = {key: value for key, value in given.items() if key not in groups}
    asked = FederateSpec.of(compose("federate", groups, rest), f"flwr run: {options}")
    asked.check()
    if asked.method != "fedavg" or asked.by is not None or asked.sites is not None:
        raise OptionError("by=, sites=, align= and method=merged are for sites on one machine; here sites are nodes")
    spec = Spec.of(asked.config, asked.command)
    weight = spec.constraints["weight"]
    expect(not weight, "constraints.weight", weight, "0, for each site knows its own rules alone,")
    if spec.privacy is not None:
        raise OptionError(
            "privacy=dp: a round that is repeated because a machine fell silent spends anew, and nothing accounts for"
            " that; ehrsynth federate method=merged at each site, or fedavg on one machine, trains privately"
        )
    federation = {"by": None, "rounds": asked.rounds}
    model = {**spec.model, "_name_": f"{spec.model_name}{AVERAGED}"}
    spec = replace(spec, model=model, federation=federation, study=spec.study or "flower")  # the server has no data
    spec.check()
    return spec


def client_app() -> Any:
    """Return the ClientApp of a site; its node is configured by ``site``, ``matrix`` and, if need be, ``schema``.

    In a simulation the run is configured by ``simulated`` instead: a list of these of all nodes, as JSON.

    Raises:
        OptionError: Flower is not installed.
    """
    require_flower()
    from flwr.clientapp import ClientApp

    app = ClientApp()
    app.query("site")(_answering(_introduced))
    app.train()(_answering(_trained))
    app.query("share")(_answering(_shared))
    return app


def _answering(answer: Answer) -> Callable[[Any, Any], Any]:
    """Return what answers a message; an error becomes the reason why a site falls out, less what it may not tell."""
    from flwr.app import ConfigRecord, Message, RecordDict

    def answered(message: Any, context: Any) -> Any:
        try:
            content = answer(message.content, context)
        except Exception as error:  # Flower would send the text of any
            content = {"config": ConfigRecord({"reason": in_a_line(error)})}
        return Message(RecordDict(dict(content)), reply_to=message)

    return answered


def _introduced(sent: Records, context: Any) -> Mapping[str, Any]:
    """Tell who a site is, and under which columns it has its rows."""
    from flwr.app import ConfigRecord

    site = _site(context)
    if site.patients < LEAST:
        raise OptionError(f"site {site.name}: fewer than {LEAST} training patients")
    told = {"site": site.name, "patients": site.patients, "fingerprint": site.matrix.fingerprint}
    return {"config": ConfigRecord({**told, "schema": json.dumps(site.matrix.schema.to_dict())})}


def _trained(sent: Records, context: Any) -> Mapping[str, Any]:
    """Train, keep what comes of it, and tell the public key of the masks under which it will be sent."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from flwr.app import ArrayRecord, ConfigRecord

    turn, weights, site = sent["config"], sent["weights"].to_torch_state_dict(), _site(context)
    spec = asked_for(str(context.run_config["options"]))
    spec = replace(spec, data={**spec.data, "matrix": str(site.matrix.folder)})
    own = site_spec(spec, site.name, turn["sites"])
    if turn["until"]:
        folder = site_folder(train.folder_of(spec, site.matrix).path, site)
        forget_before(folder, turn["kept"])
        state = trained_at(own, site, weights, turn["done"], turn["until"], folder).weights
    else:
        state = begun_at(own, site, weights).weights
    key = X25519PrivateKey.generate()
    context.state["weights"] = ArrayRecord(state)
    context.state["key"] = ConfigRecord({"key": key.private_bytes_raw()})
    return {"config": ConfigRecord({"key": key.public_key().public_bytes_raw()})}


def _shared(sent: Records, context: Any) -> Mapping[str, Any]:
    """Send what was kept, as a share of the sum, under masks; once, for two sums of other sites would tell masks."""
    from flwr.app import ArrayRecord

    asked, name = sent["config"], str(_node(context)["site"])
    sites, patients = list(asked["sites"]), list(asked["patients"])
    if len(sites) < 2 or "key" not in context.state:
        raise OptionError(f"site {name}: nothing is sent that masks do not cover")
    own, key = sites.index(name), context.state["key"]["key"]
    del context.state["key"]
    words = share(context.state["weights"].to_torch_state_dict(), patients[own], sum(patients))
    return {"words": ArrayRecord([masked(words, own, _seeds(own, key, asked["keys"]))])}


def _seeds(own: int, key: bytes, keys: Sequence[bytes]) -> dict[tuple[int, int], int]:
    """Return what a site agrees on with each other, by its own key and the public ones of all."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    private = X25519PrivateKey.from_private_bytes(key)
    pairs = [pair for pair in combinations(range(len(keys)), 2) if own in pair]
    others = [X25519PublicKey.from_public_bytes(keys[sum(pair) - own]) for pair in pairs]
    return {pair: int.from_bytes(private.exchange(other)) for pair, other in zip(pairs, others, strict=True)}


def _node(context: Any) -> Mapping[str, Any]:
    """Return what a node is told of its site; nodes of a simulation have a number alone, and the run tells of each."""
    simulated: list[Mapping[str, Any]] = json.loads(str(context.run_config.get("simulated") or "[]"))
    return simulated[int(context.node_config["partition-id"])] if simulated else context.node_config


def _site(context: Any) -> Site:
    node = _node(context)
    for key in ("site", "matrix"):
        expect(key in node, f"--node-config {key}", None, 'site="NAME" matrix="FOLDER"')
    return Site(str(node["site"]), 1, _opened(str(node["matrix"]), str(node.get("schema", "")), str(node["site"])))


@cache
def _opened(folder: str, schema: str, site: str) -> Matrix:
    matrix = Matrix.open(Path(folder))
    return PublicMatrix(matrix, Path(schema), f"site {site}") if schema else matrix
