"""What moto, an independent reading of the AWS IoT Device Shadow service, makes of the same updates.

Reads from the standard input one line for each story, `{"initial": STATE, "updates": [STATE, ...]}`, where a STATE is the
`state` of an update request. Writes one line for each, `{"steps": [...]}`: after the initial state and after each update
`{"state": ..., "delta": ..., "metadata": ..., "version": ...}`, parts that are empty left out.
"""

import json
import sys

from moto.iotdata.models import FakeShadow


def tell(story):
    """The steps of one story."""
    shadow = None
    for state in [story["initial"], *story["updates"]]:
        shadow = FakeShadow.create_from_previous_version(shadow, {"state": state})
        document = shadow.to_dict()
        delta = document["state"].pop("delta", {})
        # A copy: the next update merges into the same objects.
        yield json.loads(json.dumps({
            "state": document["state"],
            "delta": delta,
            "metadata": document["metadata"],
            "version": document["version"],
        }))


for line in sys.stdin:
    print(json.dumps({"steps": list(tell(json.loads(line)))}), flush=True)
