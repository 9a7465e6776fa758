"""The configuration tree: small models that reject unknown keys. Imports no runtime code.

Sources, strongest first: command line (`--trainer.learning-rate 0.003`), environment
(`LAMAS_TRAINER__LEARNING_RATE=0.003`), the YAML file of `--config`, the defaults here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from lamas_local.engine_config import EngineConfig, VllmEngineConfig
from lamas_local.section import Section


class ConfigError(ValueError):
    """What the user asked for cannot be; one sentence with what was given, what is allowed, and where."""


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)` where a known name is close to the given one, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


class ArithmeticTaskConfig(Section):
    """Generated short word problems: unlimited in number, train and test disjoint."""

    kind: Literal["arithmetic"] = "arithmetic"
    levels: tuple[Annotated[int, Field(ge=1, le=4)], ...] = Field(default=(1,), min_length=1)
    """Difficulty: 1 one-digit sums, 2 one-digit products, 3 two-digit sums and differences, 4 two steps."""


class SplitPaths(Section):
    """A file for each split."""

    train: Path
    """Rows to train on."""
    test: Path
    """Rows to evaluate on."""


class BenchmarkTaskConfig(Section):
    """A published benchmark, from the Hugging Face hub or from local files."""

    path: Path | SplitPaths | None = None
    """A local file, cut 1:4 into train and test by the seed, or `{train: FILE, test: FILE}`; the hub when absent."""


class Gsm8kTaskConfig(BenchmarkTaskConfig):
    """Grade-school word problems (Cobbe et al. 2021); `openai/gsm8k` on the hub."""

    kind: Literal["gsm8k"] = "gsm8k"


class MathTaskConfig(BenchmarkTaskConfig):
    """Competition mathematics (Hendrycks et al. 2021): MATH's training set, tested on `HuggingFaceH4/MATH-500`."""

    kind: Literal["math"] = "math"


class HumanEvalTaskConfig(BenchmarkTaskConfig):
    """Python functions from their docstrings (Chen et al. 2021); `openai/openai_humaneval`, cut 1:4 as MaAS does."""

    kind: Literal["humaneval"] = "humaneval"


class PythonTaskConfig(Section):
    """A task of your own."""

    kind: Literal["python"] = "python"
    target: str
    """Import path `my_pkg.tasks:Trivia`, the current folder included, or an entry point of `lamas_local.tasks`."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for it."""


TaskConfig = Annotated[
    ArithmeticTaskConfig | Gsm8kTaskConfig | MathTaskConfig | HumanEvalTaskConfig | PythonTaskConfig,
    Field(discriminator="kind"),
]


class AdmissionConfig(Section):
    """What may enter the engine, and when."""

    requests_per_s: PositiveFloat | None = None
    """Rate limit on new requests; none when absent."""
    max_in_flight: PositiveInt = 256
    """Most requests in the engine at once; more wait in order of arrival."""
    deadline_s: PositiveFloat = 600.0
    """A request older than this, admission wait included, is aborted and counted as failed."""


class ControllerConfig(Section):
    """The supernet controller (MaAS sec. 3, LAMaS sec. 3)."""

    num_layers: PositiveInt = 4
    """Most layers an architecture may have."""
    hidden_size: PositiveInt = 32
    """Width of the shared space of queries and operators."""
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.3
    """A layer's drawing stops when the drawn probabilities sum to this."""
    initial_scale: PositiveFloat = 1.0
    """Starting value of each layer's learned logit scale."""
    encoder: str = "all-minilm-l6-v2"
    """Sentence encoder: a hub id, a folder, or the packaged `all-minilm-l6-v2`."""


class SamplingConfig(Section):
    """How the language model samples."""

    temperature: PositiveFloat = 1.0
    """Above 0, so that parallel samples differ."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling mass."""
    max_tokens: PositiveInt = 512
    """Longest answer to one request, in tokens."""


class ExecutionConfig(Section):
    """How one architecture runs."""

    mode: Literal["sequential", "layered", "dataflow"] = "layered"
    """`sequential` as MaAS, `layered` as LAMaS, `dataflow`: each operator as soon as what it reads exists."""
    abort: bool = True
    """In `dataflow`: stop what still runs once the final vote's answer is certain, unless a `finaliser` operator is to
    read that answer's words."""


