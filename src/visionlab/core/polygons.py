"""Areas and intersections of convex polygons, (..., N, 2) as x, y in pixels, x right and y down.

A polygon may be given in either direction; edges lead from each corner to the next, and from the
last to the first. Results are float64.
"""

from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

_CHUNK = 2**13  # pairs that are clipped at a time, which stay in a core's cache
_TINY = 1e-9  # of a polygon's extent: corners closer to a line lie on it


class Edges(NamedTuple):
    """Edges of P polygons; those that are empty count for nothing.

    The polygons come last, so that each operation runs over contiguous memory: 3 times as fast.

    Attributes:
        starts: (2, E, P), x and y.
        ends: (2, E, P).
        is_kept: (E, P) bool, False for empty edges.
    """

    starts: Tensor
    ends: Tensor
    is_kept: Tensor

    def areas(self) -> Tensor:
        """Return the areas that the edges enclose, (P,)."""
        return torch.where(self.is_kept, _cross(self.starts, self.ends), 0.0).sum(dim=0).abs() / 2


def signed_areas(polygons: Tensor) -> Tensor:
    """Return areas (...) by the shoelace formula, positive for clockwise polygons on the screen."""
    corners = _coordinates(polygons)
    # about the first corner: differences of large coordinates would cancel digits
    around = corners - corners[..., :1]
    return _cross(around, around.roll(-1, dims=-1)).sum(dim=-1) / 2


def areas(polygons: Tensor) -> Tensor:
    """Return areas (...) in square pixels."""
    return signed_areas(polygons).abs()


def bounds(polygons: Tensor) -> Tensor:
    """Return the axis-aligned bounds, (..., 4) as x1, y1, x2, y2, in the polygons' dtype."""
    return torch.cat([polygons.amin(dim=-2), polygons.amax(dim=-2)], dim=-1)


def clockwise(polygons: Tensor) -> Tensor:
    """Return polygons clockwise on the screen; the first corner stays the first."""
    turned = polygons.flip(-2).roll(1, dims=-2)
    return torch.where((signed_areas(polygons) < 0)[..., None, None], turned, polygons)


def is_convex(polygons: Tensor) -> Tensor:
    """Return which polygons are convex, (...) bool; corners may lie on a line.

    A star, whose corners all turn one way, is not convex.
    """
    corners = _coordinates(polygons)
    edges = corners.roll(-1, dims=-1) - corners
    turns = _cross(edges, edges.roll(-1, dims=-1))
    slack = _TINY * edges.square().sum(dim=0).amax(dim=-1, keepdim=True)
    turns_one_way = (turns >= -slack).all(dim=-1) | (turns <= slack).all(dim=-1)
    return turns_one_way & is_simple(polygons)


def is_simple(polygons: Tensor) -> Tensor:
    """Return which polygons have no two edges that cross, (...) bool."""
    starts = _coordinates(polygons)
    ends = starts.roll(-1, dims=-1)
    crosses = torch.zeros(polygons.shape[:-2], dtype=torch.bool, device=polygons.device)
    for pair in combinations(range(polygons.shape[-2]), 2):
        first, second = ((starts[..., number], ends[..., number]) for number in pair)
        crosses |= _is_split(first, second) & _is_split(second, first)
    return ~crosses


def clip(polygons: Tensor, windows: Tensor) -> Edges:
    """Clip convex polygons (P, N, 2) to convex windows (P, M, 2), both clockwise.

    Sutherland and Hodgman, Reentrant Polygon Clipping, 1974: each edge of the window cuts off what
    lies outside of it. Instead of lists of corners there is a fixed number of edges: each cut
    shortens or empties edges, and adds the one that closes the polygon along the cut.
    """
    starts = polygons.double().permute(2, 1, 0).contiguous()
    sides = windows.double().permute(2, 1, 0).contiguous()
    directions = sides.roll(-1, dims=1) - sides
    edges = Edges(starts, starts.roll(-1, dims=1), torch.ones_like(starts[0], dtype=torch.bool))
    for number in range(sides.shape[1]):
        edges = _cut(edges, sides[:, number, None], directions[:, number, None])
    return edges


