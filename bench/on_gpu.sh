#!/usr/bin/env bash
# Everything that is to be known of tpvideo on a GPU, in one command of about ten minutes.
#
#   bash bench/on_gpu.sh OUT
#
# OUT gets a text file and, where there are figures, a JSON file for each part, and summary.txt with
# how each part ended and how long it took. A part that fails, or takes too long, does not end the
# others. It works from a bare checkout; what Python lacks there may lie as wheels in carry/ (torch
# with CUDA must be installed). The published model's weights are made here, seeded.
#
# FRAMES    of the films that are timed (300)
# MODELS    "default ffhq512"
# SECONDS_  of each live session (15)
# PARTS     only these, by name
# DEVICE    cuda; cpu tries the script itself where there is no GPU
set -uo pipefail
cd "$(dirname "$0")/.."
out=$1
frames=${FRAMES:-300} models=${MODELS:-default ffhq512} seconds=${SECONDS_:-15} device=${DEVICE:-cuda}
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=bench/bare_checkout.sh
. bench/bare_checkout.sh "$work"
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD/bench${PYTHONPATH:+:$PYTHONPATH}"
: >"$out/summary.txt"

part() { # NAME LIMIT COMMAND...
    local name=$1 limit=$2 began=$SECONDS ended
    shift 2
    [[ -z ${PARTS:-} || " $PARTS " == *" $name "* ]] || return 0
    timeout -k 10 "$limit" "$@" >"$out/$name.txt" 2>&1
    ended=$?
    printf '%-22s %-9s %4d s\n' "$name" \
        "$([ $ended = 0 ] && echo done || ([ $ended = 124 -o $ended = 137 ] && echo 'too long' || echo "failed $ended"))" \
        $((SECONDS - began)) | tee -a "$out/summary.txt"
}

machine() {
    nvidia-smi
    "$python" -c 'import sys, torch, av; print(sys.version, "torch", torch.__version__, "av", av.__version__,
torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU")'
    "$python" -c 'import triton; print("triton", triton.__version__)'
    "$python" -c 'from av.codec.hwaccel import hwdevices_available as h; print("PyAV decodes on", h())'
    git log -1 --oneline 2>/dev/null
    return 0
}
export -f machine
export python

part machine 30 bash -c machine
part tests 240 env TPVIDEO_REQUIRE_GPU="$([ "$device" = cuda ] && echo 1 || echo 0)" \
    "$python" -m pytest -q -p no:cacheprovider -m gpu tests
part compile 120 "$python" bench/compile_march.py --json "$out/compile.json"
part weights 120 "$python" bench/reference.py --save "$work/ffhq512.safetensors"
part march 180 "$python" bench/march_on_gpu.py --json "$out/march.json"
for precision in float32 bfloat16; do
    part "reference-$precision" 120 "$python" bench/reference.py --device "$device" \
        --model "${REFERENCE:-$work/ffhq512.safetensors}" --repeat 5 --precision $precision \
        --json "$out/reference-$precision.json"
done
for model in $models; do
    [ "$model" != ffhq512 ] || model=$work/ffhq512.safetensors
    name=$(basename "$model" .safetensors)
    timed=("$python" -m tpvideo bench --device "$device" --model "$model" --frames "$frames" --height 1080)
    part "bench-$name" 150 "${timed[@]}" --json "$out/bench-$name.json"
    part "nvdec-$name" 90 "${timed[@]}" --no-stages --decoder nvdec \
        --against "--device $device --model $model" --json "$out/nvdec-$name.json"
    part "profile-$name" 90 "$python" bench/profile_run.py --device "$device" --model "$model" \
        --batches "${BATCHES:-8}" --json "$out/profile-$name.json"
    for preset in fast balanced; do
        part "live-$name-$preset" 90 "$python" -m tpvideo live --camera samples/talk.mp4 --loop --yaw -0.3 \
            --preset $preset --model "$model" --device "$device" --seconds "$seconds" \
            --record "$work/live.mp4" --overwrite
    done
done
