"""Connections of the AWS IoT Device SDK v2 for Python: MQTT 3.1.1 and 5, by certificate, or without TLS."""

import threading

from awscrt import io, mqtt, mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder

from case import CASE, PATIENCE, device, hold, host

# Seconds between signs of life where the SDK does not choose: its own choice is 1200.
KEEP_ALIVE = 30


def connect(protocol, transport):
    """A connection: `protocol` is "3" or "5", `transport` is "tls" or "plain"."""
    if transport == "tls":
        return _by_certificate_3() if protocol == "3" else _by_certificate_5()
    hold(protocol == "3", "without TLS the program knows MQTT 3.1.1 only")
    return _plain()


def disconnect(connection):
    """Ends a connection as its library wants it."""
    if isinstance(connection, mqtt5.Client):
        connection.stop()
    else:
        connection.disconnect().result(PATIENCE)


def _certificate():
    return {
        "endpoint": host,
        "port": CASE["mqtt_port"],
        "ca_filepath": CASE["ca"],
        "cert_filepath": CASE["certificate"],
        "pri_key_filepath": CASE["key"],
        "client_id": device,
    }


def _by_certificate_3():
    # Keep-alive and session as the SDK has them by itself: 1200 seconds, and not clean.
    connection = mqtt_connection_builder.mtls_from_path(**_certificate())
    connection.connect().result(PATIENCE)
    return connection


def _by_certificate_5():
    connected = threading.Event()
    client = mqtt5_client_builder.mtls_from_path(
        **_certificate(),
        keep_alive_interval_sec=KEEP_ALIVE,
        on_lifecycle_connection_success=lambda _: connected.set(),
    )
    client.start()
    hold(connected.wait(PATIENCE), "no MQTT 5 connection by certificate")
    return client


def _plain():
    bootstrap = io.ClientBootstrap.get_or_create_static_default()
    connection = mqtt.Connection(
        client=mqtt.Client(bootstrap, None),
        host_name=host,
        port=CASE["plain_port"],
        client_id=device,
        username=device,
        password=CASE["token"],
        clean_session=True,
        keep_alive_secs=KEEP_ALIVE,
    )
    connection.connect().result(PATIENCE)
    return connection
