"""Groups of parameters, clipping and averages, by hand and against optimisers without them."""

import gin
import jax
import jax.numpy as jnp
import optax
import pytest
import tiny
from jax.sharding import PartitionSpec

from medmt5 import launch, optimizer_options, optimizers, partitioning
from medmt5.checkpoints import CheckpointConfig, Checkpoints
from medmt5.models.lora import PARAMETERS, LoraConfig
from medmt5.state import Architecture, flat_leaves, flat_params, parameter_of, split_trainable

PARAMS = {
    "encoder": {"w": jnp.array([1.0, 2.0]), "b": jnp.array([3.0])},
    "decoder": {"w": jnp.array([[4.0, 5.0], [6.0, 7.0]])},
}
GRADS = jax.tree.map(lambda x: x - 3.5, PARAMS)


def steps(optimizer, params, gradients, state=None):
    state = optimizer.init(params) if state is None else state
    for grads in gradients:
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def same(a, b):
    return tiny.digest(a) == tiny.digest(b)


def moved(optimizer):
    """By how much one step moves each parameter's first value."""
    params, _ = steps(optimizer, PARAMS, [GRADS])
    change = flat_params(jax.tree.map(jnp.subtract, params, PARAMS))
    return {name: float(leaf.ravel()[0]) for name, leaf in change.items()}


# Groups


def test_groups_step_as_separate_optimisers_on_the_parts_do():
    # Clipping inside one, a schedule, momentum and factored moments.
    ours = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(lambda step: 0.1 * (step + 1)))
    other = optimizers.adafactor(0.3, min_dim_size_to_factor=2, beta1=0.9)
    both = optimizer_options.grouped(ours, (("decoder/.*", other),))
    gradients = [GRADS, jax.tree.map(jnp.negative, GRADS), GRADS]
    params, state = steps(both, PARAMS, gradients)
    for optimizer, stack, own in (
        (ours, "encoder", state.default),
        (other, "decoder", *state.groups),
    ):
        part = [{stack: each[stack]} for each in (PARAMS, *gradients)]
        alone, alone_state = steps(optimizer, part[0], part[1:])
        assert same(alone, {stack: params[stack]})
        assert same(alone_state, own)  # no trace of the other's parameters either


def test_a_factor_multiplies_the_rate_and_the_first_pattern_that_matches_counts():
    optimizer = optimizer_options.grouped(
        optax.sgd(1.0), (("encoder/w", optax.sgd(3.0)), ("encoder/.*", 0.5), (".*/w", 0.25))
    )
    # The gradients' first values are 1 - 3.5, 3 - 3.5 and 4 - 3.5.
    assert moved(optimizer) == {"encoder/w": 7.5, "encoder/b": 0.25, "decoder/w": -0.125}
    # The state is the default's own: a factor can be changed while a run goes on.
    scaled = optimizer_options.grouped(optax.adam(0.1), (("decoder/.*", 0.1),))
    assert same(scaled.init(PARAMS).default, optax.adam(0.1).init(PARAMS))


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            (("encoder/w", 0.5), ("decoder/v", 0.5)),
            "'decoder/v' matches no .* near it are decoder/w",
        ),
        (((".*", 0.5), ("encoder/.*", optax.sgd(1.0))), "'encoder/.*' matches .* no group before"),
        (("encoder/.*", 0.5), r"groups have 'encoder/\.\*'; use pairs"),
        ((("encoder/.*", 0.0),), "factor above 0.* train.trainable freezes"),
        ((("encoder/.*", optax.sgd),), "use pairs"),
        ((("encoder/(", 0.5),), r"'encoder/\(' is no regular expression"),
        (((".*/w", optimizer_options.with_ema(optax.sgd(1.0), 0.9)),), "put it around"),
    ],
)
def test_a_group_that_does_nothing_or_is_none_is_named(groups, message):
    with pytest.raises(ValueError, match=message):
        optimizer_options.grouped(optax.sgd(1.0), groups).init(PARAMS)


# Clipping


def test_clipping_sees_the_gradients_of_all_groups_and_has_no_state():
    groups = (("decoder/.*", optax.sgd(2.0)),)
    optimizer = optimizer_options.with_options(optax.sgd(1.0), groups=groups, gradient_clip=0.25)
    # Gradients -2.5 -1.5 -0.5, 0.5 1.5 2.5 3.5: squares 6.25 + 2.25 + 0.25 + 0.25 + 2.25 + 6.25 +
    # 12.25 = 29.75.
    scale = 0.25 / 29.75**0.5
    expected = {"encoder/w": 2.5 * scale, "encoder/b": 0.5 * scale, "decoder/w": -1.0 * scale}
    assert moved(optimizer) == pytest.approx(expected, rel=1e-5)  # float32 differences from up to 4
    plain = optimizers.adafactor()
    clipped = optimizer_options.with_options(plain, gradient_clip=1.0)
    assert same(clipped.init(PARAMS), plain.init(PARAMS))
    with pytest.raises(ValueError, match="GRADIENT_CLIP is 0; use a norm above 0, or None"):
        optimizer_options.with_options(plain, gradient_clip=0)


