"""A server of W&B for tests: it answers what the client asks, and keeps what it is told."""

import base64
import gzip
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

KEY = "k" * 40
ME = {"id": "E", "name": "me"}
PROJECT = {"id": "P", "name": "ehrsynth", "entity": ME}


class WandbServer:
    """What a server has been told.

    Attributes:
        url: where it listens.
        runs: run id -> what the client said of the run, the first time.
        history: run id -> rows.
        summary: run id -> the summary as it is now.
        exits: run id -> exit codes, one an attempt.
        files: path -> content, of media, artifacts and files of runs.
        artifacts: name -> type.
        sweep: a configuration in YAML that an agent gets.
        trials: what the agent is to try, one mapping a run.
        reachable: whether clients get an answer.
        requests: how many there were.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs: dict[str, dict[str, Any]] = {}
        self.history: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.summary: dict[str, dict[str, Any]] = {}
        self.exits: dict[str, list[int]] = defaultdict(list)
        self.files: dict[str, bytes] = {}
        self.artifacts: dict[str, str] = {}
        self.sweep = ""
        self.trials: list[dict[str, Any]] = []
        self.reachable = True
        self.requests = 0

    @property
    def environment(self) -> dict[str, str]:
        """What leads a client here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}

    def answer(self, query: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the data of an answer to a question in GraphQL."""
        question = query.split("(")[0].split("{")[0].split()[1]
        known = getattr(self, f"_{question}", None)
        return {} if known is None else known(asked)

    def _Viewer(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"viewer": {"id": "1", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}

    def _RunResumeStatus(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = asked["name"]
        bucket = run in self.runs and {
            **{"id": run, "name": run, "displayName": "", "tags": [], "notes": "", "wandbConfig": '{"t": 1}'},
            "summaryMetrics": json.dumps(self.summary.get(run, {})),
            **{"logLineCount": 0, "historyLineCount": len(self.history[run]), "eventsLineCount": 0},
            "historyTail": json.dumps([json.dumps(row) for row in self.history[run][-1:]]),
            **{"eventsTail": "[]", "config": "{}"},
        }
        return {"model": {**PROJECT, "bucket": bucket or None}}

    def _UpsertBucket(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = asked["name"]
        inserted = run not in self.runs
        if inserted:
            self.runs[run] = dict(asked)
        if asked["config"]:
            self.runs[run]["config"] = asked["config"]
        bucket = {"id": run, "name": run, "displayName": "", "config": "{}", "sweepName": None, "project": PROJECT}
        return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": 0}, "inserted": inserted}}

    def _CreateRunFiles(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        files = [{"name": name, "uploadUrl": f"{self.url}/up/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def _ArtifactType(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"project": {"artifact": None}}

    def _CreateArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        name = asked["input"]["artifactCollectionName"]
        self.artifacts[name] = asked["input"]["artifactTypeName"]
        return {"createArtifact": {"artifact": {"id": name, "state": "PENDING", "artifactSequence": {"id": "S"}}}}

    def _CreateArtifactManifest(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        file = {"id": "F", "name": "m", "displayName": "m", "uploadUrl": f"{self.url}/up/manifest", "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "M", "file": file}}}

    def _CreateArtifactFiles(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        edges = []
        for file in asked["input"]["artifactFiles"]:
            place = f"{file['artifactID']}/{file['name']}"
            node = {"storagePath": place, "uploadUrl": f"{self.url}/up/{place}", "uploadHeaders": []}
            edges.append({"node": {**node, "uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]}}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"commitArtifact": {"artifact": {"id": asked["artifactID"], "digest": "d"}}}

    def _UpsertSweep(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.sweep = asked["config"]
        sweep = {"id": "S", "name": "sweep1", "project": PROJECT, "configValidationWarnings": []}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _SweepWithRuns(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"project": {"sweep": {"id": "S", "name": "s", "config": self.sweep, "runs": {"edges": []}}}}

    def _CreateAgent(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"createAgent": {"agent": {"id": "A"}}}

    def _Heartbeat(self, asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        commands: list[dict[str, Any]] = []
        if json.loads(asked["runState"]):
            pass  # it is at one
        elif self.trials:
            trial = {name: {"value": value} for name, value in self.trials.pop(0).items()}
            commands = [{"type": "run", "run_id": "given1", "program": "ehrsynth", "args": trial}]
        else:
            commands = [{"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": "A"}, "commands": json.dumps(commands)}}

    def stream(self, run: str, told: dict[str, Any]) -> None:
        """Take rows of a run's history, its summary, and its end."""
        for name, part in told.get("files", {}).items():
            lines = [json.loads(line) for line in part["content"]]
            if name == "wandb-history.jsonl":
                self.history[run][part["offset"] :] = lines
            elif name == "wandb-summary.json":
                self.summary[run] = lines[-1]
        if "exitcode" in told:
            self.exits[run].append(told["exitcode"])


class _Listening(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about clients that hang up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def wandb_server() -> Iterator[WandbServer]:
    """Serve while the block runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None: ...

        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.headers.get("content-encoding") == "gzip":
                content = gzip.decompress(content)
            server.requests += 1
            status, body = 200, {}
            if not server.reachable:
                self.close_connection = True
                return
            if self.path == "/graphql":
                key = base64.b64decode(self.headers.get("authorization", "").removeprefix("Basic ")).decode()
                asked = json.loads(content)
                status = 200 if key == f"api:{KEY}" else 401
                body = {"data": server.answer(asked["query"], asked.get("variables") or {}) if status == 200 else None}
            elif self.path.endswith("/file_stream"):
                server.stream(self.path.split("/")[4], json.loads(content))
            elif self.path.startswith("/up/"):
                server.files[self.path.removeprefix("/up/")] = content
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = _serve  # noqa: N815

    with _Listening(("127.0.0.1", 0), Handler) as listening:
        server = WandbServer(f"http://127.0.0.1:{listening.server_port}")
        thread = Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
