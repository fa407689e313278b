"""Weights: the manifest, downloads from a local server, hostile files, keys that do not fit."""

from __future__ import annotations

import hashlib
import http.server
import json
import logging
import os
import pickle
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
import yaml

import archs
from archs.vgg_arch import VGG19Features, rename_torchvision
from keyframes_gan import weights, weights_door
from keyframes_gan.errors import UserError, WeightsError

CONTENT = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT at any path; records the ranges asked for; breaks the first `breaks` answers half-way."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.breaks = 0
        self.knows_ranges = True
        self.content = CONTENT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.pth"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        content, start = self.server.content, 0
        if self.path.endswith("gone"):
            self.send_error(404)
            return
        if asked and self.server.knows_ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.server.breaks:
            self.server.breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty weights folder of its own, and no torch cache."""
    path = tmp_path / "pretrained_models"
    path.mkdir()
    monkeypatch.setattr(weights, "FOLDER", path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return path


def write_manifest(folder: Path, **change: object) -> None:
    row = {
        "file": "file.pth",
        "url": None,
        "sha256": SHA256,
        "arch": None,
        "kwargs": {},
        "param_key": None,
        "licence": "CC0",
        "provenance": "made here",
    }
    (folder / "manifest.yml").write_text(yaml.safe_dump({"thing": row | change}))


def test_the_shipped_manifest_is_sound() -> None:
    rows = weights.entries()
    assert {"keyframes_lite", "keyframes_gan_net_g_55000", "vgg19", "alexnet", "lpips_alexnet"} <= set(rows)
    for row in rows.values():
        assert not row.arch or row.arch in archs.ARCHS
        assert row.provenance
        assert row.licence
        in_name = re.search(r"-([0-9a-f]{8})\.pth$", row.file)
        assert in_name is None or row.sha256.startswith(in_name[1])


def test_a_download_is_checked_and_made_once(folder: Path, server: Server) -> None:
    write_manifest(folder, url=server.url)
    assert weights.locate("thing").read_bytes() == CONTENT
    assert weights.locate("thing") == folder / "file.pth"
    assert server.ranges == [None]
    assert sorted(path.name for path in folder.iterdir()) == ["file.pth", "manifest.yml"]


def test_the_first_digits_of_a_hash_are_enough(folder: Path, server: Server) -> None:
    write_manifest(folder, url=server.url, sha256=SHA256[:8])
    assert weights.locate("thing").read_bytes() == CONTENT


def test_a_broken_transfer_is_resumed(folder: Path, server: Server) -> None:
    server.breaks = 1
    write_manifest(folder, url=server.url)
    assert weights.locate("thing").read_bytes() == CONTENT
    assert server.ranges[0] is None
    assert server.ranges[1] is not None


def test_a_later_call_resumes_too(folder: Path, server: Server) -> None:
    (folder / "file.pth.part").write_bytes(CONTENT[:1000])
    write_manifest(folder, url=server.url)
    assert weights.locate("thing").read_bytes() == CONTENT
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("case", ["complete", "longer", "server without ranges"])
def test_odd_parts_end_well(folder: Path, server: Server, case: str) -> None:
    part = {"complete": CONTENT, "longer": CONTENT + b"x", "server without ranges": CONTENT[:10]}[case]
    server.knows_ranges = case != "server without ranges"
    (folder / "file.pth.part").write_bytes(part)
    write_manifest(folder, url=server.url)
    assert weights.locate("thing").read_bytes() == CONTENT


def test_without_a_hash_nothing_is_continued(folder: Path, server: Server) -> None:
    (folder / "file.pth.part").write_bytes(b"of unknown origin")
    write_manifest(folder, url=server.url, sha256=None)
    assert weights.locate("thing").read_bytes() == CONTENT
    assert server.ranges == [None]


def test_a_transfer_that_keeps_breaking_names_everything(folder: Path, server: Server) -> None:
    server.breaks = 99
    write_manifest(folder, url=server.url)
    with pytest.raises(WeightsError) as error:
        weights.locate("thing")
    for part in (server.url, str(folder / "file.pth"), "--weights"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert not (folder / "file.pth").exists()
    assert (folder / "file.pth.part").stat().st_size > 0


def test_another_file_than_promised_is_refused_and_dropped(folder: Path, server: Server) -> None:
    server.content = b"something else"
    write_manifest(folder, url=server.url)
    with pytest.raises(WeightsError, match="sha256"):
        weights.locate("thing")
    assert [path.name for path in folder.iterdir()] == ["manifest.yml"]


def test_not_found_and_no_server_are_one_line(folder: Path, server: Server) -> None:
    for url, word in ((f"{server.url}/gone", "404"), ("http://127.0.0.1:9/file.pth", "ConnectionError")):
        write_manifest(folder, url=url)
        with pytest.raises(WeightsError, match=word):
            weights.locate("thing")
        assert [path.name for path in folder.iterdir()] == ["manifest.yml"]


def test_two_processes_download_once(folder: Path, server: Server) -> None:
    write_manifest(folder, url=server.url)
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(weights.locate("thing"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [folder / "file.pth"] * 4
    assert len(server.ranges) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["file.pth", "manifest.yml"]


def test_an_altered_local_file_is_refused(folder: Path) -> None:
    write_manifest(folder)
    (folder / "file.pth").write_bytes(CONTENT[:-1])
    with pytest.raises(WeightsError, match="altered"):
        weights.locate("thing")


def test_torchs_cache_is_looked_into(folder: Path, tmp_path: Path) -> None:
    write_manifest(folder)
    cached = tmp_path / "torch" / "hub" / "checkpoints" / "file.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(CONTENT)
    assert weights.locate("thing") == cached


def test_without_network_the_message_says_what_to_do(folder: Path) -> None:
    write_manifest(folder, url="https://example.org/file.pth")
    with pytest.raises(WeightsError) as error:
        weights.locate("thing", allow_download=False)
    for part in ("https://example.org/file.pth", str(folder / "file.pth"), "video_inference.py --weights FILE"):
        assert part in str(error.value)


@pytest.mark.parametrize(("name", "word"), [("thnig", "thing"), ("no/such.pth", "nothing there"), (Path("thing"), "nothing there")])
def test_unknown_names_and_files(folder: Path, name: str | Path, word: str) -> None:
    write_manifest(folder)
    with pytest.raises(WeightsError, match=word):
        weights.locate(name)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"file": "../file.pth"}, "bare file name"),
        ({"sha256": "XYZ"}, "hexadecimal"),
        ({"kwargs": None}, "kwargs"),
        ({"extra": 1}, "expected the fields"),
    ],
)
def test_a_malformed_manifest_is_named(folder: Path, change: dict[str, object], word: str) -> None:
    write_manifest(folder, **change)
    with pytest.raises(WeightsError, match=word):
        weights.entries()


def test_a_manifest_that_is_no_yaml_or_missing(folder: Path) -> None:
    with pytest.raises(WeightsError, match="restore"):
        weights.entries()
    (folder / "manifest.yml").write_text("a: [")
    with pytest.raises(WeightsError, match="YAML"):
        weights.entries()


TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}


@pytest.mark.parametrize("wrapper", [None, "params", "params_ema", "state_dict", "G", "model"])
def test_a_state_is_found_in_its_wrapper(tmp_path: Path, wrapper: str | None) -> None:
    path = tmp_path / "x.pth"
    torch.save({wrapper: TENSORS} if wrapper else TENSORS, path)
    state = weights.load_state(path)
    assert set(state) == set(TENSORS)
    assert torch.equal(state["a.weight"], TENSORS["a.weight"])


def test_the_average_is_preferred_and_a_key_can_be_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"params": TENSORS, "params_ema": {"a": torch.ones(1)}}, path)
    assert set(weights.load_state(path)) == {"a"}
    assert set(weights.load_state(path, param_key="params")) == set(TENSORS)
    with pytest.raises(WeightsError, match="params, params_ema"):
        weights.load_state(path, param_key="other")


def test_safetensors_and_torchs_old_format_load(tmp_path: Path) -> None:
    new, old = tmp_path / "x.safetensors", tmp_path / "x.pth"
    safetensors.torch.save_file(TENSORS, new)
    torch.save(TENSORS, old, _use_new_zipfile_serialization=False)
    for path in (new, old):
        assert torch.equal(weights.load_state(path)["a.weight"], TENSORS["a.weight"])


def test_a_name_brings_its_param_key(folder: Path) -> None:
    torch.save({"params": TENSORS, "other": {"b": torch.ones(1)}}, folder / "file.pth")
    write_manifest(folder, sha256=None, param_key="other")
    assert set(weights.load_state("thing")) == {"b"}


class Hostile:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("plain", [False, True])
def test_a_hostile_pickle_runs_nothing(tmp_path: Path, plain: bool) -> None:
    path, mark = tmp_path / "x.pth", tmp_path / "ran"
    if plain:
        path.write_bytes(pickle.dumps({"params": Hostile(mark)}))
    else:
        torch.save({"params": Hostile(mark)}, path)
    with pytest.raises(WeightsError, match="expected a checkpoint") as error:
        weights.load_state(path)
    assert not mark.exists()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut off", b"\x80\x02", CONTENT])
@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
def test_files_that_are_no_checkpoints(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="expected a checkpoint") as error:
        weights.load_state(tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [[1, 2], {}, {"iter": 3}, {"params": {"a": 1.0}}])
def test_checkpoints_without_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="expected tensors by name"):
        weights.load_state(tmp_path / "x.pth")


def test_a_truncated_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(TENSORS, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="expected a checkpoint"):
        weights.load_state(path)


def test_weights_that_fit_are_copied() -> None:
    net = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 2)})
    weights.load_into(net, TENSORS, name="x")
    assert torch.equal(net.state_dict()["a.weight"], TENSORS["a.weight"])
    weights.load_into(net, {f"old.{key}": value + 1 for key, value in TENSORS.items()}, name="x", rename=lambda s: {k[4:]: s[k] for k in s})
    assert torch.equal(net.state_dict()["a.weight"], TENSORS["a.weight"] + 1)


def test_weights_that_do_not_fit_are_described_in_one_line() -> None:
    net = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 2), "b": torch.nn.Linear(5, 5)})
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(2)} | {f"c{i}": torch.zeros(1) for i in range(9)}
    with pytest.raises(WeightsError) as error:
        weights.load_into(net, state, name="mine.pth")
    for part in ("mine.pth", "2 missing: b.weight, b.bias", "9 extra: c0, c1, c2, ...", "1 misshapen: a.weight (3, 2) instead of (2, 3)"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_torchvisions_vgg19_goes_in(parity_dir: Path) -> None:
    shapes = {
        key: spec["shape"] for key, spec in yaml.safe_load((parity_dir / "manifests/vgg19_features.json").read_text())["tensors"].items()
    }
    state = {key: torch.zeros(shape) for key, shape in shapes.items()} | {"classifier.0.weight": torch.zeros(1)}
    net = VGG19Features(["conv5_4"], use_input_norm=False)
    weights.load_into(net, state, name="vgg19", rename=rename_torchvision)
    assert not any(parameter.any() for parameter in net.parameters())


def test_the_command_lists_verifies_and_fetches(folder: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(folder, url=server.url)
    assert weights_door.main(["list"]) == 0
    assert "thing: file.pth  CC0" in capsys.readouterr().out
    assert weights_door.main(["verify"]) == 0
    assert capsys.readouterr().out == "thing: absent\n"
    assert weights_door.main(["fetch", "thing"]) == 0
    assert weights_door.main(["verify", "thing"]) == 0
    assert capsys.readouterr().out.endswith("thing: ok\n")
    (folder / "file.pth").write_bytes(b"x")
    assert weights_door.main(["verify"]) == 1
    with pytest.raises(UserError, match=r"got 'thnig'; did you mean thing\? python -m keyframes_gan\.weights list shows them all$"):
        weights_door.main(["verify", "thnig"])


def test_an_unknown_hash_is_said(folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    (folder / "file.pth").write_bytes(CONTENT)
    write_manifest(folder, sha256=None)
    with caplog.at_level(logging.INFO):
        assert weights_door.main(["verify"]) == 0
    assert SHA256 in capsys.readouterr().out
    assert "no hash" in caplog.text


def test_the_module_is_a_command_and_leaves_torch_alone(repo_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "keyframes_gan.weights", "list", "nothing"], cwd=repo_root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: weights: expected")
    code = "import keyframes_gan.weights, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=repo_root, check=False).returncode == 0


@pytest.mark.parametrize(
    ("licence", "printed"), [("X License (non-commercial)", True), ("none stated by its authors", True), ("MIT", False)]
)
def test_a_licence_that_is_not_free_is_printed_when_first_fetched(
    folder: Path, server: Server, capsys: pytest.CaptureFixture[str], licence: str, printed: bool
) -> None:
    write_manifest(folder, url=server.url, licence=licence)
    for first in (True, False):
        weights.locate("thing")
        note = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
        assert note == ([f"note: thing: licence: {licence}. made here"] if printed and first else [])


def test_fetching_everything_leaves_out_what_is_not_free(folder: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(folder, url=server.url, licence="non-commercial")
    assert weights_door.main(["fetch"]) == 0
    assert "skipped: licence non-commercial" in capsys.readouterr().out
    assert server.ranges == []


def a_checkpoint(tmp_path: Path, **change: torch.Tensor) -> tuple[Path, dict[str, torch.Tensor]]:
    """A training's checkpoint of a small discriminator, with averaged weights beside the raw ones."""
    state = archs.build("MultiScaleDiscriminator", base_ch=4, num_layers=1, num_discriminators=1).state_dict() | change
    path = tmp_path / "net_g_latest.pth"
    torch.save({"params": {key: value + 1 for key, value in state.items()}, "params_ema": state}, path)
    return path, state


