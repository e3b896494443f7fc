"""A registry, and what stands before one: TLS, and a wire with a round trip and a rate a connection."""

import asyncio
import contextlib
import pathlib
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Registry:
    """Debian's docker-registry on a folder of its own; `empty` gives it another."""

    def __init__(self, folder):
        self.folder, self.process, self.port = pathlib.Path(folder), None, free_port()

    def empty(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        config = self.folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder}/data, maxthreads: 100}}}}\n"
            f"http: {{addr: '127.0.0.1:{self.port}', secret: bench}}\n"
        )
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["docker-registry", "serve", config], **quiet)
        until = time.monotonic() + 20
        while not answers(f"http://127.0.0.1:{self.port}/v2/"):
            assert time.monotonic() < until, "docker-registry does not answer"
            time.sleep(0.02)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200
    except (OSError, urllib.error.URLError):
        return False


@contextlib.contextmanager
def wire(target, round_trip=0.0, rate=None, certificate=None):
    """Forwards connections to the port `target`: each byte half a round trip later, and so many bytes a second and
    connection. With a certificate it speaks TLS. Gives its port."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    port = free_port()

    async def serve():
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)

        async def accept(reader, writer):
            await asyncio.sleep(round_trip)  # the handshake
            there, back = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(pass_on(reader, back), pass_on(there, writer), return_exceptions=True)

        server = await asyncio.start_server(accept, "127.0.0.1", port, ssl=context, backlog=256, limit=MOST)
        started.set()
        await server.serve_forever()

    MOST = 1 << 20

    async def pass_on(reader, writer):
        """Reads ahead by what is on the wire, and writes each piece when it has arrived."""
        on_the_way, room = asyncio.Queue(), asyncio.Semaphore(64)

        async def deliver():
            while (item := await on_the_way.get()) is not None:
                due, piece = item
                await asyncio.sleep(max(0, due - loop.time()))
                writer.write(piece)
                await writer.drain()
                room.release()
            writer.close()

        delivering = loop.create_task(deliver())
        clear = loop.time()
        try:
            while piece := await reader.read(64 << 10):
                await room.acquire()
                clear = max(clear, loop.time()) + (len(piece) / rate if rate else 0)
                on_the_way.put_nowait((clear + round_trip / 2, piece))
        except OSError:
            pass
        on_the_way.put_nowait(None)
        await delivering

    def run():
        asyncio.set_event_loop(loop)
        with contextlib.suppress(RuntimeError, asyncio.CancelledError):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    started.wait()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


def certificate(folder):
    """A throw-away one for 127.0.0.1."""
    key, file = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", file]
    subprocess.run(command, check=True, capture_output=True)
    return file, key
