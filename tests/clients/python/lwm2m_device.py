"""A small LwM2M device on aiocoap, with the habits of one kind of client or another.

    lwm2m_device.py name=meter-7 server=coap://127.0.0.1:5683 [version=1.0.0] [lwm2m=1.1] [lifetime=60]
        [method=pull|push|both]
        [format=asked|tlv]      tlv: answers everything as TLV, whatever is asked (wakaama)
        [observes=yes|no]       no: answers a wish to observe as if it were a read
        [keeps=result|nothing]  nothing: the result is lost over a reboot (Zephyr)
        [block=1024]            the largest block it takes of a package
        [boots=well|badly]      badly: the new version does not come up, and the old one is back

An image begins with a line of two words, the version and the SHA-256 of what follows it. What happens is printed, a line each.
"""

import asyncio
import hashlib
import signal
import struct
import sys

import aiocoap
from aiocoap import Code, Message
from aiocoap.resource import ObservableResource, Resource, Site

DEFAULTS = {
    "version": "1.0.0",
    "lwm2m": "1.1",
    "lifetime": "60",
    "method": "both",
    "format": "asked",
    "observes": "yes",
    "keeps": "result",
    "block": "1024",
    "boots": "well",
}
TEXT, LINKS, TLV = 0, 40, 11542
IDLE, DOWNLOADING, DOWNLOADED, UPDATING = range(4)
"""Results of object 5."""
NONE, SUCCESS, CONNECTION_LOST, INTEGRITY, UNSUPPORTED, INVALID_URI, FAILED = 0, 1, 4, 5, 6, 7, 8
REBOOT_S = 0.2


def say(*words):
    print(*words, flush=True)


def tlv(kind, number, value):
    """One TLV of OMA's format; numbers here are below 256."""
    head = kind << 6
    if len(value) < 8:
        return bytes([head | len(value), number]) + value
    if len(value) < 256:
        return bytes([head | 0x08, number, len(value)]) + value
    return bytes([head | 0x10, number]) + struct.pack(">H", len(value)) + value


def plain(value):
    if isinstance(value, str):
        return value.encode()
    return struct.pack(">b", value) if -128 <= value < 128 else struct.pack(">i", value)


def as_tlv(number, value):
    if isinstance(value, list):
        return tlv(0b10, number, b"".join(tlv(0b01, index, plain(item)) for index, item in enumerate(value)))
    return tlv(0b11, number, plain(value))


class Leaf(Resource):
    """A resource that can be read."""

    def __init__(self, device, path):
        super().__init__()
        self.device, self.path = device, path

    def updated_state(self):
        """Nobody is told."""

    async def render_get(self, request):
        value = self.device.read(self.path)
        if self.device.told["format"] == "tlv" or request.opt.accept == TLV or isinstance(value, list):
            return Message(payload=as_tlv(self.path[2], value), content_format=TLV)
        return Message(payload=str(value).encode(), content_format=TEXT)


class ObservableLeaf(ObservableResource):
    """A resource that can be observed, too."""

    def __init__(self, device, path):
        super().__init__()
        self.device, self.path = device, path

    render_get = Leaf.render_get


class Instance(Resource):
    """An object's instance: read whole, as TLV."""

    def __init__(self, device, path):
        super().__init__()
        self.device, self.path = device, path

    async def render_get(self, request):
        leaves = sorted(path for path in self.device.leaves if path[:2] == self.path)
        body = b"".join(as_tlv(path[2], self.device.read(path)) for path in leaves)
        return Message(payload=body, content_format=TLV)


class Package(Resource):
    """/5/0/0, block by block: this device says how large they may be."""

    def __init__(self, device):
        super().__init__()
        self.device = device
        self.body = b""

    async def needs_blockwise_assembly(self, request):
        return False

    async def render_put(self, request):
        device, block = self.device, request.opt.block1
        if block is None:
            return self.take_whole(request.payload)
        if block.block_number == 0:
            if device.state != IDLE:
                return Message(code=Code.BAD_REQUEST)
            self.body = b""
            device.move(DOWNLOADING, NONE)
        if block.start != len(self.body):
            return Message(code=Code.REQUEST_ENTITY_INCOMPLETE)
        size = min(block.size_exponent, int(device.told["block"]).bit_length() - 5)
        # A block that is larger than wished for is taken all the same (RFC 7959, section 2.5).
        self.body += request.payload
        answer = Message(code=Code.CONTINUE if block.more else Code.CHANGED)
        answer.opt.block1 = (block.block_number, block.more, size)
        if not block.more:
            say("pushed", len(self.body), "in blocks of", 1 << (block.size_exponent + 4))
            device.check(self.body)
        return answer

    def take_whole(self, payload):
        if payload in (b"", b"\0"):
            self.device.move(IDLE, NONE)
            return Message(code=Code.CHANGED)
        return Message(code=Code.BAD_REQUEST)


