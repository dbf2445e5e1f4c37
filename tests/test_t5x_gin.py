import dataclasses
import importlib.util
import json
import logging
import os
import sys
from pathlib import Path

import gin
import pytest
import tiny

from medmt5 import batches, evaluate, launch, optimizers, train
from medmt5.formats import task
from medmt5.step import LossConfig
from medmt5.t5x_gin import modules, names, scripts, tables

ROOT = Path(launch.config_root())
COMPAT = ROOT / launch.T5X_FILES
SHIPPED = sorted(str(path.relative_to(COMPAT)) for path in COMPAT.rglob("*.gin"))
PEER = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "gin_configs/t5x").glob("*.gin"))

# All that T5X's public gin files set (t5x/configs/runs, t5x/examples), by module: configurable ->
# parameters. Carried over by hand, so that a name that is lost here is found.
PUBLIC = {
    "__main__": {
        "train": "model model_dir train_dataset_cfg train_eval_dataset_cfg infer_eval_dataset_cfg "
        "checkpoint_cfg partitioner trainer_cls total_steps eval_steps eval_period relative_steps "
        "stats_period random_seed use_hardware_rng summarize_config_fn inference_evaluator_cls "
        "actions run_eval_before_training train_eval_get_dataset_fn get_dataset_fn "
        "concurrent_metrics train_state_initializer_cls use_orbax verify_matching_vocabs_fn "
        "gc_period",
        "evaluate": "model dataset_cfg partitioner restore_checkpoint_cfg output_dir "
        "inference_evaluator_cls training_evaluator_cls fallback_init_rng use_orbax",
        "infer": "mode model output_dir dataset_cfg partitioner restore_checkpoint_cfg "
        "checkpoint_period shard_id num_shards merge_chunked_results write_fn checkpoint_ds_iter "
        "file_extension keep_aux_as_numpy use_orbax",
        "create_task_from_tfexample_file": "paths file_type inputs_key targets_key features",
        "precompile": "model model_dir train_dataset_cfg partitioner random_seed",
    },
    "t5x.export_lib": {
        "save": "model inference_mode restore_checkpoint_cfg exportable_module_cls partitioner "
        "create_preprocessor_fn create_inference_function_fn create_postprocessor_fn "
        "create_polymorphic_shapes_fn write_warmup_example_fn output_features output_dir "
        "task_feature_lengths model_name batch_size native_lowering mixture_or_task_name",
        "ExportableModule": "jit_compile use_batch_function",
        "create_inference_function": "output_len",
        "create_postprocessor": "output_feature_names",
        "create_preprocessor": "output_features task_feature_lengths",
        "create_preprocessor_from_task": "model task_feature_lengths task_name run_precache",
    },
    "t5x.utils": {
        "DatasetConfig": "mixture_or_task_name task_feature_lengths split batch_size shuffle seed "
        "use_cached pack use_custom_packing_ops module use_memory_cache trim_output_features "
        "runtime_preprocessors num_prefetch_threads num_workers",
        "CheckpointConfig": "save restore",
        "SaveCheckpointConfig": "period dtype keep save_dataset keep_dataset_checkpoints "
        "checkpoint_steps checkpointer_cls state_transformation_fns checkpoint_manager_cls",
        "RestoreCheckpointConfig": "path mode dtype checkpointer_cls assignment_map strict "
        "fallback_to_scratch restore_dataset state_transformation_fns checkpoint_manager_cls",
        "create_learning_rate_scheduler": "factors base_learning_rate warmup_steps decay_factor "
        "steps_per_decay steps_per_cycle step_offset min_learning_rate",
        "get_training_eval_datasets": "deterministic",
    },
    "t5x.trainer": {
        "Trainer": "num_microbatches learning_rate_fn weight_metrics_computer",
        "TerminateOnNanAction": "task",
        "EarlyStoppingAction": "metric mode patience atol rtol",
        "WeightMetricsComputer": "",
    },
    "t5x.partitioning": {
        "PjitPartitioner": "num_partitions model_parallel_submesh logical_axis_rules "
        "params_on_devices backend ici_mesh_shape dcn_mesh_shape",
        "standard_logical_axis_rules": "activation_partitioning_dims parameter_partitioning_dims "
        "additional_rules",
    },
    "t5x.adafactor": {
        "Adafactor": "decay_rate step_offset logical_factor_rules beta1 factored "
        "global_norm_clip_threshold multiply_by_parameter_scale clipping_threshold "
        "weight_decay_rate min_dim_size_to_factor epsilon1 epsilon2 dtype_momentum factor_map "
        "weight_decay_rate_lr_exponent max_parameter_scale skip_nan_updates learning_rate",
        "standard_logical_factor_rules": "",
    },
    "t5x.optimizers": {"chain": "transformations", "adamw": "learning_rate", "MultiOptimizer": ""},
    "t5x.models": {
        "EncoderDecoderModel": "module input_vocabulary output_vocabulary optimizer_def z_loss "
        "label_smoothing loss_normalizing_factor decode_fn feature_converter_cls "
        "default_decoder_params",
        "EncoderDecoderModel.predict_batch_with_aux": "num_decodes return_all_decodes "
        "prompt_with_targets",
        "DecoderOnlyModel": "module vocabulary optimizer_def decode_fn z_loss label_smoothing "
        "loss_normalizing_factor inputs_bidirectional_attention",
        "DecoderOnlyModel.predict_batch_with_aux": "num_decodes",
        "get_input_vocabulary": "model",
        "get_output_vocabulary": "model",
    },
    "t5x.decoding": {
        "temperature_sample": "temperature topk topp max_decode_steps rescale_log_probs",
        "beam_search": "alpha",
    },
    "t5x.examples.t5.network": {
        "Transformer": "config",
        "T5Config": "vocab_size dtype emb_dim num_heads num_encoder_layers num_decoder_layers "
        "head_dim mlp_dim mlp_activations dropout_rate logits_via_embedding "
        "float32_attention_logits",
    },
    "t5x.examples.scalable_t5.network": {
        "Transformer": "config",
        "T5Config": "vocab_size dtype emb_dim num_heads num_encoder_layers num_decoder_layers "
        "head_dim mlp_dim mlp_activations dropout_rate logits_via_embedding remat_policy "
        "scan_layers param_scan_axis",
    },
    "t5x.examples.decoder_only.network": {
        "DecoderWrapper": "config",
        "TransformerConfig": "vocab_size dtype emb_dim num_heads num_layers head_dim mlp_dim "
        "mlp_activations dropout_rate logits_via_embedding",
    },
    "t5x.contrib.moe.partitioning": {"MoePjitPartitioner": "num_expert_partitions"},
    "t5x.gin_utils": {
        "summarize_gin_config": "",
        "sum_fn": "var1 var2",
        "bool_fn": "var1",
        "string_split_fn": "text separator maxsplit index",
    },
    "t5x.checkpoints": {
        "Checkpointer": "",
        "SaveBestCheckpointer": "",
        "OrbaxCheckpointManagerInterface": "",
    },
    "seqio": {
        "SentencePieceVocabulary": "sentencepiece_model_file extra_ids",
        "ByteVocabulary": "",
        "Feature": "vocabulary",
        "Evaluator": "logger_cls num_examples use_memory_cache",
        "PyLoggingLogger": "",
        "TensorBoardLogger": "",
        "JSONLogger": "write_n_results",
    },
}
PUBLIC_MACROS = """MODEL_DIR MIXTURE_OR_TASK_NAME MIXTURE_OR_TASK_MODULE TASK_FEATURE_LENGTHS
TRAIN_STEPS TRAIN_STEPS_RELATIVE BATCH_SIZE USE_CACHED_TASKS SHUFFLE_TRAIN_EXAMPLES DROPOUT_RATE
INITIAL_CHECKPOINT_PATH CHECKPOINT_PATH EVAL_OUTPUT_DIR INFER_OUTPUT_DIR MODEL_OUTPUT_DIR MODEL_NAME
EVAL_STEPS EVAL_PERIOD EVALUATOR_USE_MEMORY_CACHE EVALUATOR_NUM_EXAMPLES JSON_WRITE_N_RESULTS
RANDOM_SEED USE_HARDWARE_RNG Z_LOSS LABEL_SMOOTHING LOSS_NORMALIZING_FACTOR VOCABULARY OPTIMIZER
MODEL TF_EXAMPLE_FILE_PATHS TF_EXAMPLE_FILE_TYPE FEATURE_LENGTHS OUTPUT_FEATURES BEAM_SIZE
ACTIVATION_DTYPE TRAIN_EVAL_MIXTURE_OR_TASK_NAME USE_CACHED_TASKS_TRAIN_EVAL VOCAB_SIZE
LEARNING_RATE NUM_EXPERTS NUM_MODEL_PARTITIONS MODEL_PARALLEL_SUBMESH NUM_EXPERT_PARTITIONS
EXPERT_DROPOUT_RATE""".split()

