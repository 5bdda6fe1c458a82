"""Colours for the columns of a sparse matrix, so that one product serves all columns of a colour.

Columns of a Jacobian that share no row can be told apart in the product with their sum: this is a
colouring of the graph in which columns that share a row are neighbours. A Hessian is symmetric, so
that an entry may be read in its row or in its column: a star colouring, in which no path of four is
of two colours, needs fewer.

The vertex with the most coloured neighbours comes next (incidence degree), out of a heap, and takes
the smallest colour that is free; the order of the columns themselves is tried too, which is the
better one for grids.

Source: A. H. Gebremedhin, F. Manne, A. Pothen, "What color is your Jacobian? Graph coloring for
computing derivatives", SIAM Review 47 (2005); star colouring: A. H. Gebremedhin, A. Tarafdar,
F. Manne, A. Pothen, SIAM J. Sci. Comput. 29 (2007), algorithm 4.1.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from scipy.sparse import csr_array

Neighbours = Sequence[Sequence[int]]

# Edges of the graph, and steps of a star colouring: beyond, colours take longer than they save.
MOST = 2**24


def fewest(entries: csr_array) -> int:
    """No colouring of the columns has fewer colours: the most entries in a row."""
    return int(np.diff(entries.indptr).max(initial=0))


def coloured_columns(entries: csr_array) -> np.ndarray | None:
    """The colour of each column, from 0; None where the graph is too large to colour."""
    if int((np.diff(entries.indptr).astype(np.int64) ** 2).sum()) > MOST:
        return None
    neighbours = _lists(csr_array(csr_array(entries.T) @ entries))
    in_order = greedy(neighbours, range(len(neighbours)))
    if in_order.max(initial=-1) + 1 <= fewest(entries):
        return in_order
    by_degree = greedy(neighbours, by_incidence(neighbours))
    return min(in_order, by_degree, key=lambda colours: int(colours.max(initial=-1)))


def star_coloured(entries: csr_array) -> np.ndarray | None:
    """Of a symmetric pattern; None where it is too dense to colour."""
    degrees = np.diff(entries.indptr).astype(np.int64)
    if int((entries @ degrees).astype(np.int64) @ degrees) > MOST:
        return None
    neighbours = _lists(entries)
    order = sorted(range(len(neighbours)), key=lambda v: -len(neighbours[v]))
    tried = [_stars(neighbours, order), _stars(neighbours, range(len(neighbours)))]
    return min(tried, key=lambda colours: int(colours.max(initial=-1)))


def _lists(graph: csr_array) -> Neighbours:
    """Who is next to whom, without oneself."""
    indices, ends = graph.indices.tolist(), graph.indptr.tolist()
    return [
        [w for w in indices[start:end] if w != v]
        for v, (start, end) in enumerate(itertools.pairwise(ends))
    ]


def greedy(neighbours: Neighbours, order: Iterable[int]) -> np.ndarray:
    """The smallest free colour for each vertex in turn."""
    colours = [-1] * len(neighbours)
    for v in order:
        taken = {colours[w] for w in neighbours[v]}
        colours[v] = _free(taken)
    return np.array(colours, dtype=np.int64)


def _free(taken: set[int]) -> int:
    colour = 0
    while colour in taken:
        colour += 1
    return colour


def by_incidence(neighbours: Neighbours) -> Iterator[int]:
    """Vertices, each time one with the most neighbours that came before; of those the largest."""
    before = [0] * len(neighbours)
    done = [False] * len(neighbours)
    heap = [(0, -len(around), v) for v, around in enumerate(neighbours)]
    heapq.heapify(heap)
    while heap:
        count, _, v = heapq.heappop(heap)
        if done[v] or -count != before[v]:
            continue
        done[v] = True
        yield v
        for w in neighbours[v]:
            if not done[w]:
                before[w] += 1
                heapq.heappush(heap, (-before[w], -len(neighbours[w]), w))


def _stars(neighbours: Neighbours, order: Iterable[int]) -> np.ndarray:
    colours = [-1] * len(neighbours)
    for v in order:
        colours[v] = _free(_barred(neighbours, colours, v))
    return np.array(colours, dtype=np.int64)


def _barred(neighbours: Neighbours, colours: list[int], v: int) -> set[int]:
    """Colours with which v would be next to one of its own, or end or be within a path of four
    vertices in two colours."""
    barred = set()
    for w in neighbours[v]:
        barred.add(colours[w])
        for x in neighbours[w]:
            if x == v or colours[x] < 0:
                continue
            # Of an uncoloured w the colour may still become anything.
            if colours[w] < 0 or any(y != w and colours[y] == colours[w] for y in neighbours[x]):
                barred.add(colours[x])
    return barred
