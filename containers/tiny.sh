#!/bin/sh
# sh containers/tiny.sh NAME: the tiny real call in the %test of containers/NAME.def. The rule's own program does its
# work on little data, in seconds, without network and GPU, in a folder that is removed again.
#
# What a program reads is made by those of the stages before where the image can run them, else it lies in
# containers/tiny_run, a finished run of 30 hours (made by tests/unit/tiny_run.py).
set -eu
project=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
# GPUs are hidden, where an image is tested with --nv: the same happens everywhere.
export OMP_NUM_THREADS=1 CUDA_VISIBLE_DEVICES=
trap 'rm -rf "$folder"' EXIT
cp -R "$project/containers/tiny_run/." "$folder"
cd "$folder"

# program NAME ARGUMENT...: it has to succeed, and what it was told to write has to be there.
program() {
  name=$1
  shift
  python "$project/scripts/$name.py" "$@" >said 2>&1 || { cat said >&2; exit 1; }
  for argument; do
    case $argument in
      --output*=*) test -s "${argument#*=}" || { echo "$name: ${argument#*=} was not written" >&2; exit 1; } ;;
    esac
  done
}

# refused NAME ARGUMENT...: it has to miss the GPUs that it is asked to use, and nothing else.
refused() {
  name=$1
  shift
  if python "$project/scripts/$name.py" "$@" >said 2>&1; then
    echo "$name: ran without a GPU" >&2
    exit 1
  fi
  tail -n 1 said | grep -Eq "^$name: error: .*(no GPU|0 GPUs are seen)" || { cat said >&2; exit 1; }
}

# --- the report's stages read the tiny run ---

traded="--leverage=2 --bars=market/bars.csv --market=market/summary.json
  --trained=infer/trained/decisions.jsonl --base=infer/base/decisions.jsonl"
results="--metrics=leverage-2/metrics.json --evidence=leverage-2/evidence.json"

market() {
  program market --synthetic-bars=400 --synthetic-calibrate-hours=100 \
    --output-bars=bars.csv --output-summary=summary.json
}

samples() {
  market
  program samples --bars=bars.csv --test=10 --validation=5 \
    --output-train=train.jsonl --output-validation=validation.jsonl --output-test=test.jsonl
}

simulate() {
  program simulate $traded --trained-summary=infer/trained/summary.json --max-invalid-share=0.5 \
    --output-equity=equity.csv --output-trades=trades.csv --output-metrics=metrics.json
}

evaluate() {
  program evaluate $traded --equity=leverage-2/equity.csv --metrics=leverage-2/metrics.json \
    --train-samples=samples/train.jsonl --validation-samples=samples/validation.jsonl \
    --test-samples=samples/test.jsonl --prompt=report --ledger=ledger \
    --permutations=10000 --bootstrap=10000 --reality-check=1000 --output=evidence.json
}

plot() {
  program plot $results --equity=leverage-2/equity.csv --decisions=infer/trained/decisions.jsonl \
    --training=train/metrics.jsonl --output-equity-curve=equity_curve.png --output-drawdown=drawdown.png \
    --output-decisions=decisions.png --output-training=training.png --output-null-distribution=null_distribution.png \
    --output-bootstrap-fan=bootstrap_fan.png --output-cost-latency=cost_latency.png --output-leverage=leverage.png
}

deck() {
  plot
  program deck $results --leverage=2 --equity-curve=equity_curve.png --null-distribution=null_distribution.png \
    --bootstrap-fan=bootstrap_fan.png --cost-latency=cost_latency.png --leverage-curves=leverage.png \
    --market=market/summary.json --manifest=train/checkpoint.json --inference=infer/trained/summary.json \
    --base-inference=infer/base/summary.json --parity=model/parity.json --output=deck.pptx
}

tearsheet() {
  plot
  program tearsheet $results --leverage=2 --equity=leverage-2/equity.csv --trades=leverage-2/trades.csv \
    --decisions=infer/trained/decisions.jsonl --market=market/summary.json --inference=infer/trained/summary.json \
    --manifest=train/checkpoint.json --figures equity_curve.svg drawdown.png --output=tearsheet.html
}

# --- the model's stages make a model of their own ---

samples="--train=samples.jsonl --validation=samples.jsonl"
model="--weights=megatron --base=base"

base_model() { program base_model --tiny-warm-up-steps=2 --tiny-warm-up-batch=4 --output=base; }

# Random weights, for images that have nothing to read prices with.
random_model() { python "$project/containers/tiny_model.py" >said 2>&1 || { cat said >&2; exit 1; }; }

import_weights() {
  random_model
  program import_weights --base=base --output=megatron
}

train() {
  import_weights
  program train $model $samples --device=cpu --iterations=2 --prompts-per-iteration=4 --group-size=2 \
    --max-new-tokens=4 --checkpoints=checkpoints --output-manifest=checkpoint.json --output-metrics=metrics.jsonl
}

export_weights() {
  train
  program export_weights --manifest=checkpoint.json --base=base --output=trained --output-parity=parity.json
}

asked="--variant=base --model=base --samples=samples.jsonl --temperature=0 --max-new-tokens=4 --journal=journal
  --output-decisions=decisions.jsonl --output-summary=summary.json --output-timing=timing.json"

infer() {
  random_model
  program infer $asked --device=cpu
}

# --- the images for CUDA, which are built where there is no GPU ---

cuda="--device=cuda --iterations=2 --save-every=2 --precision=bf16 --spike-action=log --checkpoints=checkpoints
  --output-manifest=checkpoint.json --output-metrics=metrics.jsonl"

# The same loop trains on the CPU there, too; asked for a GPU it has loaded all it needs before it looks for one.
train_cuda() {
  train
  refused train $model $samples $cuda
}

# slime and SGLang do nothing without a GPU, and SGLang's kernels cannot even be imported without its driver. What can
# be run: the program reads model and samples, finds the packages that it needs, and then says that there is no GPU.
train_slime() {
  random_model
  refused train --engine=slime --optimizer=distributed --weights=unread --base=base $samples $cuda
}

infer_cuda() {
  random_model
  refused infer $asked --device=cuda
}

"$(echo "$1" | tr - _)"