def _cut(edges: Edges, origin: Tensor, direction: Tensor) -> Edges:
    """Return what is to the right of a line on the screen; origin and direction are (2, 1, P)."""
    starts, ends, is_kept = edges
    before, after = (_cross(direction, points - origin) for points in (starts, ends))
    starts_inside, ends_inside = before >= 0, after >= 0
    is_cut = starts_inside != ends_inside
    cuts = torch.lerp(starts, ends, before / torch.where(is_cut, before - after, 1.0))
    leaves, enters = is_kept & is_cut & starts_inside, is_kept & is_cut & ends_inside
    start, end = (
        torch.where(chosen, cuts, 0.0).sum(dim=1, keepdim=True) for chosen in (leaves, enters)
    )
    # rounding may make a polygon leave twice along the line; the lengths between add up
    num_cuts = leaves.sum(dim=0)
    middle = start / num_cuts.clamp(min=1)
    end = torch.where(num_cuts > 1, middle + end - start, end)
    return Edges(
        torch.cat([torch.where(enters, cuts, starts), middle], dim=1),
        torch.cat([torch.where(leaves, cuts, ends), end], dim=1),
        torch.cat([is_kept & (starts_inside | ends_inside), (num_cuts > 0)[None]]),
    )


def intersections(polygons: Tensor, others: Tensor) -> Tensor:
    """Return the areas common to pairs of convex polygons (P, N, 2) and (P, M, 2), (P,)."""
    rows = torch.arange(len(polygons), device=polygons.device)
    return _common(clockwise(polygons), clockwise(others), rows, rows)


def pairwise_iou(polygons: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of all pairs of convex polygons (N, C, 2) and (M, D, 2), (N, M).

    It is 0 without area. Only pairs with overlapping axis-aligned bounds are clipped.
    """
    left, top, right, bottom = bounds(polygons)[:, None].unbind(-1)
    x1, y1, x2, y2 = bounds(others).unbind(-1)
    is_near = (left < x2) & (x1 < right) & (top < y2) & (y1 < bottom)
    rows, columns = is_near.nonzero(as_tuple=True)
    common = _common(clockwise(polygons), clockwise(others), rows, columns)
    found = torch.zeros(len(polygons), len(others), dtype=torch.float64, device=polygons.device)
    union = areas(polygons)[rows] + areas(others)[columns] - common
    found[rows, columns] = torch.where(union > 0, common / union, 0.0)
    return found


def _common(polygons: Tensor, others: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return the areas common to the clockwise polygons in pairs of rows, (P,)."""
    found = []
    for row, column in zip(torch.split(rows, _CHUNK), torch.split(columns, _CHUNK), strict=True):
        one, other = polygons[row].double(), others[column].double()
        found.append(clip(one - one[:, :1], other - one[:, :1]).areas())
    return torch.cat(found)


def _is_split(line: tuple[Tensor, Tensor], edge: tuple[Tensor, Tensor]) -> Tensor:
    """Return whether the ends of an edge lie on both sides of a line, and not on it."""
    origin, direction = line[0], line[1] - line[0]
    left, right = (_cross(direction, point - origin) for point in edge)
    slack = _TINY * (direction * direction).sum(dim=0)
    return (torch.minimum(left, right) < -slack) & (torch.maximum(left, right) > slack)


def _coordinates(polygons: Tensor) -> Tensor:
    """Return x and y of corners (..., N, 2) as (2, ..., N) float64."""
    return polygons.double().movedim(-1, 0)


def _cross(one: Tensor, other: Tensor) -> Tensor:
    """Return the cross products of vectors (2, ...)."""
    return one[0] * other[1] - one[1] * other[0]
