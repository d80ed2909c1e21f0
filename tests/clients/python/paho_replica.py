"""The device state replica with paho-mqtt: `paho_replica.py CASE 3|5 tls|plain`.

A device without any library for updates: it reports what it runs, hears of a rollout by the difference, downloads,
acknowledges, and misses nothing while it is away.
"""

import json

import paho.mqtt.client as paho

from application import Application, value
from case import CASE, PATIENCE, WORDS, Inbox, device, hold, host, same, until, verb
from download import download

TOPICS = ["update/delta", "update/accepted", "update/rejected", "get/accepted", "get/rejected"]
# How long a session outlives its connection, in seconds.
SESSION = 300


class Device:
    """A connection with the device's token. What comes is in an inbox for each topic."""

    def __init__(self, protocol, transport, clean):
        version = {"3": paho.MQTTv311, "5": paho.MQTTv5}[protocol]
        # MQTT 5 says so when it connects.
        session = {"clean_session": clean} if protocol == "3" else {}
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=device, protocol=version, **session)
        self.client.username_pw_set(device, CASE["token"])
        if transport == "tls":
            self.client.tls_set(CASE["ca"])
        self.inboxes = {topic: Inbox(topic) for topic in TOPICS}
        self.connected = Inbox("CONNACK")
        self.granted = Inbox("SUBACK")
        self.client.on_connect = lambda _c, _u, flags, reason, _p: self.connected.put((flags, reason))
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.granted.put(reasons)
        self.client.on_message = self.note
        self.client.connect(host, CASE["mqtt_port" if transport == "tls" else "plain_port"], **how(protocol, clean))
        self.client.loop_start()
        flags, reason = self.connected.next("a device connects")
        hold(not reason.is_failure, f"a device is refused: {reason}")
        self.has_session = flags.session_present

    def note(self, _client, _data, message):
        prefix = f"state/{device}/"
        hold(message.topic.startswith(prefix), f"a message came to {message.topic}")
        self.inboxes[message.topic.removeprefix(prefix)].put(value(message.payload))

    def subscribe(self):
        self.client.subscribe([(f"state/{device}/{topic}", 1) for topic in TOPICS])
        reasons = self.granted.next("the device's own topics are granted")
        hold(not any(reason.is_failure for reason in reasons), f"a device may not hear its own topics: {reasons}")

    def is_kept_apart(self):
        """Another's topics are refused, and so are wildcards over all devices."""
        for topic in ("state/another/update/delta", "state/+/update/delta", "#"):
            self.client.subscribe(topic, qos=1)
            reasons = self.granted.next(f"an answer to {topic}")
            hold(all(reason.is_failure for reason in reasons), f"a device may hear {topic}: {reasons}")

    def publish(self, path, body):
        payload = body if isinstance(body, str) else json.dumps(body)
        sent = self.client.publish(f"state/{device}/{path}", payload, qos=1)
        sent.wait_for_publish(PATIENCE)
        hold(sent.is_published(), f"{path} is not acknowledged")

    def accepted(self, path, what):
        body = self.inboxes[f"{path}/accepted"].next(what)
        self.inboxes[f"{path}/rejected"].is_silent(f"but {what}")
        return body

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


def how(protocol, clean):
    """What MQTT 5 says of sessions when it connects."""
    if protocol == "3":
        return {"keepalive": 30}
    properties = paho.Properties(paho.PacketTypes.CONNECT)
    properties.SessionExpiryInterval = SESSION
    return {"keepalive": 30, "clean_start": clean, "properties": properties}


def takes_an_update(here):
    """From the report of what runs to the acknowledgement."""
    here.publish("update", {"state": {"reported": {"product": CASE["product"], "version": "1.0.0", "boot": 1}}})
    same(here.accepted("update", "the report is accepted")["state"]["reported"]["version"], "1.0.0", "what was accepted")
    rollout = verb("rollout", "start", "--product", CASE["product"], "--version", CASE["version"])["id"]
    state = here.inboxes["update/delta"].next("the difference names the software")["state"]
    download(state["softwareURL"])
    here.publish("update", f"jobID:{state['jobID']} SUCCESS")
    here.accepted("update", "the acknowledgement is accepted")
    counts = until(lambda: ended(rollout), f"{rollout} never counts an end")
    same(counts["succeeded"], 1, "what the server counts as succeeded")
    here.publish("get", "")
    state = here.accepted("get", "the state is told")["state"]
    same([name for name in ("softwareURL", "jobID") if name in state.get("delta", {})], [], "what is left to do")
    same(state["reported"]["version"], CASE["version"], "the version that runs")


def ended(rollout):
    counts = verb("rollout", "status", rollout)["counts"]
    return counts if counts["succeeded"] + counts["failed"] + counts["rejected"] else None


def misses_nothing(protocol, transport, application):
    """What is desired of a device that is away, it hears when it is back; its session outlived the connection."""
    here = Device(protocol, transport, clean=False)
    here.subscribe()
    here.end()
    application.publish(f"state/{device}/update", {"state": {"desired": {"mode": "night"}}})
    here = Device(protocol, transport, clean=False)
    hold(here.has_session, "the session outlives the connection")
    delta = here.inboxes["update/delta"].next("what was desired while the device was away")
    same(delta["state"]["mode"], "night", "what is desired")
    here.publish("update", {"state": {"reported": {"mode": "night"}}})
    here.accepted("update", "the report is accepted")
    here.end()


def main():
    protocol, transport = WORDS
    here = Device(protocol, transport, clean=True)
    here.is_kept_apart()
    here.subscribe()
    takes_an_update(here)
    here.end()
    application = Application()
    misses_nothing(protocol, transport, application)
    application.end()


main()
