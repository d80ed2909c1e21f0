"""The SDK's typed answers as plain values, with the names of the wire."""

import datetime


def plain(value):
    """A typed answer as dictionaries, lists and scalars; what is absent is left out, times are seconds."""
    if isinstance(value, datetime.datetime):
        return int(value.timestamp())
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if hasattr(value, "__slots__"):
        named = ((name, getattr(value, name)) for name in value.__slots__ if not name.endswith("_is_nullable"))
        return {_wire_name(name): plain(item) for name, item in named if item is not None}
    return value


def _wire_name(name):
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
