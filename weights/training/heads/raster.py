"""Triangles to pixels: z-buffer and orthographic depth.

Pixel (0, 0) is top left and pixel centres lie at +0.5. A perspective screen vertex is
(x px, y px, w, 1/w), w being the depth along the view axis, > 0 in front of the camera; an
orthographic one is (x px, y px, depth).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tpvideo.weights.training.heads.kernel import F32, I32, U8, Array, compiled

FAR = 1e9
"""Depth of a pixel that no triangle covers, in orthographic maps."""


@compiled
def _project(points: Array, view: F32, focal: float, side_px: int, out: F32) -> None:
    for i in range(points.shape[0]):
        px, py, pz = points[i, 0], points[i, 1], points[i, 2]
        x = view[0, 0] * px + view[0, 1] * py + view[0, 2] * pz + view[0, 3]
        y = view[1, 0] * px + view[1, 1] * py + view[1, 2] * pz + view[1, 3]
        z = view[2, 0] * px + view[2, 1] * py + view[2, 2] * pz + view[2, 3]
        out[i, 0] = (focal * x / z + 0.5) * side_px
        out[i, 1] = (focal * y / z + 0.5) * side_px
        out[i, 2] = z
        out[i, 3] = 1.0 / z


def project(points: Array, camera_from_world: F32, focal: float, side_px: int) -> F32:
    """[n, 4] screen vertices of world points [n, 3].

    Args:
        camera_from_world: [3, 4], OpenCV axes.
        focal: in sides of the picture; the principal point is its middle.
        side_px: side of the square picture.
    """
    out = np.empty((len(points), 4), np.float32)
    _project(np.ascontiguousarray(points, np.float32), camera_from_world, focal, side_px, out)
    return out


@compiled
def triangle_setup(
    ax: float, ay: float, bx: float, by: float, cx: float, cy: float, rows: int, columns: int
) -> tuple[float, float, float, float, int, int, int, int]:
    """Gradients of the second and third corner's weights, and the box x0, x1, y0, y1 of pixels
    to visit; an empty box for a triangle of no area."""
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if area == 0.0:
        return 0.0, 0.0, 0.0, 0.0, 0, -1, 0, -1
    x0 = max(int(np.floor(min(ax, min(bx, cx)) - 0.5)) + 1, 0)
    x1 = min(int(np.floor(max(ax, max(bx, cx)) - 0.5)), columns - 1)
    y0 = max(int(np.floor(min(ay, min(by, cy)) - 0.5)) + 1, 0)
    y1 = min(int(np.floor(max(ay, max(by, cy)) - 0.5)), rows - 1)
    inverse = 1.0 / area
    return (
        (cy - ay) * inverse,
        -(cx - ax) * inverse,
        -(by - ay) * inverse,
        (bx - ax) * inverse,
        x0,
        x1,
        y0,
        y1,
    )


@compiled
def fill_opaque(
    screen: F32, triangles: I32, culled: U8, nearness: F32, hit: I32, second: F32, third: F32
) -> None:
    """Draw triangles into a z-buffer, in place.

    Args:
        screen: [n, 4] perspective vertices.
        triangles: [m, 3] vertex numbers, counter-clockwise seen from outside.
        culled: [m] 1 where a back face is left out.
        nearness: [H, W] 1/w of what is there, 0 for nothing; bigger is nearer.
        hit: [H, W] number of the triangle seen.
        second, third: [H, W] perspective-correct weights of its second and third corner.
    """
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = screen[a, 0], screen[a, 1]
        bx, by = screen[b, 0], screen[b, 1]
        cx, cy = screen[c, 0], screen[c, 1]
        # rows run downward, so a front face has a negative area on the screen
        if culled[t] and (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0.0:
            continue
        bgx, bgy, cgx, cgy, x0, x1, y0, y1 = triangle_setup(
            ax, ay, bx, by, cx, cy, nearness.shape[0], nearness.shape[1]
        )
        for y in range(y0, y1 + 1):
            dy = y + 0.5 - ay
            for x in range(x0, x1 + 1):
                dx = x + 0.5 - ax
                wb = bgx * dx + bgy * dy
                wc = cgx * dx + cgy * dy
                wa = 1.0 - wb - wc
                if wa < 0.0 or wb < 0.0 or wc < 0.0:
                    continue
                near = wa * screen[a, 3] + wb * screen[b, 3] + wc * screen[c, 3]
                if near > nearness[y, x]:
                    nearness[y, x] = near
                    hit[y, x] = t
                    second[y, x] = wb * screen[b, 3] / near
                    third[y, x] = wc * screen[c, 3] / near


@compiled
def fill_depth(screen: F32, triangles: I32, depth: F32) -> None:
    """Keep the smallest orthographic depth, in place; screen [n, 3], depth [H, W]."""
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = screen[a, 0], screen[a, 1]
        bgx, bgy, cgx, cgy, x0, x1, y0, y1 = triangle_setup(
            ax,
            ay,
            screen[b, 0],
            screen[b, 1],
            screen[c, 0],
            screen[c, 1],
            depth.shape[0],
            depth.shape[1],
        )
        da = screen[a, 2]
        db = screen[b, 2] - da
        dc = screen[c, 2] - da
        for y in range(y0, y1 + 1):
            dy = y + 0.5 - ay
            for x in range(x0, x1 + 1):
                dx = x + 0.5 - ax
                wb = bgx * dx + bgy * dy
                wc = cgx * dx + cgy * dy
                if wb < 0.0 or wc < 0.0 or wb + wc > 1.0:
                    continue
                d = da + wb * db + wc * dc
                if d < depth[y, x]:
                    depth[y, x] = d


@compiled
def fill_depth_textured(
    screen: F32,
    triangles: I32,
    uv: F32,
    alpha: F32,
    texture: U8,
    threshold: float,
    kept: float,
    depth: F32,
) -> None:
    """`fill_depth` where the texture is opaque enough: the shadow that hair throws.

    Args:
        uv: [n, 2]; alpha: [n] factor on the texture's alpha.
        texture: [h, w, 2] luminance and alpha.
        threshold: alpha, 0..255, above which a texel throws a shadow.
        kept: share of the triangles that is drawn, picked by a hash of their number.
    """
    rows, columns = texture.shape[0], texture.shape[1]
    for t in range(triangles.shape[0]):
        if kept < 1.0 and ((t * 2654435761) & 1023) > kept * 1023:
            continue
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay = screen[a, 0], screen[a, 1]
        bgx, bgy, cgx, cgy, x0, x1, y0, y1 = triangle_setup(
            ax,
            ay,
            screen[b, 0],
            screen[b, 1],
            screen[c, 0],
            screen[c, 1],
            depth.shape[0],
            depth.shape[1],
        )
        for y in range(y0, y1 + 1):
            dy = y + 0.5 - ay
            for x in range(x0, x1 + 1):
                dx = x + 0.5 - ax
                wb = bgx * dx + bgy * dy
                wc = cgx * dx + cgy * dy
                wa = 1.0 - wb - wc
                if wa < 0.0 or wb < 0.0 or wc < 0.0:
                    continue
                d = screen[a, 2] * wa + screen[b, 2] * wb + screen[c, 2] * wc
                if d >= depth[y, x]:
                    continue
                u = uv[a, 0] * wa + uv[b, 0] * wb + uv[c, 0] * wc
                v = uv[a, 1] * wa + uv[b, 1] * wb + uv[c, 1] * wc
                column = min(max(int(u * columns), 0), columns - 1)
                row = min(max(int((1 - v) * rows), 0), rows - 1)
                if texture[row, column, 1] * alpha[a] > threshold:
                    depth[y, x] = d


@compiled
def _vertex_normals(points: F32, triangles: I32, normals: F32) -> None:
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = (
            points[b, 0] - points[a, 0],
            points[b, 1] - points[a, 1],
            points[b, 2] - points[a, 2],
        )
        vx, vy, vz = (
            points[c, 0] - points[a, 0],
            points[c, 1] - points[a, 1],
            points[c, 2] - points[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for corner in (a, b, c):
            normals[corner, 0] += nx
            normals[corner, 1] += ny
            normals[corner, 2] += nz
    for i in range(normals.shape[0]):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        length = np.sqrt(nx**2 + ny**2 + nz**2) + 1e-20
        normals[i, 0] /= length
        normals[i, 1] /= length
        normals[i, 2] /= length


def vertex_normals(points: F32, triangles: I32) -> F32:
    """[n, 3] unit normals, triangles weighted by area; 0 for vertices in no triangle."""
    normals = np.zeros_like(points)
    _vertex_normals(points, triangles, normals)
    return normals


def project_flat(points: F32, view: F32) -> F32:
    """[n, 3] orthographic screen vertices of world points [n, 3], seen as a `light_view` tells."""
    out = np.empty((len(points), 3), np.float32)
    _project_flat(points, view, out)
    return out


@compiled
def _project_flat(points: F32, view: F32, out: F32) -> None:
    for i in range(points.shape[0]):
        x, y, z = points[i, 0], points[i, 1], points[i, 2]
        for k in range(3):
            out[i, k] = view[k, 0] * x + view[k, 1] * y + view[k, 2] * z + view[k, 3]


def light_view(toward_light: ArrayLike, reach: float, side_px: int, *, steep: float) -> F32:
    """[3, 4] map from the world to an orthographic picture (x px, y px, depth) seen from a light.

    Args:
        toward_light: [3] unit vector.
        reach: world units from the middle of the picture to its border.
        steep: above this |y| of the direction, z is up in the picture instead of y.
    """
    forward = np.asarray(toward_light, np.float64)
    up = np.array([0.0, 1.0, 0.0]) if abs(forward[1]) < steep else np.array([0.0, 0.0, 1.0])
    x = np.cross(up, forward)
    x /= np.linalg.norm(x)
    view = np.zeros((3, 4))
    view[0, :3] = x / reach * side_px / 2
    view[1, :3] = np.cross(forward, x) / reach * side_px / 2
    view[:2, 3] = side_px / 2
    view[2, :3] = -forward
    return view.astype(np.float32)