HEAD = "from __gin__ import dynamic_registration\n"


@pytest.fixture(autouse=True)
def clear():
    modules.say.cache_clear()
    yield
    gin.clear_config()


def parse(folder, text, *bindings, search_paths=()):
    path = folder / "file.gin"
    path.write_text(HEAD + text)
    launch.parse_gin([str(path)], bindings, search_paths)


def value(macro):
    return gin.query_parameter(f"{macro}/gin.macro.value").scoped_configurable_fn()


# Names


def every_parameter():
    for module, configurables in PUBLIC.items():
        for name, parameters in configurables.items():
            for parameter in parameters.split() or [""]:
                yield module, name, parameter


def is_refused(name):
    try:
        modules.refuse(name)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(("module", "name", "parameter"), list(every_parameter()))
def test_a_public_name_is_accepted_or_refused_with_our_equivalent(
    module, name, parameter, tmp_path
):
    use = f"m.{name}.{parameter} = @ours.DatasetConfig"  # a call may give what fits
    use = use if parameter else f"ours.DatasetConfig.pack = @m.{name}"
    text = f"import medmt5.batches as ours\nimport {module} as m\n{use}\n"
    if is_refused(f"{module}.{name}"):
        with pytest.raises(ValueError, match=f"{module}.* is T5X's, not ours: ..."):
            parse(tmp_path, text)
    else:
        parse(tmp_path, text)


