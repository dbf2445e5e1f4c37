"""A base in int8: its numbers by hand, what they do to a model, and the way in and out of files."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from flax import nnx

from medmt5 import restore, step
from medmt5.convert.source import open_source
from medmt5.models import quantized
from medmt5.models.layers import Dense
from medmt5.models.lora import PARAMETERS, LoraConfig
from medmt5.partitioning import make_mesh
from medmt5.restore import RestoreCheckpointConfig
from medmt5.state import Architecture, flat_params
from medmt5.step import Batch

pytest.importorskip("qwix")

ADAPTED = dict(trainable=PARAMETERS, lora=LoraConfig(rank=4), base_weights="int8")
SOURCE = jnp.array([[5, 6, 7, 1, 0], [8, 9, 4, 3, 1]])
TARGET = jnp.array([[20, 21, 1], [30, 1, 0]])
SHIFTED = jnp.array([[0, 20, 21], [0, 30, 1]])
BATCH = Batch(SOURCE, SHIFTED, TARGET, (TARGET > 0).astype(jnp.float32), None, None)


def as_floats(params):
    """By name, the parameters of a float32 model that computes the same."""
    flat = {name: np.asarray(leaf) for name, leaf in flat_params(params).items()}
    out = quantized.without_scales(flat)
    for name in flat.keys() - out.keys():
        matrix = name.removesuffix(quantized.SCALE)
        out[matrix] = quantized.dequantize(flat[matrix], flat[name])
    return out


@functools.cache
def model(**changes):
    """A float model, and an int8 one whose matrices are made of the very same numbers."""
    plain, held = (
        Architecture.t5(tiny.config(base_weights=base_weights, **changes))
        for base_weights in quantized.BASE_WEIGHTS
    )
    make = jax.jit(lambda: (plain.init(jax.random.key(0)), held.init(jax.random.key(0))))
    return (plain, held), make()


def logits(architecture, params):
    @jax.jit
    def run(params):
        model = architecture.merge(params)
        hidden = model.decode(model.encode(SOURCE), SOURCE, SHIFTED, TARGET)
        return model.logits(hidden), model.logits_of(hidden[:, 0], SOURCE)

    return run(params)


def test_a_matrix_by_hand():
    matrix = jnp.array([[127.0, 2.54, 0.0], [-64.0, 0.06, 0.0], [0.6, -0.02, 0.0]])
    values, scale = quantized.quantize(matrix, outputs=1)
    np.testing.assert_array_equal(values, [[127, 127, 0], [-64, 3, 0], [1, -1, 0]])
    np.testing.assert_allclose(scale[:, :2], [[1.0, 0.02]], rtol=1e-6)  # float32 quotients
    rows, scales = quantized.quantize(matrix.T, outputs=0)
    np.testing.assert_array_equal(rows, values.T)
    np.testing.assert_array_equal(scales, scale.T)


def test_a_matrix_is_off_by_half_a_scale_and_by_nothing_the_second_time():
    # Of all magnitudes, with tails: cubes of normal numbers.
    matrix = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32) ** 3
    values, scale = map(np.asarray, quantized.quantize(jnp.asarray(matrix), outputs=1))
    rounded = quantized.dequantize(values, scale)
    assert (np.abs(rounded - matrix) <= scale * 0.5001).all()  # the quotient is rounded too
    again, same_scale = quantized.quantize(jnp.asarray(rounded), outputs=1)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_allclose(same_scale, scale, rtol=3e-7)  # two roundings of float32


@pytest.mark.parametrize("changes", [{"scan_layers": True}, {"logits_via_embedding": True}])
def test_a_model_computes_what_its_matrices_stand_for(changes):
    (plain, held), (_, params) = model(**changes)
    floats = as_floats(params)
    assert floats.keys() == flat_params(plain.shapes).keys()
    leaves = [floats[name] for name in flat_params(plain.shapes)]
    same = jax.tree.unflatten(jax.tree.structure(plain.shapes), leaves)
    ours = logits(held, params)
    # Float32 sums of some 30 terms around 1, scaled before them or after.
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=5e-5),
        ours, logits(plain, same),
    )  # fmt: skip
    np.testing.assert_allclose(
        ours[1], jnp.take_along_axis(ours[0][:, 0], SOURCE, axis=1), rtol=1e-5, atol=1e-5
    )


def test_rounding_moves_logits_by_a_few_percent_at_most():
    (plain, held), (floats, params) = model(scan_layers=True)
    exact, ours = logits(plain, floats)[0], logits(held, params)[0]
    off = float(jnp.sqrt(jnp.mean((ours - exact) ** 2) / jnp.mean(exact**2)))
    # Rounding moves a number by scale / sqrt(12), and the largest of a column, 127 scales, is
    # about two of its standard deviations: 0.5 % per matrix. Some 12 lie in a row here.
    assert 0.002 < off < 0.005 * np.sqrt(12)


def test_matrices_take_a_quarter_of_their_memory():
    def size(**changes):
        sizes = dict(vocab_size=250_112, emb_dim=512, num_heads=6, head_dim=64, mlp_dim=1024)
        leaves = jax.tree.leaves(Architecture.t5(tiny.config(**sizes, **changes)).shapes)
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    # A scale for every 512 numbers or so: 4 bytes to 512.
    assert 0.25 < size(base_weights="int8") / size() < 0.25 * (1 + 4 / 512) + 0.0005


def test_the_backward_pass_keeps_no_converted_matrix():
    layer = nnx.Dict(m=Dense((7, 5), ("embed", "mlp"), init=nnx.initializers.normal(),
                             dtype=jnp.dtype("bfloat16"), rngs=nnx.Rngs(0)))  # fmt: skip

    def kept():
        """Shapes and types of what the gradient of its input needs."""
        _, pull = jax.vjp(layer["m"], jnp.ones((2, 3, 7), jnp.bfloat16))
        return {(leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(pull)}

    assert ((7, 5), "bfloat16") in kept()
    quantized.hold_in_int8(layer)
    assert {shape_type for shape_type in kept() if shape_type[0] == (7, 5)} == {((7, 5), "int8")}


def test_a_scan_stacks_matrices_in_int8():
    (_, held), (_, params) = model(scan_layers=True)
    steps = jax.make_jaxpr(lambda params: held.merge(params).encode(SOURCE))(params).eqns
    (scan,) = (step for step in steps if step.primitive.name == "scan")
    matrices = [each.aval for each in scan.invars if each.aval.shape in ((1, 16, 16), (1, 16, 32))]
    assert len(matrices) == 6  # query, key, value, out; wi_0, wi_1
    assert {matrix.dtype.name for matrix in matrices} == {"int8"}


@pytest.mark.slow
def test_adapters_learn_on_int8_what_they_learn_on_floats():
    def losses(base_weights):
        run = tiny.Run(
            optax.adam(0.02), trainable=PARAMETERS, lora=LoraConfig(".*/layers_.*", rank=4),
            base_weights=base_weights, scan_layers=True, remat_policy="minimal", dropout_rate=0.0,
        )  # fmt: skip
        step_ = step.jitted_train_step(run.architecture, optax.adam(0.02), shardings=run.shardings)
        state, out = run.state, []
        for _ in range(50):
            state, metrics = step_(state, BATCH)
            out.append(float(metrics["loss"]))
        return np.array(out)

    exact, rounded = losses("float32"), losses("int8")
    learnt = exact[0] - exact[-1]
    assert learnt > exact[0] / 3
    # The curves part by about as much as the logits do: 2.5 % of what is learnt, measured.
    assert np.abs(rounded - exact).max() < 0.05 * learnt


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A saved float model, a run on it in int8 over four devices, and its first state."""
    folder = tmp_path_factory.mktemp("base")
    base = tiny.Run()
    base.save(folder)
    run = tiny.Run(mesh=make_mesh(fsdp=2, model=2, devices=jax.devices()[:4]), seed=1, **ADAPTED)
    return base, run, run.start(folder, "params")