# The average


def test_the_average_of_three_steps_worked_by_hand():
    optimizer = optax.chain(optimizer_options.with_ema(optax.sgd(1.0), 0.5))
    params = {"x": jnp.array([8.0])}
    state = optimizer.init(params)
    # Both are given up in a step.
    assert optimizer_options.ema_params(state)["x"] is not params["x"]
    seen = []
    for gradient in (1.0, 2.0, 4.0):  # 8 -> 7 -> 5 -> 1
        params, state = steps(optimizer, params, [{"x": jnp.array([gradient])}], state)
        seen.append(float(optimizer_options.ema_params(state)["x"][0]))
    assert params["x"] == 1.0
    # Weights 1; 1/2 1; 1/4 1/2 1, each divided by their sum; the initial 8 has none.
    expected = [7.0, (7 / 2 + 5) / 1.5, (7 / 4 + 5 / 2 + 1) / 1.75]
    assert seen == pytest.approx(expected, rel=1e-6)  # float32


def test_an_average_is_found_in_any_state_and_gradients_averages_are_none():
    inside = optax.chain(optax.clip(1.0), optimizer_options.with_ema(optax.adam(0.1), 0.9))
    assert same(optimizer_options.ema_params((inside.init(PARAMS),)), PARAMS)
    of_gradients = optax.chain(optax.ema(0.9), optax.adam(0.1))
    assert optimizer_options.ema_params(of_gradients.init(PARAMS)) is None


@pytest.mark.parametrize("decay", [0.0, 1.0, 1.5])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match=f"EMA_DECAY is {decay}; use a number between 0 and 1"):
        optimizer_options.with_ema(optax.sgd(1.0), decay)


# In a state: bytes, places, saving


def everything():
    """Every option; the decoder's matrices are factored, the encoder has Adam's two slots."""
    return optimizer_options.with_options(
        optax.adam(0.1),
        groups=(("encoder/layers_0/mlp/.*", 0.5), ("decoder/.*", FACTORED)),
        gradient_clip=1.0,
        ema_decay=0.9,
    )


FACTORED = optimizers.adafactor(0.1, min_dim_size_to_factor=1)


def test_only_what_trains_has_bytes_in_the_state():
    groups = ((".*/lora/b", optimizers.adafactor(0.1)),)
    optimizer = optimizer_options.with_options(optax.adam(0.1), groups=groups, ema_decay=0.9)
    architecture = Architecture.t5(tiny.config(lora=LoraConfig(rank=2, pattern="encoder/.*")))
    params, _ = split_trainable(architecture.shapes, PARAMETERS)
    sizes = {name: 4 * leaf.size for name, leaf in flat_params(params).items()}
    b = sum(size for name, size in sizes.items() if name.endswith("/b"))
    a = sum(sizes.values()) - b
    # Averages of both, two slots of Adam, one of Adafactor (too small to be factored), 3 counts.
    expected = (a + b) + 2 * a + b + 3 * 4
    state = jax.eval_shape(optimizer.init, params)
    assert sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) == expected