ADD = ["--arch", "MultiScaleDiscriminator", "--kwargs", "{base_ch: 4, num_layers: 1, num_discriminators: 1}"]


def test_added_weights_are_usable_by_name(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(folder)
    before = "# kept\n" + (folder / "manifest.yml").read_text()
    (folder / "manifest.yml").write_text(before)
    path, state = a_checkpoint(tmp_path)
    words = ["add", "mine", "--from", str(path), *ADD, "--licence", "CC0", "--provenance", "made: here, 'now'"]
    assert weights_door.main(words) == 0
    file = folder / "mine.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() in capsys.readouterr().out
    row = weights.entry("mine")
    assert (row.arch, row.licence, row.provenance, row.url) == ("MultiScaleDiscriminator", "CC0", "made: here, 'now'", None)
    network = archs.build(row.arch, **row.kwargs)
    weights.load_into(network, weights.load_state("mine"), name="mine")
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert (folder / "manifest.yml").read_text().startswith(before)
    assert sorted(each.name for each in folder.iterdir()) == ["manifest.yml", "mine.safetensors"]


def test_added_weights_can_be_read_by_whom_the_umask_says(folder: Path, tmp_path: Path) -> None:
    write_manifest(folder)
    path, _ = a_checkpoint(tmp_path)
    before = os.umask(0o027)
    try:
        weights_door.main(["add", "mine", "--from", str(path), *ADD, "--licence", "CC0"])
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "mine.safetensors").stat().st_mode) == 0o640