class Uri(Resource):
    """/5/0/1."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    async def render_get(self, request):
        return Message(payload=self.device.uri.encode(), content_format=TEXT)

    async def render_put(self, request):
        device = self.device
        uri = request.payload.decode() if request.opt.content_format in (None, TEXT) else None
        if uri is None:
            return Message(code=Code.UNSUPPORTED_CONTENT_FORMAT)
        if uri == "":
            device.uri = ""
            device.move(IDLE, NONE)
        elif device.state != IDLE:
            return Message(code=Code.BAD_REQUEST)
        else:
            device.uri = uri
            device.move(DOWNLOADING, NONE)
            device.work = asyncio.ensure_future(device.pull(uri))
        return Message(code=Code.CHANGED)


class Update(Resource):
    """/5/0/2."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    async def render_post(self, request):
        if self.device.state != DOWNLOADED:
            return Message(code=Code.METHOD_NOT_ALLOWED)
        self.device.move(UPDATING, NONE)
        self.device.work = asyncio.ensure_future(self.device.install())
        return Message(code=Code.CHANGED)


class Device:
    def __init__(self, told):
        self.told = told
        self.version, self.state, self.result, self.uri = told["version"], IDLE, NONE, ""
        self.image = self.context = self.location = self.work = None
        self.leaves = {}

    def read(self, path):
        if path[0] == 5:
            methods = ["pull", "push", "both"]
            return {3: self.state, 5: self.result, 8: [0], 9: methods.index(self.told["method"])}[path[2]]
        return {0: "Simulated", 1: "aiocoap-meter", 2: "SN-7", 3: self.version, 9: 77}[path[2]]

    def site(self):
        site = Site()
        paths = [(5, 0, number) for number in (3, 5, 8, 9)] + [(3, 0, number) for number in (0, 1, 2, 3, 9)]
        kind = ObservableLeaf if self.told["observes"] == "yes" else Leaf
        self.leaves = {path: kind(self, path) for path in paths}
        for path, leaf in self.leaves.items():
            site.add_resource([str(number) for number in path], leaf)
        for path in [(3, 0), (5, 0)]:
            site.add_resource([str(number) for number in path], Instance(self, path))
        site.add_resource(["5", "0", "0"], Package(self))
        site.add_resource(["5", "0", "1"], Uri(self))
        site.add_resource(["5", "0", "2"], Update(self))
        return site

    def move(self, state, result):
        self.state, self.result = state, result
        say("state", state, "result", result)
        for number in (3, 5):
            self.leaves[(5, 0, number)].updated_state()

    async def boot(self):
        """A fresh port, and a registration."""
        self.context = await aiocoap.Context.create_server_context(self.site(), bind=("127.0.0.1", 0))
        told = self.told
        query = f"ep={told['name']}&lt={told['lifetime']}&lwm2m={told['lwm2m']}&b=U"
        register = Message(code=Code.POST, uri=f"{told['server']}/rd?{query}", content_format=LINKS)
        # Blanks and an object before its instance, as some clients write them.
        register.payload = b'</>;rt="oma.lwm2m", </1/0>, </3/0>,</5>,</5/0>'
        answer = await self.context.request(register).response
        say("registered" if answer.code == Code.CREATED else f"refused {answer.code}")
        self.location = "/".join(answer.opt.location_path)

    async def update(self, how=Code.POST):
        request = Message(code=how, uri=f"{self.told['server']}/{self.location}")
        answer = await self.context.request(request).response
        say(how.name.lower(), answer.code)
        return answer.code

    async def pull(self, uri):
        try:
            answer = await self.context.request(Message(code=Code.GET, uri=uri)).response
        except aiocoap.error.Error as error:
            say("pull", repr(error))
            self.move(IDLE, CONNECTION_LOST)
            return
        if answer.code != Code.CONTENT:
            say("pull", answer.code)
            self.move(IDLE, INVALID_URI)
            return
        say("pulled", len(answer.payload))
        self.check(answer.payload)

    def check(self, image):
        line, _, body = image.partition(b"\n")
        words = line.decode("ascii", "replace").split(" ")
        if len(words) != 2:
            self.move(IDLE, UNSUPPORTED)
        elif hashlib.sha256(body).hexdigest() != words[1]:
            self.move(IDLE, INTEGRITY)
        else:
            self.image = words[0]
            self.move(DOWNLOADED, NONE)

    async def install(self):
        # The answer to what started this leaves first.
        await asyncio.sleep(REBOOT_S)
        await self.context.shutdown()
        well = self.told["boots"] == "well"
        if well:
            self.version = self.image
        self.state, self.uri = IDLE, ""
        self.result = NONE if self.told["keeps"] == "nothing" else SUCCESS if well else FAILED
        say("reboot into", self.version)
        await self.boot()


async def main():
    device = Device(DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:]))
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await device.boot()
    while True:
        try:
            await asyncio.wait_for(ended.wait(), int(device.told["lifetime"]) / 2)
            break
        except asyncio.TimeoutError:
            if await device.update() == Code.NOT_FOUND:
                await device.boot()
    await device.update(Code.DELETE)
    await device.context.shutdown()


asyncio.run(main())
