"""Protocol buffers looked through before they are parsed: two bytes of a file may make a hundred of memory."""

from __future__ import annotations

from typing import Any

_VARINT, _EIGHT_BYTES, _LENGTH_AND_BYTES, _FOUR_BYTES = 0, 1, 2, 5


def has_more_fields(data: bytes, message: Any, *, than: int) -> bool:
    """Whether a message that `message` (a Descriptor) describes has more fields, those of messages in it included.

    What is damaged is not looked at further: its parser refuses all of it.
    """
    count, parts = 0, [(0, len(data), message)]
    while parts:
        place, end, message = parts.pop()
        inner = {field.number: field.message_type for field in message.fields if field.message_type is not None}
        try:
            while place < end:
                count += 1
                if count > than:
                    return True
                key, place = _varint(data, place)
                kind = key & 7
                if kind == _VARINT:
                    _, place = _varint(data, place)
                elif kind == _LENGTH_AND_BYTES:
                    length, place = _varint(data, place)
                    if key >> 3 in inner:
                        parts.append((place, min(place + length, end), inner[key >> 3]))
                    place += length
                else:  # the beginnings and ends of groups have nothing of their own
                    place += {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(kind, 0)
        except IndexError:
            continue
    return False


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The number that begins at `place`, and where what follows begins. Raises IndexError where the data end."""
    value = data[place]
    if value < 128:
        return value, place + 1
    value, shift = value & 127, 7
    while True:
        place += 1
        byte = data[place]
        value |= (byte & 127) << shift
        if byte < 128 or shift > 63:
            return value, place + 1
        shift += 7