def test_added_weights_can_be_replaced_and_the_rest_of_the_row_stays(folder: Path, tmp_path: Path) -> None:
    write_manifest(folder)
    path, state = a_checkpoint(tmp_path)
    weights_door.main(["add", "mine", "--from", str(path), *ADD, "--licence", "CC0", "--provenance", "first"])
    rows = yaml.safe_load((folder / "manifest.yml").read_text())
    with (folder / "manifest.yml").open("a") as manifest:
        manifest.write("# about the last\n" + yaml.safe_dump({"last": rows["thing"]}))
    first = weights.entry("mine")
    torch.save({key: value * 2 for key, value in state.items()}, path)
    weights_door.main(["add", "mine", "--from", str(path), "--replace"])
    second = weights.entry("mine")
    assert second.sha256 != first.sha256
    assert (second.arch, second.kwargs, second.licence, second.provenance) == (first.arch, first.kwargs, first.licence, first.provenance)
    assert list(weights.entries()) == ["thing", "mine", "last"]
    assert "# about the last\nlast:" in (folder / "manifest.yml").read_text()


def test_networks_of_other_projects_are_recognised(folder: Path, tmp_path: Path) -> None:
    write_manifest(folder)
    convolution = {"weight": (4, 3, 3, 3), "bias": (4,)}
    state = {f"body.0.{key}": torch.zeros(shape) for key, shape in convolution.items()}
    state |= {"body.1.weight": torch.zeros(4), "body.2.weight": torch.zeros(4, 4, 3, 3), "body.2.bias": torch.zeros(4)}
    state |= {"body.3.weight": torch.zeros(4), "body.4.weight": torch.zeros(12, 4, 3, 3), "body.4.bias": torch.zeros(12)}
    torch.save(state, tmp_path / "small_x2.pth")
    weights_door.main(["add", "small_x2", "--from", str(tmp_path / "small_x2.pth"), "--licence", "CC0"])
    assert set(weights.load_state("small_x2")) == set(state)
    assert weights.entry("small_x2").provenance == "Added from small_x2.pth."


