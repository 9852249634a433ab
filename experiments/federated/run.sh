#!/usr/bin/env bash
# Four hospitals of unequal size: pooled, averaged, merged and local models; a part that was broken off goes on.
#
#   run.sh hospitals     four simulated hospitals that prepare their own tables and agree on columns
#   run.sh private       the same at epsilon 3, the columns they agreed on taken as known without patients
#   run.sh race          one simulated hospital whose sites are as unlike as the patients of four races
#   run.sh table         sites.csv beside this file, of what is there
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/federated}
python=${PYTHON:-python}
model=${MODEL:-vae}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

ehrsynth() { "$python" -c 'from ehrsynth.cli.main import main; main()' "$@"; }

NAMES=(north south east west) PRIVATE=()
SIZES=(${SIZES:-2400 1000 500 250})  # patients, of which 63 % are trained on
EPOCHS=${EPOCHS:-20} ROUNDS=${ROUNDS:-10}

sites() { local IFS=,; echo "sites=[${NAMES[*]/#/$out/hospitals/}]"; }

each_way() {  # STUDY, and who the sites are
    local study=$1 kept
    kept=(model="$model" study="$study" paths.runs="$out/runs" paths.matrices="$out/matrices" trainer.max_epochs="$EPOCHS"
        data.batch_size=64 trainer.accelerator=cpu suite@evaluation.full=quick evaluation.checkpoints=2
        logger.mode=disabled seed=0 "${PRIVATE[@]}")
    shift
    ehrsynth federate "$@" "${kept[@]}" method=fedavg rounds="$ROUNDS"
    ehrsynth federate "$@" "${kept[@]}" method=merged
    "$python" "$here/pooled.py" "$out/runs/$study" "$model" "${kept[@]}"
}

case ${1:-} in
hospitals)
    for k in 0 1 2 3; do
        ehrsynth prepare source=demo source.n="${SIZES[k]}" source.seed="$((k + 1))" preprocess=none \
            out="$out/hospitals/${NAMES[k]}"
    done
    each_way hospitals "$(sites)" align=true
    ;;
private)
    PRIVATE=(privacy=dp privacy.epsilon=3 privacy.public="$(echo "$out"/matrices/4-sites-*/schema.json)")
    each_way private "$(sites)" align=true
    ;;
race)
    ehrsynth prepare source=demo source.n=4000 source.seed=5 out="$out/one"
    each_way race data.matrix="$out/one" by=race
    ;;
table) "$python" "$here/table.py" "$out/runs" "$model" "$here/sites.csv" ;;
*) sed -n '2,8p' "$0" ;;
esac
