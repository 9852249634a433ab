"""Run both apps of a federation in one process, by the python of an environment that has Flower.

The messages are Flower's, the grid that carries them is this one: ``flower_in_process.py RUN_CONFIG NODE_CONFIG ...``,
each as JSON.
"""

import json
import sys
from collections.abc import Iterable, Iterator

import torch
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from ehrsynth.study.federate.flower import client_app
from ehrsynth.study.federate.flower_server import server_app

torch.set_num_threads(1)
TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
RUN, *NODES = map(json.loads, sys.argv[1:])


def context(node: int, config: dict[str, str]) -> Context:
    return Context(run_id=1, node_id=node, node_config=config, state=RecordDict(), run_config=RUN)


class Grid:
    def __init__(self) -> None:
        self.app = client_app()
        self.nodes = {node: context(node, config) for node, config in enumerate(NODES, start=2)}

    def get_node_ids(self) -> Iterable[int]:
        return self.nodes

    def send_and_receive(self, messages: Iterable[Message]) -> Iterator[Message]:
        for message in messages:
            yield self.app(message, self.nodes[message.metadata.dst_node_id])


server_app()(Grid(), context(1, {}))