def test_add_names_a_file_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    write_manifest(folder)
    with pytest.raises(WeightsError, match=r"--from: expected a checkpoint, got .*no\.pth, which is no file$"):
        weights_door.main(["add", "mine", "--from", str(tmp_path / "no.pth"), "--licence", "CC0"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["thing", *ADD, "--licence", "CC0"], "--replace"),
        (["../x", *ADD, "--licence", "CC0"], "letters, digits"),
        (["mine", *ADD], "expected --licence"),
        (["mine", "--licence", "CC0"], "tensors of none"),
        (["mine", "--arch", "MultiScaleDiscriminator", "--licence", "CC0"], "missing"),
        (["mine", "--arch", "Nothing", "--licence", "CC0"], "--arch Nothing"),
        (["mine", "--arch", "MultiScaleDiscriminator", "--kwargs", "{x: 1}", "--licence", "CC0"], "--kwargs"),
        (["mine", "--arch", "MultiScaleDiscriminator", "--kwargs", "[1", "--licence", "CC0"], "--kwargs"),
        (["mine", "--arch", "MultiScaleDiscriminator", "--kwargs", "[" * 9999, "--licence", "CC0"], "more"),
        (["mine", "--arch", "MultiScaleDiscriminator", "--kwargs", "{base_ch: 9}", "--licence", "CC0"], "choose other weights"),
        (["mine", *ADD, "--licence", "CC0", "--param_key", "other"], "entry 'other'"),
    ],
)
def test_what_add_refuses_is_one_line_and_leaves_nothing(folder: Path, tmp_path: Path, words: list[str], message: str) -> None:
    write_manifest(folder)
    before = (folder / "manifest.yml").read_bytes()
    path, _ = a_checkpoint(tmp_path)
    with pytest.raises(WeightsError, match=re.escape(message)) as error:
        weights_door.main(["add", words[0], "--from", str(path), *words[1:]])
    assert "\n" not in str(error.value)
    assert [each.name for each in folder.iterdir()] == ["manifest.yml"]
    assert (folder / "manifest.yml").read_bytes() == before