class SandboxConfig(Section):
    """Limits on each run of model-written Python."""

    isolation: Literal["strict", "best-effort"] = "best-effort"
    """`strict` refuses to start where bubblewrap is not at work; `best-effort` takes the strongest there is."""
    max_runs: PositiveInt = 4
    """Most runs at once; more wait in order of arrival. A check, which is two processes, is one run."""
    wall_s: PositiveFloat = 5.0
    """Seconds one run may take."""
    cpu_s: PositiveFloat = 5.0
    """CPU seconds one run may use, over all its processes where the platform can count them."""
    memory_mib: Annotated[int, Field(ge=64)] = 512
    """Address space of each process, and resident memory of all processes of a run together, in MiB."""
    num_processes: PositiveInt = 16
    """Processes and threads of one run."""
    file_mib: PositiveInt = 16
    """Largest file, and all files together where the platform can bound them, in MiB."""
    output_kib: PositiveInt = 64
    """Most output of a run, and most of its value, in KiB."""


class LatencyConfig(Section):
    """What the penalty calls latency."""

    signal: Literal["tokens", "measured", "calibrated"] = "measured"
    """`tokens`: the papers' proxy; `measured`: the trace's seconds under the load of the moment; `calibrated`: the
    seconds that a model fitted to this engine's requests predicts for `reference_load` (in the first step, to that
    step's own; `measured` where those are too few)."""
    reference_load: NonNegativeInt = 0
    """Other requests running beside the query's own in what `calibrated` predicts; 0 is the query alone."""
    tokens_per_second: PositiveFloat = 50.0
    """Turns tool seconds into proxy tokens and proxy tokens into proxy seconds."""


class ObjectiveConfig(Section):
    """Utility of a drawn operator: score - cost_weight * cost - latency_weight * L where the credit rule says so."""

    kind: Literal["penalty", "latency_budget", "score_floor"] = "penalty"
    """`penalty`: a fixed latency weight (the papers); `latency_budget`: the best score within `latency_budget_s`;
    `score_floor`: the fewest seconds at `score_floor_share` of a baseline's score. The last two move the weight."""
    latency_budget_s: PositiveFloat | None = None
    """Most seconds a query, by `latency.signal`; for kind `latency_budget`."""
    latency_budget_statistic: Literal["mean", "p95"] = "mean"
    """What of the queries' seconds may be at most the budget: their mean, or the 95th percentile."""
    score_floor_share: PositiveFloat | None = None
    """Least share of the baseline's score; for kind `score_floor`."""
    score_floor_baseline: float | str = "initial"
    """The baseline: its score, or a policy whose score is measured before the first step: `initial` (the untrained
    controller) or `fixed:A,B+C`."""
    score_floor_queries: PositiveInt = 64
    """Training queries on which the baseline's score is measured."""
    multiplier_rate: PositiveFloat = 0.07
    """What each step adds to the log-multiplier, per relative violation of the constraint."""
    multiplier_damping: NonNegativeFloat = 5.0
    """What is added to it for that step only, per relative violation, so that it neither overshoots nor swings."""
    multiplier_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Momentum of the running means of score and seconds that the violation is read from."""
    credit: Literal["none", "uniform", "critical_path", "slack", "to_go"] = "critical_path"
    """Who pays: nobody (MaAS), every operator, those on the critical path (LAMaS), those on it only what they add to
    their layer, or (`to_go`) everyone what it adds to its layer and all that comes after."""
    latency_weight: NonNegativeFloat = 0.005
    """Score lost per second of path length; the other kinds than `penalty` set it themselves."""
    cost_weight: NonNegativeFloat = 3.0
    """Score lost per USD."""
    usd_per_million_input_tokens: NonNegativeFloat = 0.15
    """gpt-4o-mini's price by default."""
    usd_per_million_output_tokens: NonNegativeFloat = 0.60
    """gpt-4o-mini's price by default."""

    @field_validator("score_floor_baseline", mode="before")
    @classmethod
    def _read_baseline(cls, given: Any) -> Any:
        """A score on the command line arrives as text."""
        if isinstance(given, str) and (given == "initial" or given.startswith("fixed:")):
            return given
        try:
            score = float(given)
        except (TypeError, ValueError):
            score = 0.0
        if not 0 < score < math.inf:
            raise ValueError(f"{given!r} is neither a score above 0 nor 'initial' nor a policy 'fixed:A+B'")
        return score

    @model_validator(mode="after")
    def _check_constraint(self) -> ObjectiveConfig:
        """One target, that of the kind, and somebody who pays for it."""
        needed = {"latency_budget": "latency_budget_s", "score_floor": "score_floor_share"}.get(self.kind)
        for name in ("latency_budget_s", "score_floor_share"):
            value = getattr(self, name)
            if name == needed and value is None:
                raise ValueError(f"kind {self.kind!r} needs {name}, which is not given")
            if name != needed and value is not None:
                raise ValueError(f"{name} is {value}, but kind {self.kind!r} has no use for it")
        if needed and self.credit == "none":
            raise ValueError(f"credit is 'none', so nobody would pay for the seconds that kind {self.kind!r} is about")
        return self