@pytest.mark.parametrize("name", PUBLIC_MACROS)
def test_a_public_macro_that_nothing_reads_is_passed_over_or_refused(name, tmp_path, caplog):
    text = "import __main__ as train_script\ntrain_script.train.model_dir = 'a'\n"
    with caplog.at_level(logging.INFO, "medmt5"):
        if tables.MACROS[name]:
            with pytest.raises(ValueError, match=f"macro {name} is T5X's, not ours: ..."):
                parse(tmp_path, text, f"{name} = 3")
        else:
            parse(tmp_path, text, f"{name} = 3")
            assert f"nothing reads it: {name}" in caplog.text


def test_a_misspelt_macro_is_still_refused(tmp_path):
    text = "import __main__ as train_script\ntrain_script.train.model_dir = %MODEL_DIR\n"
    with pytest.raises(ValueError, match="MODEL_DIRR is set.*did you mean MODEL_DIR"):
        parse(tmp_path, text, "MODEL_DIR = 'a'", "MODEL_DIRR = 'a'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("from t5x import no_such_module", "t5x.no_such_module of T5X has no counterpart"),
        (
            "from t5x import utils\nX = @utils.Nothing",
            "utils.Nothing .* known are: .*DatasetConfig",
        ),
        ("from t5x import utils\nutils.DatasetConfig.bach_size = 3", "bach_size"),
        ("import t5.data.mixtures", "t5.data.mixtures registers .* pip install t5"),
        ("from t5x.contrib.moe import models", "mixtures of experts are not .*EncoderDecoderModel"),
        ("from t5x import checkpoints\nX = @checkpoints.SaveBestCheckpointer", "BEST_METRIC"),
    ],
)
def test_what_is_not_known_is_named(text, message, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "t5" else find(name, *rest)
    )
    with pytest.raises(ValueError, match=message):
        parse(tmp_path, text)


def every_rule():
    for owner, rules in tables.PARAMETERS.items():
        for parameter, rule in rules.items():
            yield owner, parameter, rule


@pytest.mark.parametrize(("owner", "parameter", "rule"), list(every_rule()))
def test_a_value_of_a_passed_over_or_refused_parameter_is_said(owner, parameter, rule, caplog):
    with caplog.at_level(logging.INFO, "medmt5"):
        if isinstance(rule, tables.Refused):
            with pytest.raises(ValueError, match=f"{owner}.{parameter} = 'odd' is T5X's, not ours"):
                modules.apply_rule(owner, parameter, rule, "odd")
        else:
            modules.apply_rule(owner, parameter, rule, "odd")
            said = f"{owner}.{parameter} = 'odd' is passed over: {rule.because}"
            assert (said in caplog.text) == (rule.silent is not tables.ANY)
        for fine in rule.accepted if isinstance(rule, tables.Refused) else ():
            modules.apply_rule(owner, parameter, rule, fine)


def test_a_table_has_only_names_that_stand_in_for_something():
    shown = {name for module in modules.MODULES.values() for name in vars(module)}
    assert set(tables.PARAMETERS) - {"scalable_config"} <= shown


def test_nothing_is_left_behind(tmp_path):
    before = sys.modules["__main__"], set(sys.modules)
    parse(
        tmp_path,
        "import __main__ as train_script\nfrom t5x import utils\nimport seqio\n"
        "train_script.train.model_dir = 'a'\nutils.DatasetConfig.split = 'train'\n",
    )
    assert (sys.modules["__main__"], set(sys.modules)) == before
    assert not any(name.split(".")[0] == "t5x" for name in sys.modules)
    assert not hasattr(gin.config, "__import__")


def test_a_name_that_an_earlier_file_took_from_elsewhere_is_no_conflict(tmp_path):
    parse(tmp_path, "from medmt5.models import t5 as network\nnetwork.T5Config.emb_dim = 8\n")
    text = "from t5x.examples.t5 import network\nnetwork.T5Config.emb_dim = 8\n"
    # A flag has no imports of its own: it means the one T5Config that this run knows.
    parse(tmp_path, text, "network.T5Config.emb_dim = 9")
    assert gin.query_parameter("network.T5Config.emb_dim") == 9


