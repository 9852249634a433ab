"""Draw by one of our private models what others.py asks for: ``others_ours.py dp_tree|dp_mixture FOLDER``."""

import json
import sys
from pathlib import Path

import pandas as pd
from others import public_states

from ehrsynth.models.dp_mixture import DPMixture
from ehrsynth.models.dp_tree import DPTree
from ehrsynth.sampling import synthesize
from ehrsynth.schema import Schema

method, folder = sys.argv[1], Path(sys.argv[2])
asked = json.loads((folder / "domain.json").read_text(encoding="utf-8"))
states, records = public_states(folder)
options = {"schema": Schema.load(folder / "schema.json"), "epsilon": asked["epsilon"], "delta": asked["delta"]}
model = {"dp_tree": DPTree, "dp_mixture": DPMixture}[method](**options)
model.observe(records)
pd.concat(synthesize(model, len(records), 0), ignore_index=True).to_parquet(folder / f"{method}.parquet")
