"""The compiled loop of `fused_march`: a volume rendering, ray after ray (parity spec, section 9).

Samples go through the decoder a few at a time, as products of matrices and as whole vectors;
everything outside that is plain code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from tpvideo.stages.networks.product_kernel import multiply
from tpvideo.stages.networks.vectors import (
    LANES,
    begin,
    compiled,
    fma,
    inlined,
    least,
    load,
    load_wide,
    most,
    splat,
    splat_wide,
    store,
    total,
)
from tpvideo.stages.networks.winograd import PANEL, ROWS

f32 = np.float32
U = np.uintp
RAYS_AT_ONCE = 16
"""Rays whose hidden layers are kept together: a few hundred samples fit the second cache."""
NOTHING = f32(1e-5)
"""Opacity of a ray without a depth of its own."""
STRIDE = 4
"""Coarse samples taken before asking whether a ray goes on."""


def _polynomial(function: Any, degree: int) -> tuple[np.float32, ...]:
    """Coefficients on 0..1, lowest first."""
    fit = Chebyshev.interpolate(function, degree, domain=[0, 1]).convert(kind=Polynomial)
    return tuple(f32(c) for c in fit.coef)


EXP = _polynomial(lambda x: np.exp(-x), 6)
LOG1P_SHARE = _polynomial(lambda x: np.log1p(x + 1e-9) / (x + 1e-9), 6)
"""log(1 + x) / x, so that nothing stays nothing."""


@inlined
def exp_minus(x: Any) -> Any:
    """exp(-x) of x >= 0, to 1e-6: the 16th power of exp(-x / 16)."""
    z = min(x, f32(16)) * f32(1 / 16)
    p = EXP[6] * z + EXP[5]
    p = (((p * z + EXP[4]) * z + EXP[3]) * z + EXP[2]) * z
    p = (p + EXP[1]) * z + EXP[0]
    p = p * p
    p = p * p
    p = p * p
    return p * p


@inlined
def softplus(x: Any) -> Any:
    """log(1 + exp(x)), to 2e-6."""
    t = exp_minus(abs(x))
    p = (LOG1P_SHARE[6] * t + LOG1P_SHARE[5]) * t + LOG1P_SHARE[4]
    p = ((p * t + LOG1P_SHARE[3]) * t + LOG1P_SHARE[2]) * t
    p = (p + LOG1P_SHARE[1]) * t + LOG1P_SHARE[0]
    return max(x, f32(0)) + p * t


@inlined
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    t = exp_minus(abs(x))
    share = f32(1) / (f32(1) + t)
    return share if x >= f32(0) else t * share


@inlined
def opacity(sigma: Any, next_sigma: Any, length: Any, gain: Any) -> Any:
    """Of the interval between two samples with these raw densities (spec, 9.2)."""
    density = softplus((sigma + next_sigma) * f32(0.5) - f32(1)) * gain
    return f32(1) - exp_minus(density * length)


@inlined
def neighbours(x: Any, scale: Any, last: Any) -> Any:
    """The two cells of an axis around a coordinate and their weights, 0 outside the plane."""
    at = x * scale + last * f32(0.5)
    low = np.floor(at)
    share = at - low
    high = low + f32(1)
    low_weight = f32(1) - share if (low >= f32(0)) and (low <= last) else f32(0)
    high_weight = share if (high >= f32(0)) and (high <= last) else f32(0)
    low = min(max(low, f32(0)), last)
    high = min(max(high, f32(0)), last)
    return U(np.int64(low)), U(np.int64(high)), low_weight, high_weight


@inlined
def pick(axis: Any, of_x: Any, of_y: Any, of_z: Any) -> Any:
    """What belongs to an axis."""
    if axis == U(0):
        return of_x
    return of_y if axis == U(1) else of_z


@inlined
def softplus_lanes(x: Any) -> Any:
    """`softplus` of a vector."""
    z = least(most(x, splat(f32(0)) - x), splat(f32(16))) * splat(f32(1 / 16))
    t = fma(splat(EXP[6]), z, splat(EXP[5]))
    t = fma(fma(fma(t, z, splat(EXP[4])), z, splat(EXP[3])), z, splat(EXP[2]))
    t = fma(fma(t, z, splat(EXP[1])), z, splat(EXP[0]))
    t = t * t
    t = t * t
    t = t * t
    t = t * t
    p = fma(splat(LOG1P_SHARE[6]), t, splat(LOG1P_SHARE[5]))
    p = fma(
        fma(fma(p, t, splat(LOG1P_SHARE[4])), t, splat(LOG1P_SHARE[3])), t, splat(LOG1P_SHARE[2])
    )
    p = fma(fma(p, t, splat(LOG1P_SHARE[1])), t, splat(LOG1P_SHARE[0]))
    return fma(p, t, most(x, splat(f32(0))))


@inlined
def look_up(volume: Any, channels: Any, points: Any, at: Any, rows: Any, to: Any) -> Any:
    """rows[to:] = the sum of the three planes' features at a point."""
    table, side, box, axes = volume
    scale, last = f32(side / box), f32(side - 1)
    cell, line = U(3) * channels, U(3) * channels * U(side)
    x = neighbours(points[at], scale, last)
    y = neighbours(points[at + U(1)], scale, last)
    z = neighbours(points[at + U(2)], scale, last)
    for number in range(U(3)):
        c0, c1, u0, u1 = pick(axes[U(2) * number], x, y, z)
        r0, r1, v0, v1 = pick(axes[U(2) * number + U(1)], x, y, z)
        base = number * channels
        a, b = r0 * line + c0 * cell + base, r0 * line + c1 * cell + base
        c, d = r1 * line + c0 * cell + base, r1 * line + c1 * cell + base
        wa, wb = splat_wide(u0 * v0), splat_wide(u1 * v0)
        wc, wd = splat_wide(u0 * v1), splat_wide(u1 * v1)
        for k in range(U(0), channels, U(PANEL)):
            near = fma(wb, load_wide(table, b + k), wa * load_wide(table, a + k))
            far = fma(wd, load_wide(table, d + k), wc * load_wide(table, c + k))
            if number == U(0):
                store(rows, to + k, near + far)
            else:
                store(rows, to + k, load_wide(rows, to + k) + (near + far))