# Included files


@pytest.mark.parametrize("name", [name for name in SHIPPED if "/runs/" not in name])
def test_an_included_file_resolves_and_builds_without_t5x(name, tmp_path):
    include = f"include '{name}'\n"
    if "umt5" in name:
        include = f"include 't5x/examples/scalable_t5/mt5/base.gin'\n{include}"
    text = f"{include}gin.singleton.constructor = (%MODEL, %MODEL)\n"
    bindings = ["DROPOUT_RATE = 0.25"]
    if "architectures" in name:
        bindings.append("VOCAB_SIZE = 256384")
    if name.endswith("vocab.gin"):
        text = text.replace("%MODEL)", "%VOCAB_SIZE)")
    parse(tmp_path, text, *bindings)
    if "umt5" in name and "vocab.gin" not in name:
        model = value("MODEL")
        assert model.config.relative_bias_per_layer and model.scanned


@pytest.mark.parametrize("size", ["small", "base", "large", "xl", "xxl"])
def test_mt5_by_t5x_s_name_has_the_sizes_of_ours(size, tmp_path):
    def model_of(file):
        use = "from medmt5 import batches\nbatches.DatasetConfig.module = %MODEL\n"
        parse(tmp_path, f"include '{file}'\n{use}", "DROPOUT_RATE = 0.1")
        return value("MODEL")

    config = model_of(f"gin_configs/models/mt5/{size}.gin")
    model = model_of(f"t5x/examples/t5/mt5/{size}.gin")
    unlooped = dataclasses.replace(config, remat_policy="none", scan_layers=False)
    assert model.config == unlooped
    assert model.vocabulary == (task.MT5_VOCABULARY, None)
    assert model.loss == LossConfig(1e-4, 0.0, None)
    model = model_of(f"t5x/examples/scalable_t5/mt5/{size}.gin")
    assert model.config == dataclasses.replace(
        config, relative_bias_per_layer=True, remat_policy="minimal", scan_layers=True
    )


def test_a_user_s_own_copy_of_t5x_s_files_is_preferred(tmp_path):
    folder = tmp_path / "t5x/configs/runs"
    folder.mkdir(parents=True)
    (folder / "pretrain.gin").write_text(
        HEAD + "import __main__ as train_script\nBATCH_SIZE = 7\n"
        "train_script.train.total_steps = %BATCH_SIZE\n"
    )
    parse(tmp_path, "include 't5x/configs/runs/pretrain.gin'\n", search_paths=[str(tmp_path)])
    assert gin.query_parameter("BATCH_SIZE/gin.macro.value") == 7


def test_an_installed_t5x_is_not_imported_and_a_short_flag_finds_the_script(tmp_path, monkeypatch):
    (tmp_path / "t5x").mkdir()
    (tmp_path / "t5x/__init__.py").write_text("raise RuntimeError('the real T5X')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    launch.parse_gin(
        [t5x_file(tmp_path, "pretrain", TRAINING)],
        ["MODEL_DIR = 'a'", "TRAIN_STEPS = 2", "train.eval_period = 7"],
    )
    assert gin.query_parameter("train_script.train.eval_period") == 7


def test_a_missing_file_of_t5x_is_named_with_where_ours_are(tmp_path):
    with pytest.raises(ValueError, match=f"t5x/no.gin.*{launch.T5X_FILES}/.*gin_search_paths"):
        parse(tmp_path, "include 't5x/no.gin'\n")


# What the stand-ins build


def test_the_trainer_s_learning_rate_reaches_adafactor(tmp_path):
    import numpy as np

    params = {"a": np.ones((4, 4), np.float32)}
    grads = {"a": np.full((4, 4), 0.5, np.float32)}
    model = names.EncoderDecoderModel(
        (tiny.config(), False), *[FakeVocabulary()] * 2, names.Adafactor(decay_rate=0.7)
    )
    schedule = names.create_learning_rate_scheduler(factors="constant", base_learning_rate=0.03)
    theirs = scripts._optimizer(model, schedule)
    ours = optimizers.adafactor(0.03, decay_rate=0.7)
    updates = [o.update(grads, o.init(params), params)[0]["a"] for o in (theirs, ours)]
    np.testing.assert_array_equal(*updates)
    assert float(abs(updates[0]).max()) > 0


class FakeVocabulary:
    sentencepiece_model_file, extra_ids = tiny.VOCABULARY, 0


