"""Our reader and writer against the library of that name, and against damaged files."""

import json

import ml_dtypes
import numpy as np
import pytest

from medmt5.convert import safetensors

DTYPES = [np.float32, np.float16, ml_dtypes.bfloat16]
RNG = np.random.default_rng(0)
TENSORS = {
    "b": RNG.normal(size=(5, 3)),
    "a": RNG.normal(size=(7,)),
    "c": RNG.normal(size=(2, 3, 4)),
}


def write(path, dtype=np.float32, tensors=TENSORS):
    writer = safetensors.Writer(str(path), {k: v.shape for k, v in tensors.items()}, dtype)
    for name, array in tensors.items():
        writer.write(name, array)
    return str(path)


def read(path):
    return {name: safetensors.read(t) for name, t in safetensors.read_header(str(path)).items()}


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_is_read_back_rounded_to_the_type(tmp_path, dtype):
    got = read(write(tmp_path / "x.safetensors", dtype))
    assert got.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(got[name], array.astype(dtype).astype(np.float32))
        assert got[name].dtype == np.float32


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_library_reads_what_we_write_and_we_what_it_writes(tmp_path, dtype):
    library = pytest.importorskip("safetensors.numpy")
    written = library.load_file(write(tmp_path / "ours.safetensors", dtype))
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(written[name], array.astype(dtype))
        assert written[name].dtype == dtype
    theirs = {name: np.ascontiguousarray(a.astype(dtype)) for name, a in TENSORS.items()}
    library.save_file(theirs, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    for name, array in read(tmp_path / "theirs.safetensors").items():
        np.testing.assert_array_equal(array, theirs[name].astype(np.float32))


def test_a_matrix_is_swapped_on_the_way_in_and_out_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr(safetensors, "_BLOCK_BYTES", 24)  # two rows of three at a time
    matrix = RNG.normal(size=(3, 5)).astype(np.float32)
    writer = safetensors.Writer(str(tmp_path / "x"), {"m": (5, 3)}, np.float32)
    writer.write("m", matrix, transpose=True)
    tensor = safetensors.read_header(str(tmp_path / "x"))["m"]
    np.testing.assert_array_equal(safetensors.read(tensor), matrix.T)
    np.testing.assert_array_equal(safetensors.read(tensor, transpose=True), matrix)


def corrupt_header(data, change):
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: b"", "truncated or no safetensors file: it has 0 bytes"),
        (lambda d: d[:5], "truncated or no safetensors file: it has 5 bytes"),
        (lambda d: d[:60], "truncated or no safetensors file"),
        (lambda d: d[:-1], "its header describes .* truncated or damaged; copy it again"),
        (lambda d: d + b"x", "its header describes"),
        (lambda d: b"\x80\x02" + d, "truncated or no safetensors file"),
        (lambda d: d[:8] + b"\xff" + d[9:], "damaged header"),
        (lambda d: corrupt_header(d, lambda h: h["b"].update(shape=[5, 4])), "do not hold float32"),
        (lambda d: corrupt_header(d, lambda h: h["b"].update(dtype="I64")), "b has type I64; F32"),
        (lambda d: corrupt_header(d, lambda h: h.pop("b")), "damaged header: c starts at"),
        (
            lambda d: corrupt_header(d, lambda h: h["b"].update(data_offsets=[-60, 0])),
            "damaged header",
        ),
        (lambda d: corrupt_header(d, lambda h: h.update(b=3)), "damaged header"),
    ],
)
def test_damage_is_refused_and_the_file_named(tmp_path, damage, message):
    path = tmp_path / "x.safetensors"
    write(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)


def test_every_flip_of_a_bit_of_the_header_is_noticed_or_harmless(tmp_path):
    path = tmp_path / "x.safetensors"
    write(path, tensors={"a": TENSORS["a"]})
    data = path.read_bytes()
    length = 8 + int.from_bytes(data[:8], "little")
    for bit in range(8 * length):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(damaged))
        try:
            got = read(path)
        except ValueError:
            continue
        # What still reads has another name or other metadata, or an unused byte changed.
        assert len(got) == 1 and next(iter(got.values())).shape in [(7,), (1, 7)]
