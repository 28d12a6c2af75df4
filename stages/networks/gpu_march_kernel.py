"""The loops of gpu_march.py, for Triton: one program marches a block of rays of one head.

Three kernels after one another: densities at the coarse samples and what they add up to; the depths
where further samples matter; all samples in order, with colours. Only weights, opacities and depths
pass between them. `tl.dot` multiplies as its `precision` says; everything else is float32. Triton
knows no annotations but `constexpr`, so that there are no others here. Loops are `for` with an `if`
in place of `while`, which Triton 3.6 does not compile with all that is carried here.
"""

from __future__ import annotations

import triton
import triton.language as tl

NOTHING = tl.constexpr(1e-5)
"""Opacity of a ray without a depth of its own."""
NEVER = tl.constexpr(float("inf"))


@triton.jit
def softplus(x):
    """log(1 + exp(x))."""
    return tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def opacity(sigma, next_sigma, length, gain):
    """Of the interval between two samples with these raw densities (spec, 9.2)."""
    density = softplus((sigma + next_sigma) * 0.5 - 1.0) * gain
    return 1.0 - tl.exp(-density * length)


@triton.jit
def neighbours(x, scale, side):
    """The two cells of an axis around coordinates [R] and their weights, 0 outside the plane."""
    last = side - 1.0
    at = x * scale + last * 0.5
    low = tl.floor(at)
    share = at - low
    high = low + 1.0
    low_weight = tl.where((low >= 0.0) & (low <= last), 1.0 - share, 0.0)
    high_weight = tl.where((high >= 0.0) & (high <= last), share, 0.0)
    first = tl.minimum(tl.maximum(low, 0.0), last).to(tl.int32)
    second = tl.minimum(tl.maximum(high, 0.0), last).to(tl.int32)
    return first, second, low_weight, high_weight


@triton.jit
def rows_of(plane, u, v, scale, side, channels: tl.constexpr):
    """[R, C] bilinear features of a plane whose first row `plane` points to, at columns u and rows
    v [R], world units."""
    column, next_column, left, right = neighbours(u, scale, side)
    row, next_row, upper, lower = neighbours(v, scale, side)
    cell: tl.constexpr = 3 * channels
    within = tl.arange(0, channels)[None, :]
    top, bottom = row * side, next_row * side
    found = tl.load(plane + ((top + column) * cell)[:, None] + within) * (upper * left)[:, None]
    found += (
        tl.load(plane + ((top + next_column) * cell)[:, None] + within) * (upper * right)[:, None]
    )
    found += tl.load(plane + ((bottom + column) * cell)[:, None] + within) * (lower * left)[:, None]
    found += (
        tl.load(plane + ((bottom + next_column) * cell)[:, None] + within)
        * (lower * right)[:, None]
    )
    return found


@triton.jit
def vectors(table, rows):
    """x, y and z [R] in the rows [R] of a table [..., 3]."""
    return tl.load(table + 3 * rows), tl.load(table + 3 * rows + 1), tl.load(table + 3 * rows + 2)


@triton.jit
def pick(axis: tl.constexpr, x, y, z):
    """What belongs to a world axis."""
    if axis == 0:
        return x
    elif axis == 1:
        return y
    else:
        return z


@triton.jit
def hidden_at(
    table,
    side,
    scale,
    x,
    y,
    z,
    weights,
    biases,
    channels: tl.constexpr,
    axes: tl.constexpr,
    precision: tl.constexpr,
):
    """[R, K] the decoder's hidden layer at points [R].

    Args:
        table: of one head, [S, S, 3, C].
        side: S.
        scale: cells for a world unit.
        weights: [C, K], of the sum of three planes; biases: [K].
        axes: world axes along columns and rows of each plane, as six digits of base 3.
    """
    a: tl.constexpr = axes // 243
    b: tl.constexpr = axes // 81 % 3
    c: tl.constexpr = axes // 27 % 3
    d: tl.constexpr = axes // 9 % 3
    e: tl.constexpr = axes // 3 % 3
    f: tl.constexpr = axes % 3
    features = rows_of(table, pick(a, x, y, z), pick(b, x, y, z), scale, side, channels)
    features += rows_of(table + channels, pick(c, x, y, z), pick(d, x, y, z), scale, side, channels)
    features += rows_of(
        table + 2 * channels, pick(e, x, y, z), pick(f, x, y, z), scale, side, channels
    )
    return softplus(tl.dot(features, weights, input_precision=precision) + biases[None, :])