def test_an_optax_chain_keeps_its_own_learning_rate():
    import optax

    transformation = names.chain(transformations=[optax.clip(1.0), optax.adamw(1e-3)])
    model = names.EncoderDecoderModel(
        (tiny.config(), False), *[FakeVocabulary()] * 2, transformation
    )
    assert scripts._optimizer(model, None) is transformation
    assert modules.MODULES["t5x.optimizers"].adamw is optax.adamw


def test_num_partitions_is_the_model_axis_and_a_submesh_takes_precedence():
    shapes = [
        dict(names.PjitPartitioner(**arguments).shape)
        for arguments in (
            {"num_partitions": 1},
            {"num_partitions": 2},
            {"num_partitions": 1, "model_parallel_submesh": (1, 2, 1, 2)},
            {"num_partitions": 2, "logical_axis_rules": 2},
        )
    ]
    assert [tuple(shape.values()) for shape in shapes] == [
        (8, 1, 1), (4, 1, 2), (2, 1, 4), (1, 4, 2),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="edit partitioning.RULES"):
        names.PjitPartitioner(logical_axis_rules=(("embed", "data"),))


@pytest.mark.parametrize(
    ("pairs", "restore", "renamed"),
    [
        ([], "state", ()),
        ([(r"state.*", None)], "params", ()),
        ([(r"target/encoder/(.*)", r"target/enc/\1")], "state", ((r"encoder/(.*)", r"enc/\1"),)),
        ([(r".*/router/.*", None)], "state", ((r".*/router/.*", None),)),
    ],
)
def test_an_assignment_map_of_t5x_becomes_ours(pairs, restore, renamed):
    result = names.RestoreCheckpointConfig(path="a", assignment_map=pairs)
    assert (result.path, result.restore, result.assignment_map) == ("a", restore, renamed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "a", "mode": "all"}, "one checkpoint per run"),
        ({"path": ["a", "b"]}, "give one checkpoint"),
        ({"path": "a", "fallback_to_scratch": True}, "assignment_map = "),
        ({"path": "a", "assignment_map": [(r"state/param_states.*", None)]}, "together"),
        ({"path": "a", "assignment_map": [("encoder/x", "encoder/y")]}, "begin with 'target/'"),
    ],
)
def test_a_restore_that_is_not_ours_says_what_is(arguments, message):
    with pytest.raises(ValueError, match=message):
        names.RestoreCheckpointConfig(**arguments)


def test_no_path_is_no_checkpoint():
    assert [names.RestoreCheckpointConfig(path=path).path for path in (None, [], "")] == [None] * 3


def test_an_umt5_vocabulary_keeps_its_300_sentinels(tmp_path):
    text = "import seqio\nfrom medmt5 import batches\nV = @seqio.SentencePieceVocabulary()\n"
    text += f"seqio.SentencePieceVocabulary.sentencepiece_model_file = {tiny.VOCABULARY!r}\n"
    text += "seqio.SentencePieceVocabulary.extra_ids = 300\nbatches.DatasetConfig.module = %V\n"
    parse(tmp_path, text)
    assert names.file_of(value("V")) == (tiny.VOCABULARY, 300)
    with pytest.raises(ValueError, match="VOCABULARY is str; use @seqio.SentencePieceVocabulary"):
        names.file_of("a.model")


def test_no_seed_is_one_from_the_clock_and_is_said(caplog):
    with caplog.at_level(logging.INFO, "medmt5"):
        seed = scripts._seed(None)
    assert f"--gin.RANDOM_SEED={seed} repeats this run" in caplog.text
    assert scripts._seed(0) == 0
    made = names.DatasetConfig(mixture_or_task_name="a", task_feature_lengths=tiny.LENGTHS)
    assert made(7).seed == 7
    made = names.DatasetConfig(mixture_or_task_name="a", seed=3)
    assert made(7, lengths=tables.WHOLE).seed == 3
    with pytest.raises(ValueError, match="TASK_FEATURE_LENGTHS is None"):
        made(7)


# Runs


def t5x_file(folder, run="finetune", more=""):
    """A run file as a T5X user writes one."""
    path = folder / f"{run}.gin"
    path.write_text(
        f"""from __gin__ import dynamic_registration

import medmt5.tasks.sample
import seqio
import __main__ as train_script
from t5x import models
from t5x import utils
from t5x.examples.t5 import network

include 't5x/configs/runs/{run}.gin'
include 't5x/examples/t5/mt5/small.gin'

MIXTURE_OR_TASK_NAME = 'sample_clinical_en'
DROPOUT_RATE = 0.1
seqio.SentencePieceVocabulary.sentencepiece_model_file = {tiny.VOCABULARY!r}
network.T5Config:
  vocab_size = 2048
  dtype = 'float32'
  emb_dim = 16
  num_heads = 2
  num_encoder_layers = 1
  num_decoder_layers = 1
  head_dim = 8
  mlp_dim = 32
{more}"""
    )
    return str(path)


