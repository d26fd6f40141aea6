"""Hashes of unchanged kernels by the earlier way of hashing, so that what was tuned under them stays valid.

The earlier hash covered a kernel's own template and every shared one, and no Python.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Kernel -> (its earlier hash, the one that `Kernel.source_hash` gave for the same generated source when the table was
#: made). When that one moves, with the source, what was tuned under either is stale. Where it moves and the generated
#: source does not, write the new one here (tests/tiles/test_store.py holds the two together).
EARLIER_HASHES: Mapping[str, tuple[str, str]] = {
    "clear_padding": ("b9fa6782e9a5a32c", "2361934705be2156"),
    "connected": ("baad64a73ca314ec", "905c8b76a480b14d"),
    "connected_int8": ("59dfa06f40adb1a9", "946ee0e1f391901b"),
    "conv": ("019f5bce00aaa5a5", "e82f3fe83c44e9fe"),
    "conv_channels": ("d663070bc156dc1b", "4bd162113cecc07e"),
    "conv_int8": ("68fb386dbe9e985c", "6e00366c8f5f9e76"),
    "pointwise": ("a635844e0c7daad2", "cf7fc534cba464fc"),
    "max_pool": ("bffe28e6720f55ed", "04bb2dde9437960f"),
    "average_pool": ("0fc2baaf361c930f", "9e8d66a9deac68e0"),
    "softmax": ("a06e0c9cea447836", "bd3bc98c2bbc35ee"),
    "sparse_connected": ("16b71d4690de0b9c", "72c92a0124a230a7"),
    "sparse_conv": ("0154806b3df690b2", "0731a8f0f566b640"),
    "sparse_conv_local": ("c0eeb46a480091b8", "8bd5fd750fe2a51d"),
    "winograd": ("8aeed04f191d0640", "c15cefb12cbfaa44"),
    "winograd_fused": ("a3ad1a8d4a370bcd", "3b212b99de0d1390"),
}


def todays_hash(kernel: str, source_hash: str) -> str:
    """`source_hash` itself, or what has taken its place."""
    earlier, today = EARLIER_HASHES.get(kernel, ("", ""))
    return today if source_hash == earlier else source_hash
