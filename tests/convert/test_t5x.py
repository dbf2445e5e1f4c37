"""T5X's layouts on checkpoints made here: what is read, what is written, what is refused."""

import gzip
import http.server
import json
import os
import pickle
import shutil
import threading
import urllib.parse

import numpy as np
import pytest
from flax import serialization

from medmt5.convert import arrays, own, t5x
from medmt5.convert.source import expected_shapes, open_source
from medmt5.models.t5 import T5Config

SIZES = dict(
    vocab_size=32,
    dtype="float32",
    emb_dim=8,
    num_heads=2,
    num_encoder_layers=2,
    num_decoder_layers=2,
    head_dim=4,
    mlp_dim=12,
    dropout_rate=0.0,
)
CONFIGS = {
    "mt5": T5Config(**SIZES),
    "umt5": T5Config(**SIZES, relative_bias_per_layer=True),
    "t5": T5Config(**SIZES, mlp_activations=("relu",), logits_via_embedding=True),
}


def numbers(config, seed=0):
    """Every array of a training state, by our names, with small random numbers."""
    rng = np.random.default_rng(seed)
    shapes = expected_shapes(config)
    out = {f"params/{name}": rng.normal(size=shape) for name, shape in shapes.items()}
    for key in sorted(t5x._needed_slots(config, config.relative_bias_per_layer)):
        _, slot, name = key.split("/", 2)
        kept = t5x.factored_axes(shapes[name], 0)
        at = {"v_row": 0, "v_col": 1}.get(slot)
        shape = shapes[name] if at is None else (shapes[name][kept[at]],)
        out[key] = rng.random(shape)
    out = {key: array.astype(np.float32) for key, array in out.items()}
    return out | {"step": np.int32(5), "opt_state/count": np.int32(5)}


def write(folder, config, arrays_=None, dtype=np.float32):
    arrays_ = numbers(config) if arrays_ is None else arrays_
    writer = t5x.Writer(str(folder), config, arrays_, dtype=dtype)
    for key, array in arrays_.items():
        writer.write(key, array)
    writer.close()
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    return write(tmp_path / "checkpoint_5", CONFIGS["mt5"])


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_state_comes_back_whole(kind, tmp_path):
    config = CONFIGS[kind]
    source = open_source(str(write(tmp_path / "c", config)))
    assert source.config == config and source.step == 5 and source.unused == []
    expected = numbers(config)
    assert source.arrays.keys() == expected.keys()
    for key, array in source.stream(source.arrays):
        np.testing.assert_array_equal(array, expected[key], key)
        np.testing.assert_array_equal(source.read(key), expected[key], key)


def test_stacked_kernels_lie_where_scalable_t5_has_them(tmp_path):
    config = CONFIGS["umt5"]
    given = numbers(config)
    stored = open_source(str(write(tmp_path / "c", config, given))).stored
    # T5X: (embed, layers, heads, kv), (heads, layers, kv, embed), (mlp, layers, embed), ...
    for name, shape in {
        "encoder/encoder/attention/query": (8, 2, 2, 4),
        "decoder/decoder/encoder_decoder_attention/out": (2, 2, 4, 8),
        "decoder/decoder/mlp/wi_0": (8, 2, 12),
        "encoder/encoder/mlp/wo": (12, 2, 8),
    }.items():
        assert stored[f"target/{name}/kernel"].shape == shape
    assert stored["target/encoder/encoder/relpos_bias/rel_embedding"].shape == (2, 2, 32)
    assert stored["target/encoder/encoder/pre_mlp_layer_norm/scale"].shape == (8, 2)
    whole = stored["target/encoder/encoder/attention/out/kernel"].read()
    ours = given["params/encoder/layers_1/attention/out/kernel"]
    # head 1, width 2 of the head -> row 6 of ours
    np.testing.assert_array_equal(whole[1, 1, 2], ours[6])
    # The slot over `embed` is T5X's v_row whatever is longer: wo is (12, 8), so ours is v_row too;
    # wi is (8, 12): ours keeps the shorter axis, embed, in v_row.
    slots = "state/param_states/encoder/encoder/mlp"
    assert stored[f"{slots}/wo/kernel/v_row"].shape == (2, 8)
    assert stored[f"{slots}/wi_0/kernel/v_row"].shape == (8, 2)
    np.testing.assert_array_equal(
        stored[f"{slots}/wo/kernel/v_row"].read()[1],
        given["opt_state/v_row/encoder/layers_1/mlp/wo/kernel"],
    )