class ReuseConfig(Section):
    """Operator runs used again in training: what an operator made of a query stands for its run in any architecture."""

    steps_per_query: PositiveInt = 4
    """Steps that each query is trained on, in a row; then a new query takes its place. A later pass over the split runs
    everything anew."""
    runs_per_input: PositiveInt = 1
    """Independent runs of an operator on a query and on what it reads there, of which rollouts draw one."""
    max_runs: PositiveInt = 20_000
    """Runs kept; the least recently used go first, and are run again where they are drawn again."""


class TrainerConfig(Section):
    """How the controller learns."""

    num_steps: PositiveInt = 100
    """Batches of rollouts, and updates; a training split that ends starts over, and is sampled anew."""
    queries_per_step: PositiveInt = 4
    """Distinct queries in a batch."""
    rollouts_per_query: PositiveInt = 4
    """Architectures drawn per query in a batch."""
    learning_rate: PositiveFloat = 0.01
    """Adam's step size."""
    scale_learning_rate: PositiveFloat | None = None
    """Adam's step size for the logit scales; `learning_rate` when absent."""
    log_prob: Literal["exact", "independent"] = "exact"
    """`exact`: of the ordered draw without replacement; `independent`: the papers' sum of log p."""
    baseline: Literal["ema", "leave_one_out"] = "ema"
    """What utilities are compared with: their running mean (the papers), or first the query's other rollouts."""
    ema_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Momentum of the utility's running mean and standard deviation."""
    entropy_weight: NonNegativeFloat = 0.0
    """Of a drawn layer's entropy in nats, in the loss: keeps operators from dying out that training may want again."""
    max_grad_norm: PositiveFloat = 1.0
    """Gradient clipping."""
    reuse: ReuseConfig | None = None
    """Use operator runs again, with `latency.signal` `calibrated` or `tokens`; every run is live when absent."""
    checkpoint_every: PositiveInt = 5
    """Steps between checkpoints; the last step always has one."""
    keep_checkpoints: PositiveInt = 3
    """Newest checkpoints kept."""


class EvaluationConfig(Section):
    """Which policies are compared, on what."""

    policies: tuple[str, ...] = Field(default=("trained", "initial"), min_length=1)
    """`trained`, `initial`, `initial-sequential`, `maas`, `maas-parallel`, `lamas` (the run then trains the objectives
    of those papers too), or `fixed:A,B*5+C` (A and five times B together, then C)."""
    num_queries: PositiveInt = 100
    """Test queries, the same for every policy; at most as many as the test split has."""
    max_queries_in_flight: PositiveInt = 1
    """Queries running at the same time, over all policies."""


class Config(BaseSettings):
    """Everything a run needs; stored in the run folder as `config.yaml`."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        env_prefix="LAMAS_",
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    run_dir: Path = Path("runs/default")
    """Where results land."""
    seed: NonNegativeInt = 0
    """Seeds the data, the controller, the draws and the model's sampling."""
    operators: tuple[str, ...] = Field(
        default=("Generate", "GenerateCoT", "MultiGenerateCoT", "ScEnsemble", "SelfRefine", "EarlyStop"), min_length=1
    )
    """What the controller may draw: by name, or your own by import path `my_pkg.ops:Debate` or entry point."""
    task: TaskConfig = ArithmeticTaskConfig()
    engine: EngineConfig = VllmEngineConfig()
    admission: AdmissionConfig = AdmissionConfig()
    controller: ControllerConfig = ControllerConfig()
    sampling: SamplingConfig = SamplingConfig()
    execution: ExecutionConfig = ExecutionConfig()
    finaliser: tuple[str, ...] = ()
    """Operators that run one after another on the answer the vote leaves, such as `Programmer` (a program check) or
    `Test` (test, then improve); timed as a stage of their own, never credited. Fixed policies run without them."""
    sandbox: SandboxConfig = SandboxConfig()
    latency: LatencyConfig = LatencyConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    trainer: TrainerConfig = TrainerConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
