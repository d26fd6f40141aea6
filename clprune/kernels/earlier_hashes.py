"""Earlier hashes of kernels whose generated source is still the same, so that what was tuned under them stays valid.

The first hash of each covered the kernel's own template and every shared one, and no Python.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Kernel -> hashes of the same generated source, the last one today's `Kernel.source_hash`. When that moves, with the
#: source, what was tuned under all of them is stale: remove the line. Where it moves and the generated source does not,
#: write the new one behind the last that was released (tests/tiles/test_store.py holds the two together).
EARLIER_HASHES: Mapping[str, tuple[str, ...]] = {
    "clear_padding": ("b9fa6782e9a5a32c", "cec1ed301d4e34d6", "b42648e6bec34a81"),
    "connected": ("baad64a73ca314ec", "30c330134866f93c", "1737736dd91fbb1d"),
    "connected_int8": ("59dfa06f40adb1a9", "30ea49214194dc77", "46b6a58e6f45aabc"),
    "conv": ("019f5bce00aaa5a5", "0e2a90a67a6d09bb", "22e0919dcf41a637", "183d66b071f289bd", "0f8d67c6193608ea"),
    "conv_channels": ("d663070bc156dc1b", "cdda2a10377b0ada", "8ecde9dfa7a0374c"),
    "conv_int8": ("68fb386dbe9e985c", "408b3bf375c36e29", "7473ff9e98aca9e0", "d2eb3a70783429d5"),
    "depthwise": ("419ad1c36e976052", "3743219e6ece4507"),
    "local_conv": ("eee74f1ae7de2b17", "eb4414e7116d65de"),
    "pointwise": ("a635844e0c7daad2", "1a0b7e2393d9daf4", "dd4381fd5fb536d4"),
    "average_pool": ("0fc2baaf361c930f", "9e8d66a9deac68e0"),
    "softmax": ("a06e0c9cea447836", "bd3bc98c2bbc35ee"),
    "sparse_connected": ("16b71d4690de0b9c", "6e8b5ada948cb5ef", "09a5d1f20a8e4563"),
    "sparse_conv": ("0154806b3df690b2", "c3167722298778a2", "273d80451e1c67b3", "bfddd42c3c839b6e"),
    "sparse_conv_local": ("c0eeb46a480091b8", "d0dbd386fa850e3b", "b970715dbf9d3fe2", "4485dc4650ea9aef"),
    "winograd": ("8aeed04f191d0640", "e850da0caab3befb", "9e9229cb10919e6f", "155f3f47082c3631", "0178981c6bf89846"),
    "winograd_fused": ("a3ad1a8d4a370bcd", "ad1bf7fd39426ba3", "ec7d778ca8e00d3a", "b1070d5d3f8ceb01"),
}


def todays_hash(kernel: str, source_hash: str) -> str:
    """`source_hash` itself, or what has taken its place."""
    known = EARLIER_HASHES.get(kernel, ())
    return known[-1] if source_hash in known else source_hash