def test_without_an_optimiser_t5x_gets_the_slots_of_a_fresh_one(tmp_path):
    given = {k: v for k, v in numbers(CONFIGS["mt5"]).items() if k.startswith("params/")}
    source = open_source(str(write(tmp_path / "c", CONFIGS["mt5"], given)))
    assert source.step == 0
    slots = [key for key in source.arrays if key.startswith("opt_state/v")]
    assert len(slots) == len(given)  # all unfactored at this size
    assert not any(source.read(key).any() for key in slots)
    index = serialization.msgpack_restore((tmp_path / "c" / "checkpoint").read_bytes())
    slots = index["optimizer"]["state"]["param_states"]["token_embedder"]["embedding"]
    assert sorted(slots) == ["m", "v", "v_col", "v_row"] and slots["m"].shape == (1,)


def test_a_step_alone_is_no_optimiser_state(checkpoint):
    edit(checkpoint, lambda _, tree: tree["optimizer"]["state"].pop("param_states"))
    source = open_source(str(checkpoint))
    assert source.slots == {} and source.step == 5


def test_the_vocabulary_above_a_checkpoint_is_found_however_its_path_ends(checkpoint, monkeypatch):
    (checkpoint.parent / "sentencepiece.model").write_bytes(b"x")
    monkeypatch.chdir(checkpoint)
    for path in (str(checkpoint), f"{checkpoint}/", "."):
        assert open_source(path).vocabulary == str(checkpoint.parent / "sentencepiece.model")


def test_another_optimisers_slots_are_left_behind_and_that_is_said(tmp_path, caplog):
    given = numbers(CONFIGS["mt5"])
    given["opt_state/v/0/extra"] = np.zeros(3, np.float32)
    source = open_source(str(write(tmp_path / "c", CONFIGS["mt5"], given)))
    assert "not those of T5X's Adafactor: left behind" in caplog.text
    assert not source.read("opt_state/v/token_embedder/embedding").any()


def test_bfloat16_on_disk_is_read_as_float32(tmp_path):
    import ml_dtypes

    given = numbers(CONFIGS["mt5"])
    write(tmp_path / "c", CONFIGS["mt5"], given, dtype=ml_dtypes.bfloat16)
    zarray = json.loads((tmp_path / "c/target.token_embedder.embedding/.zarray").read_text())
    assert zarray["dtype"] == "bfloat16"
    array = open_source(str(tmp_path / "c")).read("params/token_embedder/embedding")
    rounded = given["params/token_embedder/embedding"].astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(array, rounded.astype(np.float32))


def edit(checkpoint, change):
    """Rewrite the index after `change(target tree)`."""
    path = checkpoint / "checkpoint"
    tree = serialization.msgpack_restore(path.read_bytes())
    change(tree["optimizer"]["target"], tree)
    path.write_bytes(serialization.msgpack_serialize(tree))


@pytest.mark.parametrize("way", ["gfile", "another bucket", "path at top level"])
def test_other_spellings_of_where_an_array_is_are_read(checkpoint, way):
    def change(target, _):
        spec = target["token_embedder"]["embedding"]
        store = spec.pop("kvstore")
        if way == "gfile":
            spec["kvstore"] = store | {"driver": "gfile"}
        elif way == "another bucket":
            spec["kvstore"] = store | {"driver": "gcs", "bucket": "t5x-dummy-bucket"}
        else:
            spec["path"] = store["path"]

    edit(checkpoint, change)
    expected = numbers(CONFIGS["mt5"])["params/token_embedder/embedding"]
    array = open_source(str(checkpoint)).read("params/token_embedder/embedding")
    np.testing.assert_array_equal(array, expected)


def test_an_index_with_all_arrays_inside_is_read_also_zipped(checkpoint, tmp_path):
    source = open_source(str(checkpoint))
    tree = {k: array.read() for k, array in source.stored.items()}
    content = serialization.msgpack_serialize(
        {"version": 3, "optimizer": t5x.unflatten_dict(tree, sep="/")}
    )
    for name, data in {"plain": content, "zipped": gzip.compress(content)}.items():
        (tmp_path / name).write_bytes(data)
        again = open_source(str(tmp_path / name))
        assert again.arrays == source.arrays
        np.testing.assert_array_equal(
            again.read("params/decoder/decoder_norm/scale"),
            source.read("params/decoder/decoder_norm/scale"),
        )


