"""Hashes of unchanged kernels by the earlier way of hashing, so that what was tuned under them stays valid.

The earlier hash covered a kernel's own template and every shared one, and no Python.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Kernel -> (its earlier hash, the one that `Kernel.source_hash` gave for the same generated source when the table was
#: made). When that one moves, with the source, what was tuned under either is stale. Where it moves and the generated
#: source does not, write the new one here (tests/tiles/test_store.py holds the two together).
EARLIER_HASHES: Mapping[str, tuple[str, str]] = {
    "clear_padding": ("b9fa6782e9a5a32c", "cec1ed301d4e34d6"),
    "connected": ("baad64a73ca314ec", "30c330134866f93c"),
    "connected_int8": ("59dfa06f40adb1a9", "30ea49214194dc77"),
    "conv": ("019f5bce00aaa5a5", "0e2a90a67a6d09bb"),
    "conv_channels": ("d663070bc156dc1b", "cdda2a10377b0ada"),
    "conv_int8": ("68fb386dbe9e985c", "408b3bf375c36e29"),
    "pointwise": ("a635844e0c7daad2", "1a0b7e2393d9daf4"),
    "max_pool": ("bffe28e6720f55ed", "de19cd66a90bdeb8"),
    "average_pool": ("0fc2baaf361c930f", "9e8d66a9deac68e0"),
    "softmax": ("a06e0c9cea447836", "bd3bc98c2bbc35ee"),
    "sparse_connected": ("16b71d4690de0b9c", "6e8b5ada948cb5ef"),
    "sparse_conv": ("0154806b3df690b2", "c3167722298778a2"),
    "sparse_conv_local": ("c0eeb46a480091b8", "d0dbd386fa850e3b"),
    "winograd": ("8aeed04f191d0640", "e850da0caab3befb"),
    "winograd_fused": ("a3ad1a8d4a370bcd", "ad1bf7fd39426ba3"),
}


def todays_hash(kernel: str, source_hash: str) -> str:
    """`source_hash` itself, or what has taken its place."""
    earlier, today = EARLIER_HASHES.get(kernel, ("", ""))
    return today if source_hash == earlier else source_hash