def test_on_eight_devices_slots_lie_where_parameters_do_and_a_run_goes_on_to_the_last_bit(tmp_path):
    optimizer = everything()
    mesh = partitioning.make_mesh(data=2, fsdp=2, model=2)
    run = tiny.Run(optimizer, mesh=mesh, trainable=".*/(mlp|pre_mlp_layer_norm)/.*")
    at = flat_params(run.shardings.params)
    slots = flat_leaves(run.state.opt_state)
    kinds = {"v_row": 0, "v_col": 0, "v": 0, "mu": 0, "nu": 0, "ema_params": 0}
    for path, leaf in slots.items():
        name = parameter_of(path, at)
        if name is None:
            assert path.endswith("count")
            continue
        kind = path.removesuffix(f"/{name}").split("/")[-1]
        kinds[kind] += 1
        if kind not in ("v_row", "v_col"):
            assert leaf.sharding == at[name], path
        elif name == "decoder/layers_0/mlp/wi_0/kernel":  # (embed, mlp) lies on (fsdp, model)
            assert leaf.sharding.spec == PartitionSpec({"v_row": "fsdp", "v_col": "model"}[kind])
    encoder = sum(not name.startswith("decoder/") for name in at)
    assert kinds["mu"] == kinds["nu"] == encoder and kinds["ema_params"] == len(at)
    assert kinds["v_row"] == kinds["v_col"] and kinds["v_row"] + kinds["v"] == len(at) - encoder

    def step(state):
        grads = jax.tree.map(lambda x: jnp.cos(9 * x) + state.step, state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state._replace(step=state.step + 1, params=params, opt_state=opt_state)

    step = jax.jit(step, out_shardings=run.shardings)
    state = step(step(run.state))
    saver = Checkpoints(str(tmp_path), CheckpointConfig())
    saver.save(2, state, {})
    saver.close()
    again = Checkpoints(str(tmp_path), CheckpointConfig())
    restored, _ = again.restore_latest(jax.eval_shape(lambda: run.state), run.shardings)
    again.close()
    assert same(restored, state)
    assert same(step(restored), step(state))


# The gin files


@pytest.fixture
def optimizer_of(tmp_path):
    """The optimiser that a gin file and bindings after it give."""

    def build(path, *lines):
        text = f"""
            from __gin__ import dynamic_registration
            import optax
            from medmt5 import optimizers
            from medmt5 import train as train_script
            include 'gin_configs/optimizers/{path}'
            train_script.train.optimizer = %OPTIMIZER
            train_script.train.total_steps = %TRAIN_STEPS
            TRAIN_STEPS = 1000"""
        file = tmp_path / "recipe.gin"
        file.write_text("\n".join([*map(str.strip, text.splitlines()), *lines]))
        launch.parse_gin([str(file)], [])
        return gin.query_parameter("OPTIMIZER/gin.macro.value").scoped_configurable_fn()

    yield build
    gin.clear_config()


def test_by_default_the_gin_files_give_what_they_did_before_they_had_options(optimizer_of):
    schedule = optimizers.create_learning_rate_scheduler("constant * rsqrt_decay", 1.0, 10_000)
    adafactor = optimizers.adafactor(schedule)
    rate = optimizers.warmup_cosine(0.1, warmup_steps=100, total_steps=1000)
    adamw = optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(rate, b2=0.98, weight_decay=0.01)
    )
    for expected, got in (
        (adafactor, optimizer_of("adafactor.gin")),
        (adamw, optimizer_of("adamw.gin", "LEARNING_RATE = 0.1")),
    ):
        a, b = (steps(optimizer, PARAMS, [GRADS] * 2) for optimizer in (expected, got))
        assert same(a, b)  # parameters, and the state with its names


def test_a_recipe_gives_groups_schedules_of_their_own_clips_and_averages(optimizer_of):
    optimizer = optimizer_of(
        "adafactor.gin",
        "PARAMETER_GROUPS = [('encoder/b', @slow/optimizers.adafactor()), ('decoder/.*', 0.5)]",
        "slow/optimizers.create_learning_rate_scheduler.base_learning_rate = 0.5",
        "slow/optimizers.create_learning_rate_scheduler.factors = 'constant'",
        "LEARNING_RATE_FACTORS = 'constant * rsqrt_decay'",
        "WARMUP_STEPS = 4",
        "optimizers.adafactor.multiply_by_parameter_scale = False",
        "GRADIENT_CLIP = 0.25",
        "EMA_DECAY = 0.5",
    )
    # The first step is each gradient's sign, whatever its size, times 1 / sqrt(4).
    expected = {"encoder/w": 0.5, "encoder/b": 0.5, "decoder/w": -0.25}
    assert moved(optimizer) == pytest.approx(expected, rel=1e-5)  # float32 differences from up to 4
    params, state = steps(optimizer, PARAMS, [GRADS])
    average = float(optimizer_options.ema_params(state)["encoder"]["b"][0])
    assert average == pytest.approx(float(params["encoder"]["b"][0]), rel=1e-6)  # float32
    # Clipping shows in the moments: the last of 29.75's squares, times (0.25 / sqrt(29.75))^2.
    moment = float(state.inner.default.v["decoder"]["w"][1, 1])
    assert moment == pytest.approx(12.25 * 0.0625 / 29.75, rel=1e-5)  # float32
    # Sixteen steps on, the others' rate has halved.
    far = [GRADS] * 16
    params, state = steps(optimizer, PARAMS, far)
    after, _ = steps(optimizer, params, [GRADS], state)
    change = flat_params(jax.tree.map(lambda a, b: abs(float((a - b).ravel()[0])), after, params))
    expected = {"encoder/w": 0.25, "encoder/b": 0.5, "decoder/w": 0.125}
    assert change == pytest.approx(expected, rel=1e-4)  # float32 differences from up to 8
