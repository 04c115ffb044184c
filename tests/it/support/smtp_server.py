"""A real SMTP server (aiosmtpd) with STARTTLS and AUTH, and the faults that lose mail.

usage: smtp_server.py CERT KEY USER PASSWORD [PORT]     (PASSWORD "" = no authentication)
Prints {"smtp": port, "control": port}; ends when its standard input does.
control: GET /messages (and how many connections came)   PUT /mode {"mode": ..., "times": n}   DELETE /messages
modes:   ok | drop (stored, connection cut before the 250) | 451 (refused, not stored) | hang (stored, never answered)
         late (stored, answered with 250 once the mode is another one)
         mute (no greeting: the connection hangs from the start)
"""
import asyncio
import http.server
import json
import os
import ssl
import sys
import threading

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

CERT, KEY, USER, PASSWORD = sys.argv[1:5]
PORT = int(sys.argv[5]) if len(sys.argv) > 5 else 0
MODES = ("ok", "drop", "451", "hang", "late", "mute")
messages = []
refused = []
state = {"mode": "ok", "times": 0}
counts = {"connections": 0}


def next_mode(*wanted):
    """The mode of this attempt, counted down; `times` 0 means until changed."""
    mode = state["mode"]
    if mode not in wanted:
        return "ok"
    if state["times"] > 0:
        state["times"] -= 1
        if state["times"] == 0:
            state["mode"] = "ok"
    return mode


class Handler:
    async def handle_DATA(self, server, session, envelope):
        mode = next_mode("drop", "451", "hang", "late")
        mail = {
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "raw": envelope.original_content.decode("utf-8", "surrogateescape"),
            "tls": session.ssl is not None,
            "authenticated": session.authenticated is True,
            "acknowledged": mode == "ok",
        }
        if mode == "451":
            refused.append(mail)
            return "451 4.3.0 try again later"
        messages.append(mail)
        if mode == "drop":
            server.transport.abort()
            await asyncio.sleep(3600)
        if mode == "hang":
            await asyncio.sleep(3600)
        while mode == "late" and state["mode"] == "late":
            await asyncio.sleep(0.005)
        mail["acknowledged"] = True
        return "250 2.0.0 stored"


class Server(SMTP):
    def connection_made(self, transport):
        # After STARTTLS it is called again for the same connection, which has greeted already.
        first = self.transport is None
        counts["connections"] += first
        if first and next_mode("mute") == "mute":
            self.muted = transport  # kept, so that it stays open
            return
        super().connection_made(transport)

    def data_received(self, data):
        if not hasattr(self, "muted"):
            super().data_received(data)

    def eof_received(self):
        return False if hasattr(self, "muted") else super().eof_received()

    def connection_lost(self, error):
        if not hasattr(self, "muted"):
            super().connection_lost(error)


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good)


class Control(http.server.BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(200, {"messages": messages, "refused": refused, **counts})

    def do_DELETE(self):
        messages.clear()
        refused.clear()
        self.answer(200, {})

    def do_PUT(self):
        new = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if new.get("mode") not in MODES:
            return self.answer(400, {"error": f"mode is one of {MODES}"})
        state.update(times=new.get("times", 0), mode=new["mode"])
        self.answer(200, state)

    def log_message(self, *_):
        pass


def end_with_parent():
    while sys.stdin.buffer.read(1):
        pass
    os._exit(0)


async def main():
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(CERT, KEY)
    auth = {"authenticator": authenticate, "auth_required": True} if PASSWORD else {}
    factory = lambda: Server(Handler(), hostname="localhost", tls_context=tls, require_starttls=True, **auth)
    smtp = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", PORT)
    control = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Control)
    threading.Thread(target=control.serve_forever, daemon=True).start()
    threading.Thread(target=end_with_parent, daemon=True).start()
    ports = {"smtp": smtp.sockets[0].getsockname()[1], "control": control.server_address[1]}
    print(json.dumps(ports), flush=True)
    await smtp.serve_forever()


asyncio.run(main())
