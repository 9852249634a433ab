"""Several processes that take part in one search."""

from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from traceback import format_exception

import torch

from ehrsynth.errors import EhrsynthError, MachineError
from ehrsynth.study.search.database import database
from ehrsynth.study.search.looked_at import open_seen
from ehrsynth.study.search.spec import SearchSpec
from ehrsynth.study.search.worker import work
from ehrsynth.study.watch import Watch


def side_by_side(spec: SearchSpec, folder: Path, watch: Watch) -> None:
    """Let several processes take part in a search.

    Args:
        spec: of the search.
        folder: of the data.
        watch: who is told what they say.

    Raises:
        EhrsynthError: of the first process that failed; the others are then ended too.
        MachineError: all of them were killed.
    """
    context, told, workers = get_context("spawn"), [], []
    try:
        for _ in range(spec.workers):
            here, there = context.Pipe(duplex=False)  # one each: who is killed while it writes must block nobody else
            workers.append(context.Process(target=_work_apart, args=(spec, folder, there), daemon=True))
            workers[-1].start()
            there.close()
            told.append(here)
        while told:
            for end in wait(told):
                assert isinstance(end, Connection)
                try:
                    kind, what = end.recv()
                except (EOFError, OSError):  # it has ended, perhaps in the middle of a word
                    told.remove(end)
                    continue
                if kind == "error":
                    raise what
                (watch.warn if kind == "warn" else watch.say)(what)
        for worker in workers:
            worker.join()
    finally:
        for worker in workers:
            worker.terminate()  # where another one has failed
    if all(worker.exitcode for worker in workers):
        raise MachineError(
            f"workers={spec.workers}: all processes were killed, perhaps for want of memory; repeat the command with"
            " fewer, and it goes on where it stopped"
        )


def _work_apart(spec: SearchSpec, folder: Path, told: Connection) -> None:
    """Work in a process of its own, and send what is to be said to that which started it."""
    torch.set_num_threads(max(1, torch.get_num_threads() // spec.workers))
    watch = Watch(say=lambda line: told.send(("say", line)), warn=lambda line: told.send(("warn", line)))
    try:
        with database(spec.database):
            work(spec, open_seen(spec.base, folder), watch)
    except KeyboardInterrupt:
        pass
    except Exception as error:
        ours = error if isinstance(error, EhrsynthError) else RuntimeError("".join(format_exception(error)))
        told.send(("error", ours))
