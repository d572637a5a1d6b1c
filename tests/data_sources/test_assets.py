"""Fetched files: found by name, believed by sha256, never half-written, never replaced by something else."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from amd.config.schema.assets import Asset
from amd.data.assets import MissingAsset, locate, sha256

CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """An address that serves CONTENT at /good, half of it at /torn, and counts what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path not in ("/good", "/torn"):
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            return self.wfile.write(CONTENT if self.path == "/good" else CONTENT[: len(CONTENT) // 2])

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}", asked
    http.shutdown()
    http.server_close()


def test_the_mirror_comes_before_the_address(own_cache, tmp_path, server):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.pth").write_bytes(CONTENT)
    asset = Asset(file="a.pth", sha256=DIGEST, url=server[0] + "/good")
    assert locate(asset, tmp_path / "mirror") == tmp_path / "mirror" / "a.pth"
    assert server[1] == []


def test_a_download_is_kept_and_not_repeated(own_cache, server):
    asset = Asset(file="sub/a.pth", sha256=DIGEST, url=server[0] + "/good")
    first, second = locate(asset), locate(asset)
    assert first == second == own_cache / "sub" / "a.pth"
    assert first.read_bytes() == CONTENT
    assert server[1] == ["/good"]


def test_a_wrong_file_is_said_aloud_and_not_used(own_cache, tmp_path, server, capsys):
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "a.pth").write_bytes(b"something else")
    asset = Asset(file="a.pth", sha256=DIGEST, url=server[0] + "/good")
    assert locate(asset, tmp_path / "mirror").read_bytes() == CONTENT
    assert f"wanted {DIGEST}; not used" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/torn", "/gone"])
def test_what_does_not_arrive_whole_is_missing(own_cache, server, path):
    asset = Asset(file="a.pth", sha256=DIGEST, url=server[0] + path, license="MIT")
    with pytest.raises(MissingAsset, match=r"a\.pth \(sha256 .*MIT\) was not found\. Put it at .*mirror:"):
        locate(asset)
    assert not list(own_cache.glob("*.part"))


def test_without_an_address_the_error_names_file_and_place(own_cache, tmp_path):
    with pytest.raises(MissingAsset, match=rf"b\.pt .*no address.*Put it at {tmp_path}/mirror/b\.pt"):
        locate(Asset(file="b.pt"), tmp_path / "mirror")


def test_a_sha256_that_nobody_wrote_down_is_recorded_at_the_first_use_and_held_to(own_cache, tmp_path):
    file = tmp_path / "mirror" / "c.pt"
    file.parent.mkdir()
    file.write_bytes(CONTENT)
    asset = Asset(file="c.pt")
    assert locate(asset, file.parent) == file
    file.write_bytes(b"another one, later")
    with pytest.raises(MissingAsset, match=DIGEST):
        locate(asset, file.parent)


def test_a_changed_file_is_hashed_again(own_cache, tmp_path):
    file = tmp_path / "d"
    file.write_bytes(b"one")
    assert sha256(file) == hashlib.sha256(b"one").hexdigest()
    file.write_bytes(b"three")
    assert sha256(file) == hashlib.sha256(b"three").hexdigest()
