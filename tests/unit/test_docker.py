"""What Docker is given: Compose's own check of its files, hadolint's of the Dockerfile, and what they must agree on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser
from layered_root import ignored
from packaging.specifiers import SpecifierSet

from chinwag.config import Config
from chinwag.reach import check_exposure

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
BASE, OVERRIDES = "compose.yaml", ("compose.gpu.yaml", "compose.postgres.yaml")
MERGED = [(BASE, *chosen) for count in range(3) for chosen in combinations(OVERRIDES, count)]
PYTHON_OF = {"bookworm": "3.11", "trixie": "3.13"}


def tool(name: str) -> str:
    """A program of the dev dependencies, beside this Python."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, f"{name} is not in the environment: run make setup-dev"
    return found


def composed(*files: str, **variables: str) -> subprocess.CompletedProcess[str]:
    named = [word for file in files for word in ("--file", file)]
    command = [tool("docker-compose"), *named, "--env-file", os.devnull, "--profile", "*", "config", "--format", "json"]
    return subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "POSTGRES_PASSWORD": "a-password", **variables},
    )


def services(*files: str, **variables: str) -> dict[str, Any]:
    ran = composed(*files, **variables)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)["services"]
    return found


def dockerfile() -> list[tuple[str, str]]:
    parser = DockerfileParser(str(ROOT / "Dockerfile"), env_replace=False)
    return [(step["instruction"], step["value"]) for step in parser.structure]