TRAINING = """TASK_FEATURE_LENGTHS = {'inputs': 32, 'targets': 48}
USE_CACHED_TASKS = False
BATCH_SIZE = 8
RANDOM_SEED = 3
LOSS_NORMALIZING_FACTOR = 'NUM_REAL_TARGET_TOKENS'
utils.SaveCheckpointConfig.period = 2
"""
FINETUNING = (
    TRAINING
    + """EVAL_STEPS = 1
EVAL_PERIOD = 100
EVALUATOR_NUM_EXAMPLES = 2
"""
)
OURS = """from __gin__ import dynamic_registration

import medmt5.tasks.sample
from medmt5 import train as train_script

include 'gin_configs/runs/finetune.gin'
include 'gin_configs/models/mt5/small.gin'
include 'gin_configs/optimizers/adafactor.gin'

MIXTURE_OR_TASK_NAME = 'sample_clinical_en'
TASK_FEATURE_LENGTHS = {'inputs': 32, 'targets': 48}
DROPOUT_RATE = 0.1
BATCH_SIZE = 8
RANDOM_SEED = 3
LOSS_NORMALIZING_FACTOR = 'NUM_REAL_TARGET_TOKENS'
CHECKPOINT_PERIOD = 2
EVAL_STEPS = 1
EVAL_PERIOD = 100
LEARNING_RATE_FACTORS = 'constant'
BASE_LEARNING_RATE = 0.001
train_script.train.eval_examples = 2
# As the network that T5X's file names; another program adds in another order.
SCAN_LAYERS = False
REMAT_POLICY = 'none'
"""
# The sizes of `t5x_file`.
SMALL = [
    f"network.T5Config.{name} = {value!r}"
    for name, value in tiny.config().to_json().items()
    if name
    in "vocab_size dtype emb_dim num_heads num_encoder_layers num_decoder_layers head_dim "
    "mlp_dim".split()
]


def run_file(file, *bindings, **macros):
    macros = [f"{name} = {value!r}" for name, value in macros.items()]
    return launch.run("train", files=[file], bindings=[*macros, *bindings])


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Two steps of pretraining by a file of T5X's kind: the folder, and the state."""
    folder = tmp_path_factory.mktemp("t5x")
    state = run_file(
        t5x_file(folder, "pretrain", TRAINING), MODEL_DIR=str(folder / "a"), TRAIN_STEPS=2
    )
    return folder, state


def test_a_pretraining_file_of_t5x_trains_and_saves(started):
    folder, state = started
    assert int(state.step) == 2
    assert (folder / "a/checkpoint_2/state").is_dir()
    card = json.loads((folder / "a/model.json").read_text())
    assert card["config"]["emb_dim"] == 16


@pytest.mark.slow
def test_a_finetuning_file_of_t5x_ends_with_bitwise_the_parameters_of_our_own(started, tmp_path):
    initial = str(started[0] / "a")
    macros = dict(INITIAL_CHECKPOINT_PATH=initial, TRAIN_STEPS=5)
    theirs = run_file(t5x_file(tmp_path, more=FINETUNING), MODEL_DIR=str(tmp_path / "b"), **macros)
    ours = tmp_path / "ours.gin"
    ours.write_text(OURS)
    ours = run_file(str(ours), *SMALL, MODEL_DIR=str(tmp_path / "c"), **macros)
    assert int(theirs.step) == int(ours.step) == 5
    assert tiny.digest(theirs) == tiny.digest(ours)
    assert tiny.digest(theirs.params) != tiny.digest(started[1].params)


def test_the_operative_configuration_of_a_run_repeats_it(started, tmp_path):
    config = started[0] / "a" / train.OPERATIVE_CONFIG
    text = config.read_text()
    assert "import __main__ as train_script" in text and "utils.DatasetConfig" in text
    again = run_file(str(config), MODEL_DIR=str(tmp_path / "again"))
    assert tiny.digest(again.params) == tiny.digest(started[1].params)


@pytest.mark.slow
def test_relative_steps_count_from_the_initial_checkpoint_also_after_a_restart(started, tmp_path):
    file = t5x_file(tmp_path, more=FINETUNING)
    macros = dict(MODEL_DIR=str(tmp_path / "b"), INITIAL_CHECKPOINT_PATH=str(started[0] / "a"))
    for _ in range(2):
        assert int(run_file(file, TRAIN_STEPS=1, TRAIN_STEPS_RELATIVE=1, **macros).step) == 3


