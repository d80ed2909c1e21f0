"""An operator's program: sees the topics of all devices, and sets what is desired of them."""

import json

import paho.mqtt.client as paho

from case import CASE, PATIENCE, Inbox, hold, host


class Application:
    """A connection with an operator's credential. What comes to what it subscribed is in `inbox`, as (topic, value)."""

    def __init__(self):
        self.inbox = Inbox("the application")
        self.connected = Inbox("CONNACK")
        self.granted = Inbox("SUBACK")
        name = CASE["application"]["name"]
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=name, protocol=paho.MQTTv5)
        self.client.username_pw_set(name, CASE["application"]["token"])
        self.client.tls_set(CASE["ca"])
        self.client.on_connect = lambda _c, _u, _f, reason, _p: self.connected.put(reason)
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.granted.put(reasons)
        self.client.on_message = lambda _c, _u, message: self.inbox.put((message.topic, value(message.payload)))
        self.client.connect(host, CASE["mqtt_port"], keepalive=30)
        self.client.loop_start()
        reason = self.connected.next("an application connects")
        hold(not reason.is_failure, f"an application is refused: {reason}")

    def subscribe(self, topic):
        self.client.subscribe(topic, qos=1)
        reasons = self.granted.next(f"{topic} is granted")
        hold(not any(reason.is_failure for reason in reasons), f"an application may not subscribe to {topic}: {reasons}")

    def publish(self, topic, body):
        """Publishes, and waits until it was taken."""
        payload = body if isinstance(body, str) else json.dumps(body)
        sent = self.client.publish(topic, payload, qos=1)
        sent.wait_for_publish(PATIENCE)
        hold(sent.is_published(), f"{topic} is not acknowledged")

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()


def value(payload):
    """JSON as its value, anything else as its text."""
    text = payload.decode()
    try:
        return json.loads(text)
    except ValueError:
        return text
