"""Runs every function of a file, in the python that runs this one; prints as JSON what each raised, or null.

python tests/adapters/tell.py FILE
"""

import importlib.util
import inspect
import json
import sys
import traceback

spec = importlib.util.spec_from_file_location("facts", sys.argv[1])
facts = importlib.util.module_from_spec(spec)
sys.modules["facts"] = facts
spec.loader.exec_module(facts)
told = {}
for name, fact in vars(facts).items():
    if inspect.isfunction(fact) and fact.__module__ == "facts" and not inspect.signature(fact).parameters:
        try:
            fact()
        except BaseException:  # noqa: BLE001 whatever it raises is told
            told[name] = traceback.format_exc()
        else:
            told[name] = None
sys.stdout.write(f"\n{json.dumps(told)}\n")