@triton.jit
def coarse_kernel(
    table,
    origins,
    directions,
    depths,
    hidden_weights,
    hidden_biases,
    density_weights,
    shares,
    seen,
    alphas,
    rays,
    samples,
    side,
    scale,
    gain,
    density_bias,
    least_light,
    channels: tl.constexpr,
    units: tl.constexpr,
    axes: tl.constexpr,
    precision: tl.constexpr,
    block: tl.constexpr,
):
    """March the coarse samples, for density alone.

    Args:
        table: [B, S, S, 3, C] planes; the grid is (blocks of rays, B).
        origins, directions: [B, R, 3].
        depths: [N] of the samples.
        hidden_weights, hidden_biases: see hidden_at; density_weights: [K].
        shares: [B, R, N], zeros, for the weight of the interval before each sample.
        seen, alphas: [B, R] for depths and opacities.
        rays, samples, side: R, N, S.
        least_light: let through, below which nothing further is looked at.
        channels, units: C, K, powers of two from 16.
        block: rays of a program.
    """
    ray = tl.program_id(0) * block + tl.arange(0, block)
    is_ray = ray < rays
    head = tl.program_id(1).to(tl.int64)
    ray = head * rays + tl.where(is_ray, ray, 0)
    table += head * side * side * 3 * channels
    layer = tl.arange(0, units)
    weights = tl.load(hidden_weights + tl.arange(0, channels)[:, None] * units + layer[None, :])
    biases, density = tl.load(hidden_biases + layer), tl.load(density_weights + layer)
    ox, oy, oz = vectors(origins, ray)
    dx, dy, dz = vectors(directions, ray)
    light = tl.full((block,), 1.0, tl.float32)
    alpha = tl.zeros((block,), tl.float32)
    reach = tl.zeros((block,), tl.float32)
    sigma_before = tl.zeros((block,), tl.float32)
    depth_before = tl.load(depths)
    brightest = 1.0
    for m in range(0, samples):
        if brightest >= least_light:
            depth = tl.load(depths + m)
            hidden = hidden_at(
                table, side, scale, ox + depth * dx, oy + depth * dy, oz + depth * dz,
                weights, biases, channels, axes, precision,
            )  # fmt: skip
            sigma = tl.sum(hidden * density[None, :], axis=1) + density_bias
            stopped = opacity(
                sigma_before, sigma, depth - depth_before, gain
            )  # of no length at first
            weight = stopped * light
            light *= 1.0 - stopped + 1e-10
            alpha += weight
            reach += weight * (depth + depth_before) * 0.5
            tl.store(shares + ray * samples + m, weight, mask=is_ray)
            sigma_before, depth_before = sigma, depth
            brightest = tl.max(light, axis=0)
    nearest, farthest = tl.load(depths), tl.load(depths + samples - 1)
    mean = tl.minimum(tl.maximum(reach / tl.maximum(alpha, NOTHING), nearest), farthest)
    tl.store(seen + ray, tl.where(alpha > NOTHING, mean, farthest), mask=is_ray)
    tl.store(alphas + ray, alpha, mask=is_ray)


@triton.jit
def further_kernel(
    depths,
    shares,
    further,
    rays,
    samples,
    extra,
    padded: tl.constexpr,
    block: tl.constexpr,
):
    """Depths where the coarse weights are large, increasing (spec, 9.3).

    Args:
        depths: [N] of the coarse samples.
        shares: [R, N] of coarse_kernel.
        further: [R, F] to be filled.
        rays, samples, extra: R (of all heads), N, F.
        padded: a power of two from F.
    """
    ray = tl.program_id(0) * block + tl.arange(0, block)
    is_ray = ray < rays
    ray = tl.where(is_ray, ray, 0).to(tl.int64)
    shares += ray * samples + 1
    bins = samples - 3
    total = tl.zeros((block,), tl.float32)
    for b in range(0, bins):
        total += mass(shares + b)
    wanted = tl.arange(0, padded)
    quantile = total[:, None] * (wanted.to(tl.float32) / tl.maximum(extra - 1, 1))[None, :]
    found = tl.zeros((block,), tl.float32)  # so far
    below = tl.zeros((block, padded), tl.float32)
    above = tl.zeros((block, padded), tl.float32)
    near = tl.zeros((block, padded), tl.float32)
    far = tl.zeros((block, padded), tl.float32)
    is_below = quantile >= 0.0
    for b in range(0, bins + 1):
        edge = (tl.load(depths + b) + tl.load(depths + b + 1)) * 0.5
        above = tl.where(is_below, found[:, None], above)  # the last one was; this may not be
        far = tl.where(is_below, edge, far)
        is_below = found[:, None] <= quantile
        below = tl.where(is_below, found[:, None], below)
        near = tl.where(is_below, edge, near)
        found += mass(shares + tl.minimum(b, bins - 1))
    width = above - below
    width = tl.where(width < 1e-5 * total[:, None], total[:, None], width)
    result = near + (quantile - below) / width * (far - near)
    is_wanted = is_ray[:, None] & (wanted < extra)[None, :]
    tl.store(further + ray[:, None] * extra + wanted[None, :], result, mask=is_wanted)


@triton.jit
def mass(shares):
    """Of a bin whose three weights begin at `shares`."""
    left, middle, right = tl.load(shares), tl.load(shares + 1), tl.load(shares + 2)
    return (tl.maximum(left, middle) + tl.maximum(middle, right)) * 0.5 + 0.01001


