#!/usr/bin/env bash
# Fill minutes of a GPU with training: render heads on all cores, pack them, train, and write what
# the next time needs in pieces of at most 15.5 MiB. docs/training.md explains it.
#
#   bash bench/train_on_gpu.sh PACK OUT MINUTES [SETTINGS.toml]
#
# PACK     the head asset pack
# OUT      gets light.pt.000, ... (a checkpoint), model.safetensors, the last contact sheet, log.txt
# MINUTES  of this command, rendering included
#
# Calls on one machine go on from each other: what was rendered stays in runs/gpu. On a fresh machine
# it goes on from carry/light.pt.000, ... where these are. RENDER_MINUTES is how long it renders
# before it trains; while it trains it goes on rendering for the next call, with a core or two left
# free.
set -euo pipefail
cd "$(dirname "$0")/.."
pack=$1 out=$2 minutes=$3 settings=${4:-weights/training/gpu.toml}
began=$SECONDS
runs=$(sed -n 's/^output = "\(.*\)"$/\1/p' "$settings")
views=$(sed -n 's/^views = "\(.*\)"$/\1/p' "$settings")
mkdir -p "$runs" "$out"
# shellcheck source=bench/bare_checkout.sh
. bench/bare_checkout.sh "$runs"

render() { # MINUTES WORKERS; a file is either whole or not there
    # Seeds that no earlier call used, and none below 1000000, where the held-out ones are.
    local seed0=$((1000000 + $(date +%s) % 1000000 * 10))
    echo "rendering from seed $seed0" >>"$runs/log.txt"
    timeout -k 5 "$(awk "BEGIN{print 60 * $1}")" \
        "$python" -m tpvideo.weights.training.heads "$runs/heads" --pack "$pack" --seed0 $seed0 \
        --count 20000 --lenses 2 --wide 0 --variety --workers "$2" ${HEADS_OPTIONS:-} \
        >>"$runs/heads.txt" 2>&1 || true
}
cores=$(nproc)
first=${RENDER_MINUTES:-$(awk "BEGIN{print 0.25 * $minutes}")}
[ "$first" = 0 ] || render "$first" "$cores"
"$python" -m tpvideo.weights.training pack "$runs/heads" "$views" 2>&1 | tail -n 1

resume=()
if [ ! -e "$runs/checkpoint.pt" ] && [ -e carry/light.pt.000 ]; then
    "$python" -m tpvideo.weights.training join carry "$runs/light.pt"
    resume=(--resume "$runs/light.pt")
fi
left=$(awk "BEGIN{m = $minutes - ($SECONDS - $began) / 60 - ${WRITE_MINUTES:-0.7}; print (m > 0.02 ? m : 0.02)}")
beside=$((cores > 4 ? cores / 2 : 0))
if [ "$beside" -gt 0 ] && [ "$first" != 0 ]; then render "$left" "$beside" & fi
"$python" -m tpvideo.weights.training "$settings" --minutes "$left" "${resume[@]}" 2>&1 |
    tee -a "$runs/log.txt" | tail -n 20
wait

"$python" -m tpvideo.weights.training light "$runs/checkpoint.pt" "$runs/light.pt"
rm -f "$out"/light.pt.*
"$python" -m tpvideo.weights.training split "$runs/light.pt" "$out"
"$python" -m tpvideo.weights.training export "$settings" "$out/model.safetensors"
for sheet in "$runs"/sheet-*.png; do # the last one stays
    [ ! -e "$sheet" ] || cp "$sheet" "$out/sheet.png"
done
tail -n 2000 "$runs/log.txt" >"$out/log.txt"
