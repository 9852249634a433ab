#!/usr/bin/env bash
# What epsilon costs: models by epsilon on diabetes130, mixed and codes alone; each part goes on where it stopped.
#
#   run.sh data DIABETES.csv.gz     all that patients have, for noisy schemas; and as usual, for runs without privacy
#   run.sh mixed                    epsilon 0.5, 1, 3, 8 and none x eleven models x two seeds (SEED=0 for one of them)
#   run.sh codes                    the same for what is released by noisy sums
#   run.sh figure                   curves.png and curves.csv beside this file, of what is there
#   run.sh audits                   the mixed table again, audited by canaries, into README.md, audits.csv and audits.png
#   run.sh claims                   the simulated hospital at the epsilons that papers claim, into README.md
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/privacy-utility}
python=${PYTHON:-python}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

ehrsynth() { "$python" -c 'from ehrsynth.cli.main import main; main()' "$@"; }

NUMBERS=(age time_in_hospital num_lab_procedures num_procedures encounters)
OTHERS=(sex race died readmitted_30d)
COUNTED=dp_tree,dp_mixture,dp_merf                  # by noisy sums
WITHOUT=chow_liu,mixture                            # what these are without noise
LEARNED=(  # by DP-SGD, epochs of about two minutes of a processor, and a warm-up that ends within them
    "model=vae trainer.max_epochs=12"
    "model=masked_diffusion trainer.max_epochs=4 model.warmup_steps=20"
    "model=wgan_gp trainer.max_epochs=7"
    "model=ehrdiff trainer.max_epochs=4 model.warmup_steps=20"
    "model=tally trainer.max_epochs=1 model.warmup_steps=5"
    "model=ehrdiff_tuned trainer.max_epochs=6 model.warmup_steps=20"
    "model=tabddpm_tuned trainer.max_epochs=4"
    "model=emr_wgan_tuned trainer.max_epochs=8"
)
BATCH=2048
EPSILONS=0.5,1,3,8
runs=$out/runs more=()

trained() {  # TABLE OPTION ...
    ehrsynth train -m study="$1" paths.runs="$runs" paths.matrices="$out/schemas" seed="${SEED:-0,1}" "${@:2}" "${more[@]}"
}

privately() {  # TABLE OPTION ...
    trained "$1" data.matrix="$out/$1-all" privacy=dp privacy.schema=0.2 privacy.epsilon=$EPSILONS "${@:2}"
}

counted() {  # TABLE
    privately "$1" model=$COUNTED
    trained "$1" data.matrix="$out/$1" model=$WITHOUT
}

learned() {  # TABLE
    local each steps
    for each in "${LEARNED[@]}"; do
        read -ra steps <<< "$each data.batch_size=$BATCH evaluation.checkpoints=1"
        privately "$1" "${steps[@]}"
        trained "$1" data.matrix="$out/$1" "${steps[@]}"
    done
}

claimed() {  # TABLE EPSILONS OPTION ...
    local each steps
    for each in model=vae,dp_tree,dp_mixture model={masked_diffusion,ehrdiff_tuned}" model.warmup_steps=20"; do
        read -ra steps <<< "$each"
        ehrsynth train -m study="$1" data.matrix="$out/$1" privacy=dp privacy.public="$out/$1/schema.json" \
            privacy.epsilon="$2" seed="${SEED:-0,1}" trainer.max_epochs=20 data.batch_size=512 \
            evaluation.checkpoints=1 paths.runs="$out/claims" "${steps[@]}" "${@:3}"
    done
}

mkdir -p "$out"
case ${1:-} in
data)
    for form in mixed codes; do
        mapfile -t left < <(test $form = mixed || printf 'features.%s=null\n' "${NUMBERS[@]}" "${OTHERS[@]}")
        ehrsynth prepare source=diabetes130 source.path="$2" preprocess=none constraints=none out="$out/$form-all" \
            "${left[@]}"
        ehrsynth prepare source=diabetes130 source.path="$2" constraints=none out="$out/$form" "${left[@]}"
    done
    ;;
mixed) counted mixed && learned mixed ;;
codes) counted codes ;;
audits)
    runs=$out/audits more=(audit.canaries=500 "audit.kinds=[random,all_rare]" suite@evaluation.full=quick)
    counted mixed && learned mixed
    "$python" "$here/audits.py" "$runs" "$here"
    ;;
claims)
    [ -d "$out/narrow" ] || ehrsynth prepare source=demo source.n=44386 preprocess.min_prevalence=0.187 out="$out/narrow"
    [ -d "$out/hospital" ] || ehrsynth prepare source=demo source.n=10000 out="$out/hospital"
    claimed narrow 0.606 privacy.delta=1.71e-7
    claimed hospital 2.5,3.2
    "$python" "$here/claims.py" "$out/claims" "$here/README.md"
    ;;
figure) "$python" "$here/curves.py" "$out/runs" "$here" ;;
*) sed -n '2,10p' "$0" && exit 2 ;;
esac
