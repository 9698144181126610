"""Named workloads: the JSON files of bench/scenarios.

    about       what it measures and why, a list of lines
    parameters  name -> default, and what may be overridden
    dram        optional: parameter -> its value per MiB of the server's memory
    steps       a list of {"name", "args"}: tierra-bench calls, {parameter} replaced
    compare     true: bench/compare runs it; its last step is what counts
"""
import json
import os

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "scenarios")


class ScenarioError(Exception):
    """A scenario or parameter that does not exist."""


def load_all():
    """Name -> scenario, in alphabetical order."""
    found = {}
    for file in sorted(os.listdir(FOLDER)):
        if file.endswith(".json"):
            with open(os.path.join(FOLDER, file), encoding="utf-8") as source:
                found[file[:-5]] = json.load(source)
    return found


def steps(scenario, overrides=None, strict=False):
    """The steps with all parameters filled in. Strict: an override must name a parameter."""
    values = {name: str(value) for name, value in scenario["parameters"].items()}
    for name, value in (overrides or {}).items():
        if name in values:
            values[name] = str(value)
        elif strict:
            raise ScenarioError(f"no parameter {name}; there are {', '.join(values)}")
    return [{"name": step["name"], "args": [word.format(**values) for word in step["args"]]}
            for step in scenario["steps"]]


def scale_to_dram(scenario, dram_mb):
    """The parameters that follow from the server's memory."""
    return {name: int(per_mb * dram_mb) for name, per_mb in scenario.get("dram", {}).items()}