def test_a_checkpoint_of_floats_is_rounded_as_it_is_read(started):
    base, run, state = started
    assert tiny.digest(state.params) == tiny.digest(run.state.params)
    frozen, sharding = flat_params(state.frozen), flat_params(run.shardings.frozen)
    exact, close = flat_params(base.state.params), as_floats(state.frozen)
    assert exact.keys() == close.keys()
    for name, array in exact.items():
        scale = np.asarray(frozen.get(name + quantized.SCALE, 0.0))
        # Half a scale; of what is held as it was, nothing.
        assert (np.abs(close[name] - array) <= 0.5001 * scale).all(), name
    assert all(leaf.sharding == sharding[name] for name, leaf in frozen.items())


def test_a_run_on_int8_is_stored_and_read_again(started, tmp_path):
    _, run, _ = started
    run.save(tmp_path)
    source = open_source(str(tmp_path))
    floats, wo = as_floats(run.state.frozen), "encoder/layers_0/mlp/wo/kernel"
    assert floats.keys() == {name for name in source.params if "/lora/" not in name}
    np.testing.assert_array_equal(source.read(f"params/{wo}"), floats[wo])
    params = flat_params(restore.load_params(source, run.architecture))
    frozen = flat_params(run.state.frozen)
    assert params.keys() == frozen.keys() | flat_params(run.state.params).keys()
    for name in frozen:
        # The same int8; scales are made of products with them: two roundings of float32.
        np.testing.assert_allclose(params[name], frozen[name], rtol=3e-7, err_msg=name)


def test_what_is_int8_neither_trains_nor_grows(started, tmp_path):
    with pytest.raises(ValueError, match="decoder/.*/kernel, which is held in int8"):
        tiny.Run(base_weights="int8")
    base, run, _ = started
    base.save(tmp_path)
    grown = Architecture.t5(tiny.config(vocab_size=tiny.ROWS + 8, base_weights="int8")).shapes
    config = RestoreCheckpointConfig(str(tmp_path), "params", resize="token_embedder/embedding")
    with pytest.raises(ValueError, match=r"token_embedder/embedding is \(2048, 16\) there"):
        restore.plan(config, run.state._replace(params={}, frozen=grown), run.config)


def test_other_types_are_refused():
    with pytest.raises(ValueError, match="base_weights is 'int4'; use float32 or int8"):
        tiny.config(base_weights="int4")
