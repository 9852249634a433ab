#!/usr/bin/env bash
# Generators of patients through time at an equal budget; each part can be repeated and goes on where it stopped.
#
#   run.sh data            20,000 simulated patients with planted dynamics, as trajectories
#   run.sh train           nine models, five minutes of a processor each at most, and ranks them
#   run.sh seqhealth       VAE-SeqHealth with and without temporal attention and latent regularisation
#   run.sh targets         what their runs score, into README.md: who is nearer to fresh real patients
#   run.sh planted         whether they reproduce what is planted
#   run.sh ablation        what each part of Chronicle buys, on 3,000 simulated patients
#   run.sh mimic ROOT      the demo of MIMIC-IV or MIMIC-III: prepare and train, one command each
#   run.sh large           300,000 patients, 6,000,000 diagnoses: seconds and memory
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-runs/trajectories}
python=${PYTHON:-python}
models=${MODELS:-visits/independent_visits,visits/markov,visits/record_mixture_visits,visits/train_copy_visits,visits/halo,visits/seqhealth,visits/visit_diffusion,visits/chronicle,visits/event_transformer}
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

ehrsynth() { "$python" -c 'from ehrsynth.cli.main import main; main()' "$@"; }

at_equal_budget() {
    ehrsynth train -m data.matrix="$out/visits" "$@" seed="${SEED:-0}" profile=visits/course \
        trainer.processor_seconds=300 evaluation.checkpoints=3 evaluation.rows=2000 \
        paths.runs="$out/runs" logger.mode=disabled
}

mkdir -p "$out"
case ${1:-} in
data) ehrsynth prepare form=trajectories source=demo_visits source.n=20000 out="$out/visits" ;;
train) at_equal_budget model="$models" study=equal ;;
seqhealth)
    at_equal_budget model=visits/seqhealth model.temporal_attention=true,false \
        model.latent_regularisation=true,false study=seqhealth
    ;;
targets) "$python" "$here/targets.py" "$out/runs/equal" --into "$here/README.md" ;;
planted) "$python" "$here/planted.py" "$out/runs/equal" --into "$here/README.md" ;;
ablation)
    [ -d "$out/few" ] || ehrsynth prepare form=trajectories source=demo_visits source.n=3000 out="$out/few"
    "$python" "$here/ablation.py" "$out/few" --into "$here/README.md"
    ;;
mimic)
    ehrsynth prepare form=trajectories source=mimic_iv source.root="$2" preprocess.min_count=3 out="$out/mimic"
    ehrsynth train data.matrix="$out/mimic" model=visits/chronicle profile=visits/course paths.runs="$out/runs" \
        logger.mode=disabled
    ;;
large)
    /usr/bin/time -v "$python" -c 'from ehrsynth.cli.main import main; main()' prepare form=trajectories source=demo \
        source.n=300000 out="$out/large" 2>&1 | grep -E "trajectories|Elapsed|Maximum|train|holdout"
    ;;
*) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
