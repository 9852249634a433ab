"""Draw by a method of dpmm what others.py asks for: ``others_dpmm.py dpmm_mst|dpmm_aim|dpmm_privbayes FOLDER``."""

import json
import sys
from pathlib import Path

import pandas as pd
from dpmm.pipelines import AIMPipeline, MSTPipeline, PrivBayesPipeline

PIPELINES = {"dpmm_mst": MSTPipeline, "dpmm_aim": AIMPipeline, "dpmm_privbayes": PrivBayesPipeline}

if __name__ == "__main__":
    method, folder = sys.argv[1], Path(sys.argv[2])
    asked = json.loads((folder / "domain.json").read_text(encoding="utf-8"))
    states = pd.read_csv(folder / "states.csv")
    pipeline = PIPELINES[method](
        epsilon=asked["epsilon"],
        delta=asked["delta"],
        max_model_size=80,  # MB, the default of its AIM, which a pipeline takes away
        disable_processing=True,  # states have no need of bins
        n_jobs=1,
    )
    pipeline.fit(states, domain=asked["sizes"])
    drawn = pipeline.generate(n_records=len(states))
    drawn[states.columns].astype("int64").to_csv(folder / f"{method}.csv", index=False)
