"""Fetches links as a device does: over TLS, trusting the server's authority alone."""

import hashlib
import ssl
import urllib.request

from case import CASE, PATIENCE, hold, same


def download(url):
    """The bytes behind a link, which must be those of the release."""
    hold(url.startswith("https://"), f"a link is https: {url}")
    context = ssl.create_default_context(cafile=CASE["ca"])
    with urllib.request.urlopen(url, context=context, timeout=PATIENCE) as answer:
        image = answer.read()
    same(hashlib.sha256(image).hexdigest(), CASE["image_sha256"], "the digest of what was downloaded")
    return image