@triton.jit
def merged_kernel(
    table,
    origins,
    directions,
    depths,
    further,
    hidden_weights,
    hidden_biases,
    density_weights,
    colour_weights,
    colour_biases,
    features,
    seen,
    alphas,
    rays,
    samples,
    extra,
    side,
    scale,
    gain,
    density_bias,
    least_light,
    least_share,
    least_alpha,
    channels: tl.constexpr,
    units: tl.constexpr,
    colours: tl.constexpr,
    coloured: tl.constexpr,
    axes: tl.constexpr,
    precision: tl.constexpr,
    block: tl.constexpr,
):
    """March all samples in the order of their depth.

    A block whose rays have met nothing at the coarse samples is left as it is. A sample carries
    half the weights of the intervals on its two sides, so it gets its colour one step later.

    Args:
        further: [B, R, F] importance samples; not read where `extra` is 0.
        colour_weights: [K, colours]; colour_biases: [colours].
        features: [B, R, colours] of zeros, to be filled; not touched unless `coloured`.
        seen, alphas: [B, R] of coarse_kernel, to be replaced.
        extra: F.
        least_share: of a ray, below which a sample gets no colour.
        least_alpha: a ray that has met no more gets no importance samples.
        colours: a power of two from 16.
    Others: see coarse_kernel.
    """
    ray = tl.program_id(0) * block + tl.arange(0, block)
    is_ray = ray < rays
    head = tl.program_id(1).to(tl.int64)
    ray = head * rays + tl.where(is_ray, ray, 0)
    met = tl.load(alphas + ray, mask=is_ray, other=0.0)
    brightest = 1.0
    if tl.max(met, axis=0) <= least_alpha:
        return
    table += head * side * side * 3 * channels
    layer, shown = tl.arange(0, units), tl.arange(0, colours)
    weights = tl.load(hidden_weights + tl.arange(0, channels)[:, None] * units + layer[None, :])
    biases, density = tl.load(hidden_biases + layer), tl.load(density_weights + layer)
    ox, oy, oz = vectors(origins, ray)
    dx, dy, dz = vectors(directions, ray)
    last_weights = tl.load(colour_weights + layer[:, None] * colours + shown[None, :])
    last_biases = tl.load(colour_biases + shown)
    light = tl.full((block,), 1.0, tl.float32)
    alpha = tl.zeros((block,), tl.float32)
    reach = tl.zeros((block,), tl.float32)
    sigma_before = tl.zeros((block,), tl.float32)
    weight_before = tl.zeros((block,), tl.float32)
    hidden_before = tl.zeros((block, units), tl.float32)
    picture = tl.zeros((block, colours), tl.float32)
    depth_before = tl.zeros((block,), tl.float32) + tl.load(depths)
    taken = tl.zeros((block,), tl.int32)  # of the coarse samples
    added = tl.zeros((block,), tl.int32)  # of the further ones
    gets_more = is_ray & (met > least_alpha)
    # One step more than there are samples, for the colour of the last; likewise past the end of
    # light.
    for _ in range(0, samples + extra + 1):
        if brightest >= least_light:
            brightest = tl.max(light, axis=0)
            next_coarse = tl.load(depths + taken, mask=taken < samples, other=NEVER)
            next_more = tl.load(
                further + ray * extra + added, mask=gets_more & (added < extra), other=NEVER
            )
            depth = tl.minimum(next_coarse, next_more)
            is_coarse = next_coarse <= next_more
            taken += is_coarse.to(tl.int32)
            added += 1 - is_coarse.to(tl.int32)
            depth = tl.where(depth < NEVER, depth, depth_before)
            hidden = hidden_at(
                table, side, scale, ox + depth * dx, oy + depth * dy, oz + depth * dz,
                weights, biases, channels, axes, precision,
            )  # fmt: skip
            sigma = tl.sum(hidden * density[None, :], axis=1) + density_bias
            stopped = opacity(
                sigma_before, sigma, depth - depth_before, gain
            )  # of no length at first
            weight = stopped * light
            light *= 1.0 - stopped + 1e-10
            alpha += weight
            reach += weight * (depth + depth_before) * 0.5
            if coloured:
                share = (weight_before + weight) * 0.5
                if tl.max(share, axis=0) > least_share:
                    logits = tl.dot(hidden_before, last_weights, input_precision=precision)
                    colour = tl.sigmoid(logits + last_biases[None, :]) * 1.002 - 0.001
                    picture += share[:, None] * colour
                weight_before, hidden_before = weight, hidden
            sigma_before, depth_before = sigma, depth
    nearest, farthest = tl.load(depths), tl.load(depths + samples - 1)
    mean = tl.minimum(tl.maximum(reach / tl.maximum(alpha, NOTHING), nearest), farthest)
    tl.store(seen + ray, tl.where(alpha > NOTHING, mean, farthest), mask=is_ray)
    tl.store(alphas + ray, alpha, mask=is_ray)
    if coloured:
        at = ray[:, None] * colours + shown[None, :]
        tl.store(features + at, picture, mask=is_ray[:, None])
