"""A client for the framing Opaque, of the standard library alone.

Bosh("https://example.com/bytes", "example.com") is a stream. Call recv again and again: a
client that has no request with the server for longer than Inactivity is taken for dead.
A request whose answer got lost is sent again.
"""

import base64, queue, random, threading, time, urllib.request, xml.etree.ElementTree as xml
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException

class Bosh:
    def __init__(self, url, to):
        self.url, self.sid, self.over = url, "", False
        self.rid, self.lock = random.randrange(1 << 50), threading.Lock()
        self.answers, self.pool = queue.Queue(), ThreadPoolExecutor(2)  # two requests at a time
        self.post(f"to='{to}' ver='1.11' wait='60' hold='1'")
        self.first = self.answer()

    def send(self, data):  # may be called while another thread waits in recv
        self.post("", "<data xmlns='urn:bosh:opaque:0'>" + base64.b64encode(data).decode() + "</data>")

    def recv(self):  # waits for bytes; none are the end
        data, self.first = self.first, b""
        while not data and not self.over:
            if self.answers.empty():
                self.post()  # for the server to hold
            data = self.answer()
        return data

    def close(self):  # recv gives the rest
        self.post("type='terminate'")

    def post(self, attrs="", payload=""):
        with self.lock:
            self.rid += 1
            body = f"<body xmlns='http://jabber.org/protocol/httpbind' rid='{self.rid}' {self.sid} {attrs}>{payload}</body>"
            self.answers.put(self.pool.submit(self.exchange, body.encode()))

    def exchange(self, body):
        for attempt in range(10):
            time.sleep(attempt)
            try:
                with urllib.request.urlopen(self.url, body, timeout=75) as r:
                    return xml.fromstring(r.read())
            except (OSError, HTTPException):
                pass  # the server tells by the rid what it has had
        raise ConnectionError("no answer")

    def answer(self):  # in the order of the requests
        a = self.answers.get().result()
        self.sid, self.over = self.sid or f"sid='{a.get('sid')}'", a.get("type") == "terminate"
        if a.get("condition"):
            raise ConnectionError(a.get("condition"))
        return b"".join(base64.b64decode(d.text or "") for d in a.iter("{urn:bosh:opaque:0}data"))
