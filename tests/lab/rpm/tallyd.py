#!/usr/bin/python3
"""Answers every request with its page, and with a sum that only its library can make."""

import ctypes
import http.server
import pathlib

CONF = pathlib.Path("/etc/tally/tally.conf")
LIBRARY = ctypes.CDLL("/usr/lib64/libtally.so.1")
PAGE = pathlib.Path("/usr/share/tallyd/page.html")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        page = PAGE.read_bytes()
        body = page + b"sum %d\n" % LIBRARY.crc32(0, page, len(page))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


settings = dict(line.split(" = ") for line in CONF.read_text().splitlines() if " = " in line)
http.server.ThreadingHTTPServer(("", int(settings["port"])), Handler).serve_forever()
