"""A device exchanges its token for a temporary key, and boto3 signs with it."""

import datetime
import json
import urllib.error
import urllib.request

from boto import client, refused
from case import CASE, device, fail, hold, same


def exchange(thing):
    """What the credential provider answers to the device's own token."""
    request = urllib.request.Request(f"{CASE['data_url']}/role-aliases/updates/credentials")
    request.add_header("Authorization", f"Bearer {CASE['token']}")
    request.add_header("x-amzn-iot-thingname", thing)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["credentials"]


credentials = exchange(device)
ends = datetime.datetime.fromisoformat(credentials["expiration"])
left = ends - datetime.datetime.now(datetime.timezone.utc)
hold(datetime.timedelta(minutes=55) < left <= datetime.timedelta(hours=1, seconds=5), f"the key works for {left}")
try:
    exchange("another")
    fail("a device gets a key for another thing")
except urllib.error.HTTPError as error:
    same(error.code, 403, "the status for another thing")

key = {"id": credentials["accessKeyId"], "secret": credentials["secretAccessKey"]}
data = client("iot-data", key=key, token=credentials["sessionToken"], url="data_url")
same(data.list_named_shadows_for_thing(thingName=device)["results"], [], "the device's named shadows")
refused("ForbiddenException", 403, data.list_named_shadows_for_thing, thingName=CASE["other"])
without = client("iot-data", key=key, url="data_url")
refused("UnrecognizedClientException", 403, without.list_named_shadows_for_thing, thingName=device)
altered = client("iot-data", key=key, token=credentials["sessionToken"][:-1] + ("0" if credentials["sessionToken"][-1] != "0" else "1"), url="data_url")
refused("UnrecognizedClientException", 403, altered.list_named_shadows_for_thing, thingName=device)
iot = client("iot", key=key, token=credentials["sessionToken"])
refused("ForbiddenException", 403, iot.list_jobs)