@compiled
def decode(
    volume: Any,
    decoder: Any,
    points: Any,
    slots: Any,
    count: Any,
    room: Any,
    hidden: Any,
    sigmas: Any,
) -> Any:
    """Hidden layer and raw density of points.

    Args:
        volume: (table [S * S * 3 C] channels last, S, side of the box, axes [6]).
        decoder: (weights [C * K] in panels, biases [K], density weights [K], density bias, ...).
        points: [count * 3] world.
        slots: [count] where in `hidden` [slots * K] and `sigmas` [slots] the results go.
        room: for the features of ROWS points and what becomes of them.
    """
    units = U(len(decoder[1]))
    channels = U(len(decoder[0])) // units
    weights, biases, density = begin(decoder[0]), begin(decoder[1]), begin(decoder[2])
    rows, products = begin(room[0]), begin(room[1])
    hiddens, density_bias = begin(hidden), f32(decoder[3])
    table, side, box, axes = volume
    space = begin(table), side, box, begin(axes)
    places = begin(points)
    for start in range(0, count, ROWS):
        few = U(min(ROWS, count - start))
        for row in range(few):
            look_up(space, channels, places, U(3) * (U(start) + row), rows, row * channels)
        for panel in range(U(0), units, U(PANEL)):
            multiply(
                rows, U(0), channels, channels, weights, panel * channels, U(1), U(0), products,
                panel, units,
            )  # fmt: skip
        for row in range(few):
            slot = U(slots[U(start) + row])
            sigma = splat(f32(0))
            for k in range(U(0), units, U(LANES)):
                value = softplus_lanes(load(products, row * units + k) + load(biases, k))
                store(hiddens, slot * units + k, value)
                sigma = fma(value, load(density, k), sigma)
            sigmas[slot] = total(sigma) + density_bias


