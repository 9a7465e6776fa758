from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lamas_local.config import ConfigError
from lamas_local.simulation.profile import FOLDER, dump_profile, load_profile

PACKAGED = sorted(Path(file.name).stem for file in FOLDER.iterdir() if file.name.endswith(".yaml"))


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_profiles_load_and_say_where_they_come_from(name: str, tmp_path: Path) -> None:
    profile = load_profile(name)
    assert len(profile.source) > 50
    file = tmp_path / "mine.yaml"
    file.write_text(dump_profile(profile), encoding="utf-8")
    assert load_profile(str(file)) == profile


def test_an_unknown_name_is_one_sentence_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"'cpu-2-core' is no .*did you mean 'cpu-2-cores'.*gpu-h100-8b"):
        load_profile("cpu-2-core")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (("cost", "step_s"), -1, "cost.step_s"),
        (("limits", "max_num_seqs"), 100_000, "at least max_num_seqs"),
        (("skill", "operators", "Generate", "accuracy"), {}, "accuracy"),
        (("skill", "operators", "Generate", "acuracy"), 1, "acuracy"),
    ],
)
def test_bad_figures_are_named(tmp_path: Path, key: tuple[str, ...], value: object, message: str) -> None:
    tree = yaml.safe_load(dump_profile(load_profile("cpu-2-cores")))
    place = tree
    for part in key[:-1]:
        place = place[part]
    place[key[-1]] = value
    file = tmp_path / "bad.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_profile(str(file))


def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match="not YAML"):
        load_profile(str(tmp_path / "bad.yaml"))
