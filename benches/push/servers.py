"""A registry, and what stands before one: TLS, and a wire with a round trip and a rate a connection."""

import asyncio
import contextlib
import pathlib
import shutil
import socket
import subprocess
import threading
import time


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Registry:
    """Debian's docker-registry on a folder of its own; `empty` gives it another."""

    def __init__(self, folder, certificate=None):
        self.folder, self.process, self.port = pathlib.Path(folder), None, free_port()
        self.certificate = certificate

    def empty(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        config = self.folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.folder}/data, maxthreads: 100}}}}\n"
            f"http: {{addr: '127.0.0.1:{self.port}', secret: bench{self.tls()}}}\n"
        )
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(["docker-registry", "serve", config], **quiet)
        until = time.monotonic() + 20
        while not answers(self.port):
            assert time.monotonic() < until, "docker-registry does not answer"
            time.sleep(0.02)

    def tls(self):
        if not self.certificate:
            return ""
        file, key = self.certificate
        return f", tls: {{certificate: {file}, key: {key}}}"

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


@contextlib.contextmanager
def wire(target, round_trip=0.0, rate=None):
    """Forwards connections to the port `target`: each byte half a round trip later, and so many bytes a second and
    connection. Gives its port."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    port = free_port()

    async def serve():
        async def accept(reader, writer):
            await asyncio.sleep(round_trip)  # the handshake
            there, back = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(pass_on(reader, back), pass_on(there, writer), return_exceptions=True)

        server = await asyncio.start_server(accept, "127.0.0.1", port, backlog=256, limit=MOST)
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


def certificate(folder, host):
    """A throw-away one, which vouches for itself."""
    key, file, config = folder / "key.pem", folder / "certificate.pem", folder / "certificate.cnf"
    config.write_text(
        f"[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = server\n[name]\nCN = {host}\n"
        f"[server]\nbasicConstraints = critical,CA:FALSE\nsubjectAltName = DNS:{host},IP:127.0.0.1\n"
    )
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-config", config]
    subprocess.run([*command, "-keyout", key, "-out", file], check=True, capture_output=True)
    return file, key