def test_of_a_model_directory_the_newest_checkpoint_is_taken(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "checkpoint_12")
    assert open_source(str(tmp_path)).path == str(tmp_path / "checkpoint_12")


def test_arrays_without_a_place_in_the_model_are_reported(checkpoint):
    def change(target, _):
        target["adapter"] = {"kernel": np.zeros((3, 3), np.float32)}

    edit(checkpoint, change)
    assert open_source(str(checkpoint)).unused == ["target/adapter/kernel"]


# What is refused


def escape(path):
    def damage(checkpoint):
        def change(target, _):
            target["token_embedder"]["embedding"]["kvstore"]["path"] = path

        edit(checkpoint, change)

    return damage


def link_out(checkpoint):
    folder = checkpoint / "target.token_embedder.embedding"
    shutil.move(folder, checkpoint.parent / "outside")
    folder.symlink_to(checkpoint.parent / "outside")


def cut(name):
    def damage(checkpoint):
        path = checkpoint / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def flip(name):
    def damage(checkpoint):
        path = checkpoint / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(bytes(data))

    return damage


def overwrite(content):
    return lambda checkpoint: (checkpoint / "checkpoint").write_bytes(content)


def shape(checkpoint):
    path = checkpoint / "target.decoder.layers_0.mlp.wo.kernel" / ".zarray"
    given = json.loads(path.read_text())
    path.write_text(json.dumps(given | {"shape": [12, 9]}))


EMBEDDING = "target.token_embedder.embedding"


def chunks(sizes):
    def damage(checkpoint):
        path = checkpoint / EMBEDDING / ".zarray"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chunks": sizes}))

    return damage


def zip_bomb(checkpoint):
    (checkpoint / "checkpoint").write_bytes(gzip.compress(bytes(2**16)))


def wrong_type(checkpoint):
    edit(checkpoint, lambda t, _: t["decoder"]["decoder_norm"].update(scale=np.ones(8, np.int32)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (escape("../outside/"), "is '../outside/'; only paths within the checkpoint's own folder"),
        (escape("/etc/"), "only paths within the checkpoint's own folder"),
        (escape("a/../../b/"), "only paths within the checkpoint's own folder"),
        (escape(""), "only paths within the checkpoint's own folder"),
        (link_out, "leads out of the checkpoint's folder"),
        (cut("checkpoint"), "checkpoint is damaged or no msgpack"),
        (cut(f"{EMBEDDING}/.zarray"), f"array {EMBEDDING} cannot be read"),
        (cut(f"{EMBEDDING}/0.0"), f"array {EMBEDDING} cannot be read"),
        (flip(f"{EMBEDDING}/0.0"), f"array {EMBEDDING} cannot be read"),
        (lambda c: (c / EMBEDDING / "0.0").unlink(), f"array {EMBEDDING} cannot be read"),
        (lambda c: shutil.rmtree(c / EMBEDDING), f"array {EMBEDDING} cannot be read"),
        (shape, "array target.decoder.layers_0.mlp.wo.kernel cannot be read"),
        # These would end the process if they were tried.
        (chunks([2**40, 8]), f"{EMBEDDING} of shape .* has chunks of .*damaged"),
        (zip_bomb, "unpacks to more than 1,000 bytes"),
        (wrong_type, "decoder_norm/scale has type int32; float32, bfloat16, float16, float64 are"),
        (escape("a\0b/"), "only paths within the checkpoint's own folder"),
        (
            lambda c: edit(c, lambda t, tree: tree["optimizer"]["state"].update(step=np.int64(-1))),
            "step is -1.0; it is damaged",
        ),
        (overwrite(pickle.dumps({"a": 1})), "is a pickle, which would execute code"),
        (overwrite(b"PK\x03\x04rest"), "is a zip file"),
        (overwrite(b"model_checkpoint_path: 'x'"), "is of TensorFlow .* not of T5X"),
        (overwrite(b"\x1f\x8bnothing"), "is damaged"),
        (overwrite(serialization.msgpack_serialize({"a": 1})), "not version and optimizer"),
        (
            overwrite(serialization.msgpack_serialize({"version": 2, "optimizer": {"target": {}}})),
            "of T5X's version 2; version 3 is read",
        ),
        (
            lambda c: edit(c, lambda t, _: t["encoder"]["layers_1"]["mlp"].pop("wo")),
            "encoder/layers_1/mlp/wo/kernel is missing",
        ),
        (lambda c: edit(c, lambda t, _: t.pop("token_embedder")), "holds no T5 encoder-decoder"),
        (lambda c: edit(c, lambda t, tree: tree["optimizer"].pop("target")), "holds no parameters"),
        (
            lambda c: edit(
                c, lambda t, _: t["decoder"]["decoder_norm"].update(scale=np.ones(9, np.float32))
            ),
            r"decoder/decoder_norm/scale is \(9,\), not \(8,\)",
        ),
        (
            lambda c: edit(c, lambda t, _: t["token_embedder"]["embedding"].update(driver="n5")),
            "stored by 'n5'; zarr is read",
        ),
    ],
)
def test_what_is_damaged_or_leads_elsewhere_is_refused(checkpoint, damage, message, monkeypatch):
    damage(checkpoint)
    monkeypatch.setattr(t5x, "MAX_INDEX_BYTES", 1000)  # of a zipped one
    with pytest.raises(ValueError, match=message) as error:
        source = open_source(str(checkpoint))
        for _ in source.stream(source.arrays):
            assert source.step == 5
    assert str(checkpoint) in str(error.value)