@compiled
def queue(
    ray: Any, depths: Any, begin: Any, end: Any, slot: Any, points: Any, slots: Any, count: Any
) -> Any:
    """Let samples `begin`..`end` of a ray wait for `decode`; returns how many wait then."""
    for m in range(begin, end):
        t = depths[m]
        points[3 * count] = ray[0] + t * ray[3]
        points[3 * count + 1] = ray[1] + t * ray[4]
        points[3 * count + 2] = ray[2] + t * ray[5]
        slots[count] = slot + m
        count += 1
    return count


@compiled
def importance(depths: Any, weights: Any, cdf: Any, further: Any) -> Any:
    """Depths where the coarse weights are large, increasing, into `further` (spec, 9.3)."""
    bins = len(depths) - 3
    total = f32(0)
    cdf[0] = f32(0)
    for b in range(bins):
        left = max(weights[b], weights[b + 1])
        right = max(weights[b + 1], weights[b + 2])
        total += (left + right) * f32(0.5) + f32(0.01 + 1e-5)
        cdf[b + 1] = total
    above = 0
    for k in range(len(further)):
        quantile = total * f32(k) / f32(len(further) - 1)
        while above <= bins and cdf[above] <= quantile:
            above += 1
        below, upper = max(above - 1, 0), min(above, bins)
        near = (depths[below] + depths[below + 1]) * f32(0.5)
        far = (depths[upper] + depths[upper + 1]) * f32(0.5)
        width = cdf[upper] - cdf[below]
        if width < f32(1e-5) * total:
            width = total
        further[k] = near + (quantile - cdf[below]) / width * (far - near)


@compiled
def merge(coarse: Any, further: Any, slot: Any, first_further: Any, depths: Any, slots: Any) -> Any:
    """All samples of a ray in the order of their depth; returns how many."""
    a, b, count = 0, 0, 0
    while a < len(coarse) or b < len(further):
        if b == len(further) or (a < len(coarse) and coarse[a] <= further[b]):
            depths[count], slots[count] = coarse[a], slot + a
            a += 1
        else:
            depths[count], slots[count] = further[b], first_further + b
            b += 1
        count += 1
    return count


@compiled
def paint(
    hidden: Any, slots: Any, shares: Any, count: Any, decoder: Any, room: Any, features: Any
) -> Any:
    """features = sum of the shares times the colours of their samples."""
    weights, biases = begin(decoder[4]), begin(decoder[5])
    rows, products, hiddens = begin(room[0]), begin(room[1]), begin(hidden)
    units, channels = U(len(decoder[1])), U(len(decoder[5]))
    wide = (channels + U(PANEL - 1)) // U(PANEL) * U(PANEL)
    for c in range(channels):
        features[c] = f32(0)
    for start in range(0, count, ROWS):
        few = U(min(ROWS, count - start))
        for row in range(few):
            at = U(slots[U(start) + row]) * units
            for k in range(U(0), units, U(LANES)):
                store(rows, row * units + k, load(hiddens, at + k))
        for panel in range(U(0), wide, U(PANEL)):
            multiply(
                rows, U(0), units, units, weights, panel * units, U(1), U(0), products, panel, wide
            )
        for row in range(few):
            share = shares[U(start) + row]
            for c in range(channels):
                colour = sigmoid(products[row * wide + c] + biases[c]) * f32(1.002) - f32(0.001)
                features[c] += share * colour


