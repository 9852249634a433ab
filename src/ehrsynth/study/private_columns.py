"""The columns of a private run: those of a public schema, or what noisy counts tell of them."""

import hashlib
import json
from pathlib import Path

from ehrsynth.accounting import Mechanism, gaussian_within
from ehrsynth.data.matrix import Matrix
from ehrsynth.data.noisy_schema import NoisySchema, noisy_schema, require_unchosen
from ehrsynth.data.private_module import require_row_a_patient
from ehrsynth.data.public_matrix import NoisyMatrix, PublicMatrix
from ehrsynth.data.public_trajectories import PublicTrajectories
from ehrsynth.data.trajectories import VISITS_JSON, Trajectories
from ehrsynth.errors import FileError, OptionError, SchemaError
from ehrsynth.files import read_object, require, write_json
from ehrsynth.ledger import Look, mechanisms_of
from ehrsynth.schema import Schema
from ehrsynth.seeding import secret_rng
from ehrsynth.study.privacy import Privacy
from ehrsynth.study.shared import owned
from ehrsynth.study.spec import Spec
from ehrsynth.study.watch import Watch

FAILS = 0.1  # share of delta for a name of one patient alone
MECHANISMS = 2  # of the epsilon of a noisy schema


def visits_in_private(spec: Spec, data: Trajectories) -> Trajectories:
    """Return patients through time in the columns and visits of the public schemas, if a run asks for them.

    Raises:
        OptionError: it asks for noisy counts in their place.
    """
    asked = Privacy.of(spec.privacy)
    if asked is None or (asked.public is None and not asked.schema):
        return data
    if asked.public is None:
        raise OptionError(
            f"privacy.schema={asked.schema}: of rows alone so far; privacy.public=schema.json, beside which lies a"
            f" {VISITS_JSON}, says what columns, kinds, codes and measurements were known without these patients"
        )
    return PublicTrajectories(data, Path(asked.public))


def seen_in_private(spec: Spec, data: Matrix, watch: Watch) -> Matrix:
    """Return a matrix in the columns of the public schema, or of a noisy one, as a run asks for.

    A noisy schema is learned once for a matrix, epsilon and delta, and kept beside prepared matrices: runs that share
    it share what it spent.

    Raises:
        OptionError: its columns were chosen in a way that noise cannot account for, or a patient has several rows.
    """
    asked = Privacy.of(spec.privacy)
    if asked is None or (asked.public is None and not asked.schema):
        return data
    if asked.public is not None:
        return PublicMatrix(data, require(Path(asked.public)))
    require_unchosen(data)
    require_row_a_patient(data)
    epsilon, delta = asked.epsilon * asked.schema, delta_of(asked, data)
    made_of = {"matrix": data.fingerprint, "epsilon": epsilon, "delta": delta}
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:10]
    file = Path(spec.paths["matrices"]) / f"{data.name}-schema-{key}.json"
    with owned(file.with_name(f".{file.name}.lock"), str(file), watch.say):
        if not file.is_file():
            alone = gaussian_within(epsilon, (1 - FAILS) * delta)
            found = noisy_schema(data, alone * MECHANISMS**0.5, FAILS * delta, secret_rng())
            write_json(file, {"schema": found.schema.to_dict(), "looks": [look.to_dict() for look in found.looks]})
    matrix = NoisyMatrix(data, _read(file))
    watch.say(f"privacy.schema: {len(matrix.schema.columns):,} columns told by noisy counts, {file}")
    return matrix


def looks_of(matrix: Matrix | Trajectories) -> tuple[Look, ...]:
    """Return the looks by which the columns of a matrix were learned with noise."""
    return matrix.looks if isinstance(matrix, NoisyMatrix) else ()


def spent_before(data: Matrix | Trajectories) -> list[Mechanism]:
    """Return what these spent."""
    return mechanisms_of(looks_of(data))


def delta_of(asked: Privacy, data: Matrix | Trajectories) -> float:
    """Return delta: as asked for, or one over the training patients."""
    return asked.delta or 1 / int(data.provenance["rows"]["train"])


def _read(file: Path) -> NoisySchema:
    content = read_object(file, schema=dict, looks=list)
    try:
        return NoisySchema(Schema.from_dict(content["schema"]), tuple(map(Look.from_dict, content["looks"])))
    except (OptionError, SchemaError, KeyError, TypeError, ValueError) as error:
        raise FileError(f"{file}: not a noisy schema of this program ({type(error).__name__})") from None