def test_an_evaluation_file_of_t5x_gives_the_scores_of_our_own(started, tmp_path, capsys):
    path = str(started[0] / "a")
    limit = "seqio.Evaluator.num_examples = 3\nMODEL_DIR = 'unused'\n"
    file = t5x_file(tmp_path, "eval", limit)
    bindings = [f"CHECKPOINT_PATH = {path!r}", f"EVAL_OUTPUT_DIR = {str(tmp_path / 'x')!r}"]
    theirs = launch.run("eval", files=[file], bindings=bindings)
    ours = evaluate.evaluate(
        checkpoint_path=path,
        dataset_cfg=batches.DatasetConfig("sample_clinical_en", tables.WHOLE, "test"),
        output_dir=str(tmp_path / "y"),
        limit=3,
    )
    assert theirs == ours
    assert sorted(os.listdir(tmp_path / "x")) == sorted([*os.listdir(tmp_path / "y"), "config.gin"])
    capsys.readouterr()
    file = t5x_file(tmp_path, "infer")
    bindings = [f"CHECKPOINT_PATH = {path!r}", f"INFER_OUTPUT_DIR = {str(tmp_path / 'z')!r}"]
    bindings.append("TASK_FEATURE_LENGTHS = {'inputs': 64, 'targets': 64}")
    assert launch.run("eval", files=[file], bindings=bindings, dry_run=True) == {}


@pytest.mark.parametrize(
    ("bindings", "message"),
    [
        (["utils.RestoreCheckpointConfig.mode = 'all'"], "one checkpoint per run"),
        (["CHECKPOINT_PATH = None"], "CHECKPOINT_PATH names no checkpoint"),
        (["NUM_EXPERTS = 4"], "NUM_EXPERTS is T5X's, not ours: mixtures of experts"),
    ],
)
def test_an_evaluation_that_is_not_ours_says_what_is(bindings, message, tmp_path):
    text = "models.EncoderDecoderModel.predict_batch_with_aux.num_decodes = 1\n"
    file = t5x_file(tmp_path, "eval", text)
    values = ["CHECKPOINT_PATH = 'a'", "EVAL_OUTPUT_DIR = 'b'", *bindings]
    with pytest.raises(ValueError, match=message):
        launch.run("eval", files=[file], bindings=values)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            "train_script.train.model = @network.T5Config()\n",
            "MODEL is T5Config.*gin_configs/runs/",
        ),
        ("train_script.train.model = 3\n", "pretrain.gin:31: .* takes EncoderDecoderModel"),
        ("utils.DatasetConfig.runtime_preprocessors = [1]\n", "AirIO is not read here"),
        ("train/utils.DatasetConfig.task_feature_lengths = None\n", "TASK_FEATURE_LENGTHS is None"),
        ("train_script.train.actions = {'TRAIN': [3]}\n", "int is T5X's, not ours"),
        ("train_script.train.gc_perod = 3\n", "gc_perod"),
        ("utils.SaveCheckpointConfig.checkpoint_steps = [3]\n", "set period"),
    ],
)
def test_a_training_that_is_not_ours_says_what_is(more, message, tmp_path):
    file = t5x_file(tmp_path, "pretrain", TRAINING + more)
    with pytest.raises(ValueError, match=message):
        launch.run("train", files=[file], bindings=["MODEL_DIR = 'a'", "TRAIN_STEPS = 2"])


def test_what_cannot_matter_is_said_once_and_the_file_runs(tmp_path, caplog):
    more = TRAINING.replace("USE_CACHED_TASKS = False\n", "") + (
        "from t5x import trainer\nfrom t5x import partitioning\n"
        "models.EncoderDecoderModel.predict_batch_with_aux.num_decodes = 4\n"
        "partitioning.PjitPartitioner.backend = 'tpu'\n"
        "trainer.Trainer.num_microbatches = 0\n"
        "train_script.train.actions = {'TRAIN_EVAL': [@trainer.TerminateOnNanAction()]}\n"
        "trainer.TerminateOnNanAction.task = %MIXTURE_OR_TASK_NAME\n"
        "MIXTURE_OR_TASK_NAME = 'sample_text_en'\n"
        "TASK_FEATURE_LENGTHS = {'inputs': 64, 'targets': 64}\n"
        "utils.CheckpointConfig.save = None\n"
    )
    file = t5x_file(tmp_path, "pretrain", more)
    with caplog.at_level(logging.INFO, "medmt5"):
        bindings = ["MODEL_DIR = 'a'", "TRAIN_STEPS = 2"]
        assert launch.run("train", files=[file], bindings=bindings, dry_run=True) is None
    for said in (
        "utils.DatasetConfig.use_cached = True is passed over: tasks are read from their source",
        "partitioning.PjitPartitioner.backend = 'tpu' is passed over: set JAX_PLATFORMS",
        "TerminateOnNanAction(sample_text_en, loss) is passed over",
        "sample_text_en has no split 'validation': it is not evaluated",
        "a checkpoint is saved at the end alone",
    ):
        assert caplog.text.count(said) == 1, said


