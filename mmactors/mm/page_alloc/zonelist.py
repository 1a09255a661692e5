"""Zonelists: in which order a node's requests try all zones (mm/page_alloc.c, v6.1).

Nearest node first, and in each node the highest zone first. Nodes without memory come in nobody's
order. Left out: other distances than 10 (the node itself) and 20 (any other).
"""

from collections.abc import Sequence
from typing import Final

_LOCAL_DISTANCE: Final = 10
_REMOTE_DISTANCE: Final = 20
_PENALTY_FOR_NODE_WITH_CPUS: Final = 1
_MAX_NUMNODES: Final = 1024


def build_zonelists(
    zones: Sequence[tuple[int, int]], *, nr_nodes: int, cpu_node: tuple[int, ...]
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return by node the `(node, zone index)` of `zones` in the order in which they are tried.

    `cpu_node` says where CPUs are that the kernel knows by now; while it boots it knows none.
    """
    descending: dict[int, list[tuple[int, int]]] = {node: [] for node in range(nr_nodes)}
    for node, index in sorted(zones, reverse=True):
        descending[node].append((node, index))
    with_memory = sorted({node for node, _ in zones})
    orders = _node_orders(nr_nodes, with_memory, with_cpus=frozenset(cpu_node))
    return tuple(tuple(zone for node in order for zone in descending[node]) for order in orders)


def _node_orders(
    nr_nodes: int, with_memory: Sequence[int], *, with_cpus: frozenset[int]
) -> list[list[int]]:
    """Return each node's fallback order (build_zonelists, find_next_best_node).

    Among equally near nodes those after it come first, without CPUs before with CPUs; a node
    that stands first in somebody's order already is liked a little less by the next.
    """
    load = [0] * nr_nodes
    orders = []
    for local in range(nr_nodes):

        def cost(node: int, local: int = local) -> tuple[int, int]:
            distance = _LOCAL_DISTANCE if node == local else _REMOTE_DISTANCE
            penalty = (node < local) + _PENALTY_FOR_NODE_WITH_CPUS * (node in with_cpus)
            return (distance + penalty) * _MAX_NUMNODES + load[node], node

        # Only the first node of the remote group adds to the load, and after it was chosen.
        others = [node for node in with_memory if node != local]
        order = [local]
        if others:
            first = min(others, key=cost)
            load[first] += 1
            others.remove(first)
            order += [first, *sorted(others, key=cost)]
        orders.append(order)
    return orders