def test_a_folder_of_something_else_says_what_it_has_and_what_is_accepted(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="a folder with notes.txt; give a model or checkpoint"):
        open_source(str(tmp_path))


# From a bucket: a server on this machine that answers as Google Cloud Storage does


class Bucket(http.server.BaseHTTPRequestHandler):
    root = ""

    def do_GET(self):
        parts = urllib.parse.urlsplit(self.path)
        _, _, name = parts.path.partition("/o/")
        path = os.path.join(self.root, urllib.parse.unquote(name))
        found = name and os.path.isfile(path)
        body = open(path, "rb").read() if found else b"{}"
        status, headers = (200 if found else 404), {}
        if found and (wanted := self.headers.get("Range")):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            stop = int(last) + 1 if last else len(body)
            headers["Content-Range"] = f"bytes {first}-{stop - 1}/{len(body)}"
            body, status = body[int(first) : stop], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-goog-generation", "1")
        for header in headers.items():
            self.send_header(*header)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def test_a_checkpoint_is_read_from_a_bucket(tmp_path, monkeypatch):
    write(tmp_path / "models" / "checkpoint_5", CONFIGS["mt5"])
    handler = type("Handler", (Bucket,), {"root": str(tmp_path)})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "none")
    try:
        assert t5x.recognises("gs://bucket/models/checkpoint_5")
        source = t5x.open_source("gs://bucket/models/checkpoint_5")
        for key, expected in numbers(CONFIGS["mt5"]).items():
            np.testing.assert_array_equal(source.read(key), expected, key)
        assert arrays.read_file("gs://bucket/models", "absent") is None
        # Orbax's layout: one database of arrays, read by ranges of bytes.
        given = numbers(CONFIGS["mt5"])
        writer = own.Writer(str(tmp_path / "own"), {k: v.shape for k, v in given.items()}, step=5)
        for key, array in given.items():
            writer.write(key, array)
        writer.close()
        stored = arrays.open_orbax("gs://bucket/own/checkpoint_5", whole="params/")
        for key, expected in given.items():
            np.testing.assert_array_equal(stored[key].read(), expected, key)
    finally:
        server.shutdown()


def test_a_large_array_is_read_chunk_by_chunk(tmp_path, monkeypatch):
    array = np.arange(7 * 5 * 3, dtype=np.float32).reshape(7, 5, 3)
    store = arrays.create_array(
        str(tmp_path), "a", array.shape, np.float32, ocdbt=False, chunks=(3, 2, 3)
    )
    arrays.write_array(store, array)
    monkeypatch.setattr(arrays, "BLOCK_BYTES", 16)
    np.testing.assert_array_equal(arrays.open_array(str(tmp_path), "a", ocdbt=False).read(), array)
