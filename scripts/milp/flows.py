"""Polylines below and above a flow `phi(w) = w (a + b w)`, which is convex within each piece.

Both are given by points. A restricted problem mixes points of the flow itself (chords, never below it); a relaxed one mixes corners of
tangents (never above it). Only points of one convex run may be mixed, so that neither reaches across a kink that is not convex.
"""

import math

# Narrower pieces, and slopes that fall by less, are rounding.
WIDTH = 1e-12
SLOPE = 1e-9


class Flow:
    """The flow of one candidate at one load level, up to where some row alone would exceed its limit."""

    def __init__(self, pieces):
        breaks = pieces["breaks"]
        self.pieces = []
        for j, (low, high) in enumerate(zip(breaks, breaks[1:])):
            rows = [row[j] for row in pieces["rows"]]
            end = min([high] + [reach(a, b) for a, b in rows])
            if end - low > WIDTH:
                self.pieces.append((low, end, rows))
            if end < high:
                break

    def runs(self):
        """Lists of pieces over which every row is convex."""
        runs = []
        for piece in self.pieces:
            if runs and not falls(runs[-1][-1], piece):
                runs[-1].append(piece)
            else:
                runs.append([piece])
        return runs


def reach(a, b):
    """Highest `w` with `w (a + b w) <= 1`."""
    if b <= 0.0:
        return 1.0 / a if a > 0.0 else math.inf
    return (-a + math.sqrt(a * a + 4.0 * b)) / (2.0 * b)


def falls(before, after):
    at = after[0]
    return any(a0 + 2 * b0 * at > a1 + 2 * b1 * at + SLOPE for (a0, b0), (a1, b1) in zip(before[2], after[2]))


def parts(piece, error):
    """A piece cut so finely that chord and tangents each stay within `error` of every row."""
    low, high, rows = piece
    steepest = max([b for _, b in rows], default=0.0)
    # A chord over a width h lies at most b h^2 / 4 above; two tangents meet as much below.
    n = max(1, math.ceil((high - low) * math.sqrt(max(steepest, 0.0) / (4.0 * error)) - 1e-9))
    return [(low + (high - low) * k / n, low + (high - low) * (k + 1) / n) for k in range(n)]


def value(rows, w):
    return [w * (a + b * w) for a, b in rows]


def points(run, error, relaxed):
    """Points `(w, [phi of each row])` of one run."""
    low, _, rows = run[0]
    found = [(low, value(rows, low))]
    for piece in run:
        rows = piece[2]
        for start, end in parts(piece, error):
            if relaxed and any(b > 0.0 for _, b in rows):
                # Tangents at both ends of a parabola meet halfway: phi(mid) - b h^2 / 4.
                mid, half = (start + end) / 2.0, (end - start) / 2.0
                found.append((mid, [phi - b * half * half for phi, (_, b) in zip(value(rows, mid), rows)]))
            found.append((end, value(rows, end)))
    return found