@pytest.mark.parametrize("run", ["finetuning_common", "pretraining_common"])
@pytest.mark.slow
def test_the_files_of_umt5_train_a_model_with_a_bias_per_layer(run, tmp_path):
    folder = "t5x/examples/scalable_t5"
    path = tmp_path / "umt5.gin"
    path.write_text(
        f"""from __gin__ import dynamic_registration
import medmt5.tasks.sample
import seqio
from t5x.examples.scalable_t5 import network
include '{folder}/mt5/base.gin'
include '{folder}/umt5/architectures/encoder_decoder.gin'
include '{folder}/umt5/runs/{run}.gin'
include '{folder}/umt5/optimizer/adafactor_momentum_nofactor.gin'
include '{folder}/umt5/vocab.gin'
MIXTURE_OR_TASK_NAME = 'sample_text_en'
TASK_FEATURE_LENGTHS = {{'inputs': 64, 'targets': 64}}
BATCH_SIZE = 8
VOCAB_SIZE = 2304
seqio.SentencePieceVocabulary.sentencepiece_model_file = {tiny.VOCABULARY!r}
seqio.SentencePieceVocabulary.extra_ids = 0
"""
    )
    own = {
        "finetuning_common": {"INITIAL_CHECKPOINT_PATH": None},
        "pretraining_common": {"TRAIN_EVAL_MIXTURE_OR_TASK_NAME": "sample_clinical_en"},
    }[run]
    values = own | {"MODEL_DIR": str(tmp_path / "a"), "TRAIN_STEPS": 1}
    sizes = [binding for binding in SMALL if "vocab_size" not in binding]
    assert int(run_file(str(path), *sizes, **values).step) == 1
    config = json.loads((tmp_path / "a/model.json").read_text())["config"]
    assert config["relative_bias_per_layer"] and config["vocab_size"] == 2304


def test_a_task_of_plain_seqio_has_to_have_the_model_s_vocabulary(tmp_path):
    import seqio

    other = tmp_path / "copy.model"
    other.write_bytes(Path(tiny.VOCABULARY).read_bytes())
    feature = seqio.Feature(seqio.SentencePieceVocabulary(str(other)))
    name = "plain_seqio_for_t5x_gin"
    if name not in seqio.TaskRegistry.names():
        seqio.TaskRegistry.add(
            name,
            seqio.FunctionDataSource(lambda split, shuffle_files, seed=None: None, ["train"]),
            output_features={"inputs": feature, "targets": feature},
        )
    model = names.EncoderDecoderModel((tiny.config(), False), *[FakeVocabulary()] * 2, None)
    config = tiny.dataset(name)
    assert scripts._vocabulary(model, config, check=True).path == tiny.VOCABULARY
    other.write_bytes(b"another")
    with pytest.raises(ValueError, match="makes ids with .*copy.model"):
        scripts._vocabulary(model, config, check=True)
    assert scripts._vocabulary(model, config, check=False).path == tiny.VOCABULARY
    assert scripts._vocabulary(model, tiny.dataset(), check=True) is None


def test_a_file_for_the_other_command_is_refused(tmp_path):
    file = t5x_file(tmp_path, "eval")
    with pytest.raises(ValueError, match="for `medmt5 eval`"):
        launch.run(
            "train", files=[file], bindings=["CHECKPOINT_PATH = 'a'", "EVAL_OUTPUT_DIR = 'b'"]
        )


@pytest.mark.parametrize("flag", sorted(tables.FLAGS))
def test_a_flag_of_t5x_s_programs_names_ours(flag, capsys):
    with pytest.raises(SystemExit):
        launch.main("train", [f"{flag}=3"])
    assert f"{flag} is T5X's, not ours: {tables.FLAGS[flag]}" in capsys.readouterr().err


@pytest.mark.parametrize("name", [name for name in PEER if "tiny" not in name])
def test_a_run_file_for_t5x_itself_also_runs_here(name, started, tmp_path):
    """Where the project's files for a real T5X are: they are files of a T5X user too."""
    sizes = "gin_configs/t5x/tiny.gin"
    command = "train" if "train" in name or "finetune" in name else "eval"
    text = (ROOT / name).read_text(encoding="utf-8") + (ROOT / sizes).read_text(encoding="utf-8")
    values = {
        "MODEL_DIR": "a",
        "INITIAL_CHECKPOINT_PATH": None,
        "CHECKPOINT_PATH": str(started[0] / "a"),
        "EVAL_OUTPUT_DIR": "b",
        "INFER_OUTPUT_DIR": "c",
    }
    needed = text.split("from __gin__")[0]
    bindings = [f"{key} = {values[key]!r}" for key in values if key in needed]
    files = [name, sizes] if sizes in PEER else [name]
    result = launch.run(command, files=files, bindings=bindings, dry_run=True)
    assert result == {"train": None, "eval": {}}[command]
