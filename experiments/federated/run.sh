#!/usr/bin/env bash
# Four hospitals of unequal size: pooled, averaged, merged and local models; a part that was broken off goes on.
#
#   run.sh hospitals     four simulated hospitals that prepare their own tables and agree on columns
#   run.sh race          one simulated hospital whose sites are as unlike as the patients of four races
#   run.sh table         sites.csv beside this file, of what is there
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/federated}
python=${PYTHON:-python}
model=${MODEL:-vae}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

ehrsynth() { "$python" -c 'from ehrsynth.cli.main import main; main()' "$@"; }

SIZES=(${SIZES:-2400 1000 500 250})  # patients, of which 63 % are trained on
EPOCHS=${EPOCHS:-20} ROUNDS=${ROUNDS:-10}

each_way() {  # STUDY, and who the sites are
    local study=$1 kept
    kept=(model="$model" study="$study" paths.runs="$out/runs" paths.matrices="$out/matrices" trainer.max_epochs="$EPOCHS"
        data.batch_size=64 trainer.accelerator=cpu suite@evaluation.full=quick evaluation.checkpoints=2
        logger.mode=disabled seed=0)
    shift
    ehrsynth federate "$@" "${kept[@]}" method=fedavg rounds="$ROUNDS"
    ehrsynth federate "$@" "${kept[@]}" method=merged
    "$python" "$here/pooled.py" "$out/runs/$study" "$model" "${kept[@]}"
}

case ${1:-} in
hospitals)
    names=(north south east west) folders=()
    for k in 0 1 2 3; do
        folders+=("$out/hospitals/${names[k]}")
        ehrsynth prepare source=demo source.n="${SIZES[k]}" source.seed="$((k + 1))" preprocess=none out="${folders[k]}"
    done
    each_way hospitals "sites=[$(IFS=,; echo "${folders[*]}")]" align=true
    ;;
race)
    ehrsynth prepare source=demo source.n=4000 source.seed=5 out="$out/one"
    each_way race data.matrix="$out/one" by=race
    ;;
table) "$python" "$here/table.py" "$out/runs" "$model" "$here/sites.csv" ;;
*) sed -n '2,7p' "$0" ;;
esac
