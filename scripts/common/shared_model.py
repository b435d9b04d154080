"""What SGLang asks of a model that several processes share."""

from __future__ import annotations


def undealt(processes: int, heads: int, query_groups: int, ffn: int) -> list[tuple[str, int, str]]:
    """What so many processes cannot share: the number's name, the number, and what of it is allowed.

    Keys and values are dealt out, or repeated where there are more processes than groups.

    >>> undealt(3, heads=32, query_groups=8, ffn=9728)
    [('heads', 32, 'a divisor'), ('query_groups', 8, 'a divisor or a multiple'), ('ffn', 9728, 'a divisor')]
    >>> undealt(16, heads=32, query_groups=8, ffn=9728)
    []
    """
    found = []
    if heads % processes:
        found.append(("heads", heads, "a divisor"))
    if max(processes, query_groups) % min(processes, query_groups):
        found.append(("query_groups", query_groups, "a divisor or a multiple"))
    if ffn % processes:
        found.append(("ffn", ffn, "a divisor"))
    return found
