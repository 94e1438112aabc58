"""The documents: links lead somewhere, the front page keeps its order and stays short."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import typer
import yaml

from mocodis_monai import cli

ROOT = Path(__file__).parents[1]
PAGES = sorted(p for folder in (".", "docs", "data_manifests", "bundle/docs") for p in (ROOT / folder).glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL))
    for link in (link for link in links if "://" not in link):
        assert (page.parent / link).exists(), link


def test_the_front_page_keeps_its_order():
    text = (ROOT / "README.md").read_text()
    assert text.splitlines()[2].startswith("![")  # a picture first
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == [
        "Two commands",
        "Correct your own scan",
        "Use the motion transform alone",
        "Train on your own data",
        "Results",
        "Limits",
        "Citation",
    ]
    assert len(text.splitlines()) < 140


@pytest.mark.parametrize("page", ["README.md", "docs/training.md"])
def test_configs_that_a_page_names_are_there_with_the_knobs_that_it_sets(page):
    text = (ROOT / page).read_text()
    configs = set(re.findall(r"bundle/configs/\w+\.yaml", text))
    assert configs
    known = set().union(*(yaml.safe_load((ROOT / config).read_text()) for config in configs))
    commands = re.findall(r"python -m monai\.bundle run.*?(?:[^\\]\n|$)", text, re.DOTALL)
    used = {name for command in commands for name in re.findall(r"--([a-z_]+)", command)} - {"config_file"}
    assert used and used <= known, used - known


def options_of_benchmark(name: str) -> set[str]:
    """The options of ``python -m benchmarks.NAME``, by the signature of its ``main`` and what argparse is told."""
    source = (ROOT / "benchmarks" / f"{name}.py").read_text()
    (main,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "main")
    arguments = {f"--{argument.arg.replace('_', '-')}" for argument in main.args.args}
    return arguments | set(re.findall(r'"(--[\w-]+)"', source))


def options_of_command(words: list[str]) -> set[str]:
    """The options of ``mocodis WORDS``."""
    command = typer.main.get_command(cli.app)
    for word in words:
        if word not in getattr(command, "commands", {}):
            break
        command = command.commands[word]
    return {option for parameter in command.params for option in parameter.opts} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_that_a_page_names_have_the_options_that_it_gives_them(page):
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"(?:python -m benchmarks\.|(?<![\w/.-])mocodis )[^\n`|]+", text):
        words = re.split(r"(?:\s#|\s--\s)", line)[0].split()
        given = {word.split("=")[0] for word in words if word.startswith("--")}
        known = options_of_command(words[1:]) if words[0] == "mocodis" else options_of_benchmark(words[2].split(".")[1])
        assert given <= known, f"{line}: {given - known}"
