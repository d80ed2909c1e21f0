"""A device's life with a shadow, told once for all clients that AWS made for devices.

A client has: `get()`, `update(state, version=None)` and `delete()`, which return what was accepted as plain values or
raise `Rejected`; the inboxes `delta` and `documents` (`None` if its library does not know that topic); `topic`, what its
shadow's topics begin with; and `hears_itself`, whether its library passes on differences that its own updates made.
"""

from case import hold, same


class Rejected(Exception):
    """The service's refusal."""

    def __init__(self, code, message):
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message


def refused(call, code, what):
    """The refusal of a call that must be refused."""
    try:
        accepted = call()
    except Rejected as rejected:
        same(rejected.code, code, what)
        return rejected
    return hold(False, f"{what} was accepted: {accepted!r}")


def tell(client, application):
    """The whole life. The application is an operator's program, elsewhere."""
    refused(client.get, 404, "getting a shadow that nobody made")
    version = reports(client)
    version = is_asked_for_more(client, application, version)
    version = is_asked_late(client, version)
    version = does_as_asked(client, version)
    is_forgotten(client, version)


def reports(client):
    """What a device reports is accepted as it was said, and found again."""
    accepted = client.update({"reported": {"temperature": 20, "fan": {"speed": 1, "modes": ["low", "high"]}}})
    same(accepted["state"], {"reported": {"temperature": 20, "fan": {"speed": 1, "modes": ["low", "high"]}}},
         "what was accepted")
    version = accepted["version"]
    if client.documents:
        event = client.documents.next("the shadow's documents")
        same((event["current"]["version"], event["current"]["state"]["reported"]["temperature"]), (version, 20),
             "the document after the first update")
    got = client.get()
    same((got["version"], got["state"].get("delta"), got["state"]["reported"]["fan"]["modes"]),
         (version, None, ["low", "high"]), "the shadow")
    hold(isinstance(got["metadata"]["reported"]["temperature"]["timestamp"], int), "a leaf's time is in the metadata")
    return version


def is_asked_for_more(client, application, version):
    """What an application desires arrives as the difference from what the device reported, nested ones by their path."""
    desired = {"temperature": 20, "fan": {"speed": 3, "modes": ["low"]}, "colour": "red"}
    application.publish(f"{client.topic}/update", {"state": {"desired": desired}})
    delta = client.delta.next("the difference")
    same((delta["state"], delta["version"]), ({"fan": {"speed": 3, "modes": ["low"]}, "colour": "red"}, version + 1),
         "the difference")
    if client.documents:
        event = client.documents.next("the shadow's documents")
        same((event["previous"]["version"], event["current"]["version"]), (version, version + 1), "their versions")
        same(event["previous"]["state"].get("desired"), None, "what was desired before")
        same(event["current"]["state"]["desired"], desired, "what is desired")
    got = client.get()["state"]
    same((got["desired"], got["delta"]), (desired, delta["state"]), "the shadow")
    return version + 1


def is_asked_late(client, version):
    """An update that rests on an older version is refused and changes nothing."""
    refused(lambda: client.update({"reported": {"temperature": 99}}, version=version - 1), 409, "a stale update")
    refused(lambda: client.update({"reported": {"list": [1, None]}}), 400, "a null in an array")
    got = client.get()
    same((got["version"], got["state"]["reported"]["temperature"]), (version, 20), "the shadow after refusals")
    client.delta.is_silent("but nothing was changed")
    return version


def does_as_asked(client, version):
    """Once the device reports what is desired there is no difference; a null removes what it names."""
    accepted = client.update({"reported": {"fan": {"speed": 3, "modes": ["low"]}, "colour": "red", "temperature": None}},
                             version=version)
    same(accepted["version"], version + 1, "the version, one up")
    if client.hears_itself:
        delta = client.delta.next("the removed attribute is desired and not reported")
        same(delta["state"], {"temperature": 20}, "the difference")
    client.update({"desired": {"temperature": None}})
    got = client.get()
    same(got["state"], {"desired": {"fan": {"speed": 3, "modes": ["low"]}, "colour": "red"},
                        "reported": {"fan": {"speed": 3, "modes": ["low"]}, "colour": "red"}}, "the shadow")
    client.delta.is_silent("but all that is desired is reported")
    return version + 2


def is_forgotten(client, version):
    """A deleted shadow is gone; one made in its place goes on counting."""
    same(client.delete()["version"], version, "the version of what was deleted")
    refused(client.get, 404, "getting a deleted shadow")
    refused(client.delete, 404, "deleting a deleted shadow")
    again = client.update({"reported": {"temperature": 1}})
    hold(again["version"] > version, f"version {again['version']} of the shadow made anew is above {version}")
    same(client.get()["state"], {"reported": {"temperature": 1}}, "the shadow made anew")