@compiled
def march(
    volume: Any, decoder: Any, rays: Any, depths: Any, extra: Any, gain: Any, skips: Any,
    results: Any,
) -> Any:  # fmt: skip
    """Render rays.

    Args:
        volume, decoder: see `decode`; then colour weights [K * F] in panels and biases [F].
        rays: [R, 6] origins and directions.
        depths: [N] of the coarse samples.
        extra: how many importance samples follow.
        gain: factor on the density.
        skips: light let through that is not worth looking further, share of a ray that is not
            worth a colour, opacity of a ray that has met nothing and gets no importance samples.
        results: features [R, F] or [R, 0], depths [R], opacities [R], to be filled.
    """
    features, seen, alphas = results
    gain = f32(gain)
    hidden_at, invisible, empty = skips
    coarse, every = len(depths), len(depths) + extra
    units = len(decoder[1])
    channels, wide = len(decoder[0]) // units, max(units, len(decoder[4]) // units)
    room = np.zeros(ROWS * max(channels, units), f32), np.empty(ROWS * wide, f32)
    cdf = np.empty(coarse, f32)
    hidden = np.empty(RAYS_AT_ONCE * every * units, f32)  # the slots of ray i begin at i * every
    sigmas, points = np.empty(RAYS_AT_ONCE * every, f32), np.empty(RAYS_AT_ONCE * every * 3, f32)
    slots = np.empty(RAYS_AT_ONCE * every, np.int64)
    weights, further = np.empty((RAYS_AT_ONCE, coarse), f32), np.empty((RAYS_AT_ONCE, extra), f32)
    passed, known = np.empty(RAYS_AT_ONCE, f32), np.empty(RAYS_AT_ONCE, np.int64)
    added = np.empty(RAYS_AT_ONCE, np.int64)
    ordered, order = np.empty(every, f32), np.empty(every, np.int64)
    along, stopped = np.empty(every, f32), np.empty(every, f32)
    shares, shown = np.empty(every, f32), np.empty(every, np.int64)
    for first in range(0, len(rays), RAYS_AT_ONCE):
        group = min(RAYS_AT_ONCE, len(rays) - first)
        passed[:] = f32(1)
        weights[:] = f32(0)
        for start in range(0, coarse, STRIDE):
            end, count = min(start + STRIDE, coarse), 0
            for i in range(group):
                if passed[i] >= hidden_at:
                    count = queue(
                        rays[first + i], depths, start, end, i * every, points, slots, count
                    )
            if count == 0:
                break
            decode(volume, decoder, points, slots, count, room, hidden, sigmas)
            for i in range(group):
                if passed[i] < hidden_at:
                    continue
                known[i] = end
                for m in range(max(start, 1), end):
                    slot = i * every + m
                    share = opacity(sigmas[slot - 1], sigmas[slot], depths[m] - depths[m - 1], gain)
                    weights[i, m - 1] = share * passed[i]
                    passed[i] *= f32(1) - share + f32(1e-10)
        count = 0
        for i in range(group):
            added[i] = 0
            if extra and f32(1) - passed[i] > empty:
                importance(depths, weights[i], cdf, further[i])
                while added[i] < extra and further[i, added[i]] <= depths[known[i] - 1]:
                    added[i] += 1
                slot = i * every + coarse
                count = queue(rays[first + i], further[i], 0, added[i], slot, points, slots, count)
        if count:
            decode(volume, decoder, points, slots, count, room, hidden, sigmas)
        for i in range(group):
            slot = i * every
            count = merge(
                depths[: known[i]], further[i, : added[i]], slot, slot + coarse, ordered, order
            )
            farthest = depths[coarse - 1]
            if added[i]:
                farthest = max(farthest, further[i, extra - 1])
            for m in range(count):
                along[m] = sigmas[order[m]]
            for m in range(U(1), U(count)):
                length = ordered[m] - ordered[m - U(1)]
                stopped[m] = opacity(along[m - U(1)], along[m], length, gain)
            light, alpha, reach, before, visible = f32(1), f32(0), f32(0), f32(0), 0
            for m in range(1, count + 1):
                weight = f32(0)
                if m < count:
                    weight = stopped[m] * light
                    light *= f32(1) - stopped[m] + f32(1e-10)
                    alpha += weight
                    reach += weight * (ordered[m] + ordered[m - 1]) * f32(0.5)
                share = (before + weight) * f32(0.5)  # of the sample between two intervals
                before = weight
                if share > invisible:
                    shares[visible], shown[visible] = share, order[m - 1]
                    visible += 1
            ray = first + i
            alphas[ray] = alpha
            seen[ray] = (
                min(max(reach / alpha, depths[0]), farthest) if alpha > NOTHING else farthest
            )
            if features.shape[1]:
                paint(hidden, shown, shares, visible, decoder, room, features[ray])