def test_add_refuses_hostile_files_and_numbers_that_are_none(folder: Path, tmp_path: Path) -> None:
    write_manifest(folder)
    mark = tmp_path / "ran"
    torch.save({"params": Hostile(mark)}, tmp_path / "hostile.pth")
    with pytest.raises(WeightsError, match="expected a checkpoint"):
        weights_door.add("mine", tmp_path / "hostile.pth", licence="CC0")
    assert not mark.exists()
    _, state = a_checkpoint(tmp_path)
    key = next(key for key, value in state.items() if value.is_floating_point())
    path, _ = a_checkpoint(tmp_path, **{key: state[key] * float("nan")})
    with pytest.raises(WeightsError, match=rf"expected finite numbers.*{re.escape(key)}"):
        weights_door.main(["add", "mine", "--from", str(path), *ADD, "--licence", "CC0"])
    assert [each.name for each in folder.iterdir()] == ["manifest.yml"]


def test_what_training_wrote_says_what_network_it_is(folder: Path, tmp_path: Path) -> None:
    write_manifest(folder)
    kwargs = {"base_ch": 4, "num_layers": 1, "num_discriminators": 2}
    network, path = archs.build("MultiScaleDiscriminator", **kwargs), tmp_path / "net.safetensors"
    content = {key: value.contiguous() for key, value in network.state_dict().items()}
    safetensors.torch.save_file(content, path, {"arch": "MultiScaleDiscriminator", "kwargs": json.dumps(kwargs)})
    assert weights.kwargs_of(path, "MultiScaleDiscriminator") == kwargs
    assert weights.kwargs_of(str(path), "KEEP") == {}
    assert weights.kwargs_of(tmp_path / "none.pth", "KEEP") == {}
    assert weights.kwargs_of(tmp_path / "net.pth", "MultiScaleDiscriminator") == kwargs  # the other of the two
    weights_door.main(["add", "mine", "--from", str(path), "--licence", "CC0"])
    assert (weights.entry("mine").arch, weights.entry("mine").kwargs) == ("MultiScaleDiscriminator", kwargs)
    assert weights.kwargs_of("mine", "MultiScaleDiscriminator") == kwargs
    safetensors.torch.save_file(content, path, {"kwargs": "[]"})
    assert weights.metadata(path) == ("", {})
    path.write_bytes(b"no safetensors")
    with pytest.raises(WeightsError, match="expected a checkpoint"):
        weights.metadata(path)