def steps(target: str) -> list[tuple[str, str]]:
    """Those of a stage and of what it is built on, in order."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, value in dockerfile():
        if word == "FROM":
            base, _, name = value.partition(" AS ")
            found[name] = [*found.get(base, ())]
        elif name:
            found[name].append((word, value))
    return found[target]


def variables(target: str) -> dict[str, str]:
    pairs = [pair.split("=", 1) for word, value in steps(target) if word == "ENV" for pair in value.split()]
    return dict(pairs)


TARGETS = ("cpu", "full", "cuda")


def test_hadolint_finds_nothing() -> None:
    ran = subprocess.run([tool("hadolint"), "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /x\n")
    assert subprocess.run([tool("hadolint"), tmp_path / "Dockerfile"], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("files", MERGED)
def test_compose_takes_the_files_together(files: tuple[str, ...]) -> None:
    chinwag = services(*files)["chinwag"]
    assert chinwag["build"]["target"] in TARGETS
    assert chinwag["image"] == f"chinwag:{chinwag['build']['target']}"


def test_compose_would_refuse_a_key_that_it_does_not_know(tmp_path: Path) -> None:
    text = (ROOT / BASE).read_text("utf-8").replace("stop_grace_period", "stop_grace_perid")
    (tmp_path / "compose.yaml").write_text(text, "utf-8")
    ran = composed(str(tmp_path / "compose.yaml"))
    assert ran.returncode != 0
    assert "stop_grace_perid" in ran.stderr


def test_nothing_is_published_to_other_machines_unasked() -> None:
    for service in services(BASE, *OVERRIDES).values():
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", ()))
    asked = services(BASE, CHINWAG_PUBLISH="0.0.0.0:9000")["chinwag"]["ports"][0]
    assert (asked["host_ip"], asked["published"], asked["target"]) == ("0.0.0.0", "9000", 8000)


def test_prometheus_is_given_the_key_that_the_server_is_given() -> None:
    ran = composed(BASE, CHINWAG_SERVER__METRICS_KEY="a-key-of-some-length")
    config = json.loads(ran.stdout)
    assert [one["source"] for one in config["services"]["prometheus"]["secrets"]] == ["chinwag_metrics_key"]
    assert config["secrets"]["chinwag_metrics_key"]["environment"] == "CHINWAG_SERVER__METRICS_KEY"


def test_the_database_wants_a_password_and_tells_how_to_make_one() -> None:
    ran = composed(BASE, "compose.postgres.yaml", POSTGRES_PASSWORD="")
    assert ran.returncode != 0
    assert "openssl rand -hex 24" in ran.stderr


def test_on_a_gpu_both_are_given_it_and_the_image_that_can_use_it() -> None:
    found = services(BASE, "compose.postgres.yaml", "compose.gpu.yaml")
    for name in ("chinwag", "ollama"):
        devices = found[name]["deploy"]["resources"]["reservations"]["devices"]
        assert devices == [{"capabilities": ["gpu"], "driver": "nvidia", "count": -1}]
    assert found["chinwag"]["build"]["target"] == "cuda"
    assert found["chinwag"]["environment"]["CHINWAG_LLM__MODEL"] == found["ollama-model"]["environment"]["MODEL"]
    assert variables("cuda")["CHINWAG_PRESET"] == "gpu"


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_for_nobody_in_particular_and_takes_signals(target: str) -> None:
    users = [value for word, value in steps(target) if word == "USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", users[-1])
    assert f"--uid {users[-1].split(':')[0]} " in dict(steps(target))["RUN"] + "".join(v for _, v in steps(target))
    told = dict(steps(target))
    assert json.loads(told["ENTRYPOINT"]) == ["chinwag"]
    assert json.loads(told["CMD"]) == ["serve"]
    assert "/healthz" in told["HEALTHCHECK"]
    assert json.loads(told["HEALTHCHECK"].partition("CMD ")[2])


def test_the_small_image_is_what_is_built_where_no_target_is_named() -> None:
    assert [value for word, value in dockerfile() if word == "FROM"][-1].endswith(" AS cpu")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_starts_with_settings_that_chinwag_knows(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    chinwag = services(BASE)["chinwag"]["environment"]
    for name, value in {**variables(target), **chinwag}.items():
        if name.startswith("CHINWAG_") and name != "CHINWAG_PRESET":
            monkeypatch.setenv(name, value)
    config = Config()
    assert (config.server.host, config.server.auth) == ("0.0.0.0", "code")
    assert config.server.requires_key
    check_exposure(config.server)


def test_ports_and_volumes_are_the_same_everywhere() -> None:
    told, chinwag = dict(steps("cpu")), services(BASE)["chinwag"]
    assert told["EXPOSE"] == variables("cpu")["CHINWAG_SERVER__PORT"] == str(chinwag["ports"][0]["target"])
    mounted = sorted(volume["target"] for volume in chinwag["volumes"])
    assert (
        mounted
        == sorted(json.loads(told["VOLUME"]))
        == sorted(variables("cpu")[name] for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"))
    )
    scraped = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text("utf-8")
    assert f'"chinwag:{told["EXPOSE"]}"' in scraped
    assert "/run/secrets/chinwag_metrics_key" in scraped


def test_python_is_one_that_the_project_runs_on() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    told = next(value for word, value in dockerfile() if word == "ARG")
    version = PYTHON_OF[told.removeprefix("DEBIAN=").removesuffix("-slim")]
    assert SpecifierSet(project["requires-python"]).contains(version)
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    assert f"/python{version}/" in variables("cuda")["LD_LIBRARY_PATH"]


def test_packages_are_installed_by_their_hashes_from_files_that_are_there() -> None:
    installs = [value for word, value in dockerfile() if word == "RUN" and "pip install" in value]
    files = [found[1] for value in installs if (found := re.search(r"--require-hashes --requirement (\S+)", value))]
    assert files == ["constraints.txt", "constraints-full.txt", "constraints-cuda.txt"]
    assert all((ROOT / name).is_file() for name in files)
    assert all(
        "--no-index --no-deps" in value or "--no-deps --no-index" in value or "--require-hashes" in value
        for value in installs
    )


def test_the_build_is_given_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    copied = [
        path for word, value in dockerfile() if word == "COPY" and "--from" not in value for path in value.split()[:-1]
    ]
    assert len(copied) >= 7
    for path in copied:
        assert (ROOT / path).exists()
        assert not ignored(path, patterns)
    assert not ignored("src/chinwag/cli/serve.py", patterns)
    for path in (".env", ".git/config", ".venv/bin/python", "chinwag.toml", "tests/conftest.py", "build/docker/x"):
        assert ignored(path, patterns)
    assert ignored("src/chinwag/__pycache__/config.cpython-313.pyc", patterns)


def test_what_compose_mounts_is_in_the_repository() -> None:
    sources = [
        Path(volume["source"])
        for service in services(BASE, *OVERRIDES).values()
        for volume in service.get("volumes", ())
        if volume["type"] == "bind"
    ]
    assert sources
    missing = [str(path.relative_to(ROOT)) for path in sources if not path.exists()]
    assert not missing


def test_the_example_of_settings_names_what_compose_reads() -> None:
    told = set(re.findall(r"^# ([A-Z_]+)=", (ROOT / ".env.example").read_text("utf-8"), re.MULTILINE))
    read = set(re.findall(r"\$\{(\w+)", "".join((ROOT / name).read_text("utf-8") for name in (BASE, *OVERRIDES))))
    assert told - read == {"CHINWAG_SERVER__API_KEYS", "CHINWAG_SERVER__METRICS_KEY"}  # by env_file
    assert yaml.safe_load((ROOT / BASE).read_text("utf-8"))["services"]["chinwag"]["env_file"][0]["path"] == ".env"
